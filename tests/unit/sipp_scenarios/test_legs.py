"""Who is asked for what, and when: over the real sockets, with phones that only take notes."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from observer import control
from observer.control import Request
from sipp_scenarios import legs

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
