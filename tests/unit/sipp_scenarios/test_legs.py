"""Who is asked for what, and when: over the real sockets, with phones that only take notes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from observer import control
from observer.control import Request
from sipp_scenarios import legs, phone

COUNTS = {"successful": 1, "failed": 0, "retransmissions": 0, "exit_code": 0}


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What Alice, Bob and the observer are asked for, in order, as "WHO [as WHOM] WHAT [flow]"."""
    monkeypatch.setattr(control, "ROOM", tmp_path)
    monkeypatch.setattr(control, "SERVING", tmp_path / "serving")
    notes: list[str] = []

    def listen(name: str) -> None:
        def answer(request: Request) -> Request:
            words = (name, request.get("as"), request.get("do", "judge"), request.get("flow"))
            notes.append(" ".join(word for word in words if word))
            if notes[-1] == "alice place refused":
                raise ValueError("no such event here")
            return {"text": "verdict", "exit_code": 0} if name == "observer" else dict(COUNTS)

        threading.Thread(target=control.serve, args=(name, answer), daemon=True).start()

    for name in ("alice", "bob", "observer"):
        listen(name)
    return notes


def leg(flow: str) -> legs.Leg:
    return {"from": "alice", "to": "bob", "count": 1, "at_once": False, "hangup": "callee", "flow": flow}


def test_the_one_who_is_called_listens_before_the_other_calls_and_counts_afterwards(asked: list[str]) -> None:
    placed = [leg("hold")]
    assert legs.converse(placed, "run")["exit_code"] == 0
    assert asked == ["bob listen hold", "alice place hold", "bob finish hold", "observer judge"]
    assert placed[0]["alice"] == placed[0]["bob"] == COUNTS


def test_who_was_called_by_one_who_could_not_is_let_go(asked: list[str]) -> None:
    with pytest.raises(ConnectionError, match="no such event here"):
        legs.converse([leg("refused")], "run")
    assert asked == ["bob listen refused", "alice place refused", "bob finish refused"]


def test_who_is_to_register_anew_does_so_before_all_else(asked: list[str]) -> None:
    legs.converse([leg("call")], "run", legs.Before(register=["bob", "alice"]))
    assert asked[:3] == ["bob register", "alice register", "bob listen call"]


def test_a_transfer_has_a_third_phone_as_long_as_it_lasts(asked: list[str]) -> None:
    placed = [leg("attended")]
    legs.converse(placed, "run")
    assert asked == [
        "bob carol register", "bob carol listen attended_target", "bob listen attended", "alice place attended",
        "bob finish attended", "bob carol finish attended", "bob carol leave", "observer judge",
    ]  # fmt: skip
    assert placed[0]["carol"] == COUNTS


class Calling:
    """Alice and Bob, whose calls last until they are told to hang up, and an observer."""

    def __init__(self) -> None:
        self.heard = threading.Condition()
        self.asked: list[str] = []  # as "WHO WHAT"
        self.judged: list[Request] = []
        for name in ("alice", "bob", "observer"):
            answer = self.answering(name)
            threading.Thread(target=control.serve, args=(name, answer, control.MANY), daemon=True).start()

    def answering(self, name: str) -> Callable[[Request], Request]:
        """Return how one of them answers."""

        def answer(request: Request) -> Request:
            with self.heard:
                self.asked.append(f"{name} {request.get('do', 'judge')}")
                self.heard.notify_all()
            if name == "observer":
                self.judged.append(request)
                return {"text": "verdict", "exit_code": 1}
            if request["do"] == "place":
                self.await_request(f"{name} hang-up")
            return dict(COUNTS)

        return answer

    def await_request(self, request: str) -> None:
        """Return when somebody was asked for this."""
        with self.heard:
            assert self.heard.wait_for(lambda: request in self.asked, 10), self.asked


@pytest.fixture
def calling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Calling:
    """Phones that call without an end."""
    monkeypatch.setattr(control, "ROOM", tmp_path)
    monkeypatch.setattr(control, "SERVING", tmp_path / "serving")
    return Calling()


@pytest.fixture
def asker() -> Iterator[tuple[int, Callable[[], None]]]:
    """Return what phones know of who asks, and have him go."""
    heard, held = os.pipe()
    with os.fdopen(heard), os.fdopen(held, "w") as end:
        yield heard, end.close


def test_when_the_asker_goes_calls_end_and_no_others_begin_and_what_there_was_is_judged(
    calling: Calling, asker: tuple[int, Callable[[], None]]
) -> None:
    heard, go = asker
    there_and_back = [leg("call"), {**leg("call"), "from": "bob", "to": "alice"}]
    with ThreadPoolExecutor() as pool:
        conversation = pool.submit(legs.converse, there_and_back, "run", asker=heard)
        calling.await_request("alice place")
        go()
        assert conversation.result(10)["exit_code"] == 1
    told = [request for request in calling.asked if not request.endswith("hang-up")]
    assert told == ["bob listen", "alice place", "bob finish", "observer judge"]
    assert calling.judged[0]["legs"] == there_and_back[:1]


def test_of_two_who_ask_the_later_one_waits_and_calls_nobody_if_he_goes_meanwhile(
    calling: Calling, asker: tuple[int, Callable[[], None]], capsys: pytest.CaptureFixture[str]
) -> None:
    heard, go = asker
    with ThreadPoolExecutor() as pool:
        with control.turn("calls"):
            conversation = pool.submit(legs.converse, [leg("call")], "run", asker=heard)
            deadline, pace = time.monotonic() + 10, threading.Event()
            while "calls: it is somebody else's turn; waiting" not in capsys.readouterr().err:
                assert time.monotonic() < deadline
                pace.wait(0.005)  # pacing of a poll, with a deadline
            go()
            calling.await_request("alice hang-up")
        with pytest.raises(ConnectionAbortedError, match="who asked has gone"):
            conversation.result(10)
    assert calling.asked == ["alice hang-up"]


def test_a_phone_program_that_is_told_to_minds_the_end_of_its_stdin(
    calling: Calling, asker: tuple[int, Callable[[], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard, go = asker
    monkeypatch.setenv("STDIN_HELD", "1")
    monkeypatch.setattr("sys.argv", ["phone", "call", "--from", "alice"])
    with os.fdopen(os.dup(heard)) as stdin, ThreadPoolExecutor() as pool:
        monkeypatch.setattr("sys.stdin", stdin)
        program = pool.submit(phone.main)
        calling.await_request("alice place")
        go()
        assert program.result(10) == 1


def test_a_phone_program_that_is_not_told_to_calls_on_though_nobody_is_at_its_stdin(
    asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STDIN_HELD", raising=False)
    monkeypatch.setattr("sys.argv", ["phone", "call", "--from", "alice"])
    with Path(os.devnull).open(encoding="ascii") as nobody:
        monkeypatch.setattr("sys.stdin", nobody)
        assert phone.main() == 0
    assert asked == ["bob listen call", "alice place call", "bob finish call", "observer judge"]
