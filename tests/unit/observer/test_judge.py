"""The verdict in words: a line per check, and a last one that says it all."""

from __future__ import annotations

import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from observer import control
from observer.checks import judge
from observer.consequence import facts
from observer.judge import EXIT_CODES, ask_routers, cut, words
from tests.unit.observer.sightings import HOME, TOPOLOGY, TWO_HOMES, both_legs, case, did, good_probe, topology


def verdict(without: tuple[str, ...] = (), **given: Any) -> dict[str, Any]:
    """Return the verdict on the good case, but for what is given."""
    judged = case(**given)
    happened = [{"code": fact.code, "text": fact.text} for fact in facts(judged)]
    return {**judge(judged), "legs": judged.legs, "without": list(without), "facts": happened}


def test_a_pass_is_one_word() -> None:
    *checks, last = words(verdict()).splitlines()
    assert last == "verdict: PASS  alice → bob, bob → alice"
    assert all(line.startswith("  ✓ ") for line in checks if line)


def test_a_failure_names_what_failed_and_what_was_switched_off() -> None:
    legs = both_legs()
    legs[0]["bob"]["failed"] = 1
    assert words(verdict(("rport",), legs=legs)).splitlines()[-1] == (
        "verdict: FAIL  alice → bob, bob → alice (without rport): sipp-bob"
    )


def test_every_verdict_has_its_exit_code() -> None:
    broken = good_probe() | {"leaks": ["a public host, on-link"]}
    found = [verdict(), verdict(sightings=[]), verdict(probe=broken)]
    assert [EXIT_CODES[one["verdict"]] for one in found] == [0, 1, 3]


def test_what_happened_is_told_where_not_all_is_well_and_only_there() -> None:
    assert "what happened:" not in words(verdict())
    legs = both_legs()
    legs[0]["count"] = 2
    told = words(verdict(legs=legs)).splitlines()
    assert told[told.index("what happened:") + 1] == "  1 of the calls that were asked for never began"


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shared volume of our own."""
    monkeypatch.setattr(control, "ROOM", tmp_path)
    monkeypatch.setattr(control, "SERVING", tmp_path / "serving")
    return tmp_path


def serve(room: Path, name: str, answer: Any) -> None:
    """Answer on a socket, and return when questions can be asked."""
    threading.Thread(target=control.serve, args=(name, lambda _: answer), daemon=True).start()
    control.await_room(name, 5)


def test_the_routers_are_asked_and_what_they_say_is_kept(room: Path) -> None:
    for name in ("nat", "nat-bob"):
        serve(room, name, {"name": name, "text": "home", "profile": HOME, "events": [did(1, "flush")]})
    histories, silent = ask_routers(topology(TWO_HOMES), room)
    assert (sorted(histories), silent) == (["nat", "nat-bob"], {})
    assert histories["nat-bob"].events == [did(1, "flush")]
    assert json.loads((room / "router-bob.json").read_text())["name"] == "nat-bob"
    assert (room / "router.json").exists()


def test_what_a_router_did_before_it_became_what_it_is_is_kept_and_not_judged_by(room: Path) -> None:
    serve(room, "nat", {"name": "nat", "text": "home", "profile": HOME, "events": [did(1, "flush"), did(3, "rebind")]})
    histories, _ = ask_routers(TOPOLOGY, room, since=2.0)
    assert histories["nat"].events == [did(3, "rebind")]
    assert "flush" in (room / "router.json").read_text()


def test_a_router_that_is_dead_is_told_at_once(room: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as killed:
        killed.bind(str(room / "nat.sock"))  # it outlives who made it
    began = time.monotonic()
    histories, silent = ask_routers(TOPOLOGY, room)
    assert (histories, list(silent)) == ({}, ["nat"])
    assert "refused" in silent["nat"]
    assert time.monotonic() - began < 1


def test_a_tap_that_is_dead_is_told_and_the_others_are_cut(room: Path) -> None:
    serve(room, "tap-proxy", {"drops": {"proxy": 0}})
    serve(room, "tap-nat", {"drops": {"nat-lan": 3}})
    drops, deaf = cut(TOPOLOGY, room)
    assert drops == {"proxy": 0, "nat-lan": 3}
    assert len(deaf) == 1
    assert deaf[0].startswith("tap-core does not answer")
