"""One event a line, and strangers cannot fill a disk."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO

from proxy.log import FIELD_CHARACTERS, STRANGERS_LINES_PER_S, Log


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def log(level: str = "info") -> tuple[Log, StringIO, Clock]:
    stream, clock = StringIO(), Clock()
    return Log(level, clock, stream), stream, clock


def test_an_event_is_a_name_and_its_fields() -> None:
    written, stream, _ = log()
    written.event("call-made", {"call_id": b"a@b", "status": 200})
    assert stream.getvalue() == "call-made call_id=a@b status=200\n"


def test_what_a_stranger_writes_cannot_make_a_line_or_a_field() -> None:
    written, stream, _ = log()
    written.event("x", {"call_id": b"a\r\nfake-event status=1\x1b[2J\xff", "why": "b c\u2028d"})
    assert stream.getvalue() == "x call_id=a__fake-event_status=1_[2J\\xff why=b_c_d\n"


def test_a_space_in_a_field_makes_no_other_field() -> None:
    written, stream, _ = log()
    written.event("x", {"why": "b status=1", "a": "c"})
    assert stream.getvalue() == "x why=b_status=1 a=c\n"


def test_a_long_field_is_cut() -> None:
    written, stream, _ = log()
    written.event("x", {"a": b"y" * 5000})
    assert len(stream.getvalue()) == len("x a=\n") + FIELD_CHARACTERS


def test_strangers_get_so_many_lines_a_second_and_the_rest_is_counted() -> None:
    written, stream, clock = log()
    for _ in range(STRANGERS_LINES_PER_S + 7):
        written.strange("odd", {})
    assert stream.getvalue().count("odd") == STRANGERS_LINES_PER_S
    clock.now = 1.0
    written.strange("odd", {})
    assert stream.getvalue().splitlines()[-2:] == ["lines-suppressed count=7", "odd "]


def test_events_are_silent_below_the_level_and_plain_lines_are_not() -> None:
    written, stream, _ = log("warning")
    written.event("x", {})
    written.strange("y", {})
    written.line("said anyway")
    assert stream.getvalue() == "said anyway\n"
    assert not written.enabled


def test_events_wait_for_one_another_and_plain_lines_for_nothing() -> None:
    written, stream, _ = log()
    asked: list[Callable[[], None]] = []
    written.later = lambda seconds, action: asked.append(action)
    for number in range(3):
        written.event("x", {"number": number})
    assert (stream.getvalue(), len(asked)) == ("", 1)
    asked.pop()()
    assert stream.getvalue() == "x number=0\nx number=1\nx number=2\n"
    written.event("y", {})
    written.line("at once, in its place")
    assert stream.getvalue().endswith("\ny \nat once, in its place\n")
    asked.pop()()
    written.event("z", {})
    assert len(asked) == 1  # asks again


def test_lines_that_cannot_be_written_are_counted() -> None:
    written, stream, _ = log()
    stream.close()
    written.later = lambda seconds, action: None
    written.event("x", {})
    written.event("y", {})
    written.flush()
    assert written.lost == 2


def test_lines_are_written_in_pieces_that_a_pipe_takes_at_once() -> None:
    """Several workers write to one pipe: a piece that is longer could be torn by another's."""
    written, stream, _ = log()
    pieces: list[str] = []
    stream.write = pieces.append  # type: ignore[assignment,method-assign]
    written.later = lambda seconds, action: None
    for number in range(100):
        written.event("call-made", {"call_id": f"{number}-" + "ü" * 90})
    written.flush()
    assert len(pieces) > 3
    assert all(len(piece.encode()) <= 4096 and piece.endswith("\n") for piece in pieces)
    assert "".join(pieces).count("call-made") == 100
    written.line("x" * 5000)  # what is longer by itself is a piece by itself
    assert pieces[-1] == "x" * 5000 + "\n"
