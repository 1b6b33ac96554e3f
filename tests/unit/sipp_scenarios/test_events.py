"""What happens to a router in mid-call: who is asked for it, and what cannot be asked for."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from observer import control
from observer.control import Request
from sipp_scenarios import phone, routers


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A room of sockets."""
    monkeypatch.setattr(control, "ROOM", tmp_path)
    monkeypatch.setattr(control, "SERVING", tmp_path / "serving")
    return tmp_path


def answering(reply: Request) -> list[Request]:
    """Be the router of Alice's home; return what it is asked for."""
    asked: list[Request] = []

    def answer(request: Request) -> Request:
        asked.append(request)
        return reply

    threading.Thread(target=control.serve, args=("nat", answer), daemon=True).start()
    control.await_room("nat", 5)
    return asked


def test_the_router_of_the_home_is_asked(room: Path) -> None:
    asked = answering({"text": "done"})
    routers.suffer("alice", "rebind")
    assert asked == [{"do": "rebind"}]


def test_a_router_that_refuses_is_heard(room: Path) -> None:
    answering({"refused": "no", "exit": 127})
    with pytest.raises(routers.Refused, match="no") as raised:
        routers.suffer("alice", "rebind")
    assert raised.value.code == 127


@pytest.mark.parametrize(
    "words", [["--flow", "message", "--event", "rebind"], ["--flow", "call", "--event", "rebind", "--count", "2"]]
)
def test_an_event_needs_one_call_that_waits_for_it(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["phone", "call", "--from", "alice", *words])
    assert phone.main() == 2
    assert capsys.readouterr().err == (
        "phone: --event rebind: needs one call, of the flows call, hold, reinvite, update\n"
    )
