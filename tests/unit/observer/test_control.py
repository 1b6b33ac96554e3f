"""A question on a Unix socket has its answer, or an error that says who failed."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from observer import control


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shared volume of our own."""
    monkeypatch.setattr(control, "ROOM", tmp_path)
    monkeypatch.setattr(control, "SERVING", tmp_path / "serving")
    return tmp_path


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Answer what was asked; divide, to have something that can go wrong."""
    return {"quotient": 12 // int(request["by"])}


def serve(name: str, room: Path) -> None:
    """Serve in the background, and return when questions can be asked."""
    threading.Thread(target=control.serve, args=(name, answer), daemon=True).start()
    until = threading.Event()
    while not (room / f"{name}.sock").is_socket():
        until.wait(0.001)


def test_a_question_has_its_answer(room: Path) -> None:
    serve("divider", room)
    assert control.ask("divider", {"by": 4}) == {"quotient": 3}


def test_whoever_asks_is_told_what_went_wrong_and_the_next_is_served(
    room: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    serve("divider", room)
    with pytest.raises(ConnectionError, match=r"divider failed: ZeroDivisionError"):
        control.ask("divider", {"by": 0})
    assert control.ask("divider", {"by": 3}) == {"quotient": 4}
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_who_only_looks_or_talks_rubbish_or_goes_before_the_answer_stops_nobody(room: Path) -> None:
    serve("divider", room)
    for said in (b"", b"\xff\xfe\n", b'{"by": 4}\n'):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(room / "divider.sock"))
            client.sendall(said)
    control.await_room("divider", 5)
    assert control.ask("divider", {"by": 4}) == {"quotient": 3}


def test_a_stale_socket_is_nobody(room: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as gone:
        gone.bind(str(room / "divider.sock"))
    with pytest.raises(TimeoutError, match="divider has not come"):
        control.await_room("divider", 0.05)


@pytest.mark.usefixtures("room")
def test_nobody_there_is_an_error_at_once() -> None:
    with pytest.raises(OSError, match="No such file"):
        control.ask("nobody", {})


def test_a_socket_left_over_from_yesterday_is_replaced(room: Path) -> None:
    (room / "divider.sock").touch()
    serve("divider", room)
    assert control.ask("divider", {"by": 2}) == {"quotient": 6}


def test_any_user_of_the_lab_may_ask(room: Path) -> None:
    serve("divider", room)
    assert (room / "divider.sock").stat().st_mode & 0o777 == 0o666


class Door:
    """Answers a knock at once, and a request to enter when the door has been opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer, or wait."""
        if request["do"] == "enter":
            assert self.opened.wait(10)
        return {}


def someone_enters(door: Door, *at_once: int) -> socket.socket:
    """Serve so many at once, if that is said; return the connection of one who waits for his answer."""
    threading.Thread(target=control.serve, args=("door", door.answer, *at_once), daemon=True).start()
    control.await_room("door", 5)
    waiting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    waiting.settimeout(10)
    waiting.connect(str(control.ROOM / "door.sock"))
    waiting.sendall(b'{"do": "enter"}\n')
    return waiting


@pytest.mark.usefixtures("room")
def test_who_can_answer_two_at_once_does_not_make_the_second_wait_for_the_first() -> None:
    door = Door()
    with someone_enters(door, 2) as first:
        assert control.ask("door", {"do": "knock"}, patience=5) == {}
        door.opened.set()
        assert first.recv(100) == b"{}\n"


@pytest.mark.usefixtures("room")
def test_who_does_not_say_so_answers_one_after_another() -> None:
    door = Door()
    with someone_enters(door) as first:
        with pytest.raises(TimeoutError):
            control.ask("door", {"do": "knock"}, patience=0.1)
        door.opened.set()
        assert first.recv(100) == b"{}\n"


@pytest.mark.usefixtures("room")
def test_who_comes_later_says_that_he_waits_and_has_his_turn_afterwards(capsys: pytest.CaptureFixture[str]) -> None:
    turns = []

    def later() -> None:
        with control.turn("calls"):
            turns.append("later")

    other = threading.Thread(target=later, daemon=True)
    with control.turn("calls"):
        other.start()
        deadline, pace = time.monotonic() + 10, threading.Event()
        while "calls: it is somebody else's turn; waiting" not in capsys.readouterr().err:
            assert time.monotonic() < deadline
            pace.wait(0.005)  # pacing of a poll, with a deadline
        turns.append("first")
    other.join(10)
    assert turns == ["first", "later"]
