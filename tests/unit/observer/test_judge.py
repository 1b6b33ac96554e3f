"""The verdict in words: a line per check, and a last one that says it all."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nat.impair import MOST_DELAY_MS
from observer import control, newest
from observer import judge as judge_module
from observer.case import Case
from observer.checks import judge
from observer.consequence import facts
from observer.decode import Address, Sighting
from observer.judge import EXIT_CODES, HELD_S, ask_routers, cut, settle, within, words
from tests.unit.observer.sightings import (
    ALICE,
    HOME,
    NAT,
    PROXY,
    TOPOLOGY,
    TWO_HOMES,
    Lines,
    both_legs,
    case,
    did,
    good_probe,
    lines,
    sighting,
    topology,
)


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


def test_what_the_routers_hold_back_goes_on_first_and_one_that_is_dead_keeps_nobody(room: Path) -> None:
    asked: list[control.Request] = []

    def answer(request: control.Request) -> control.Request:
        asked.append(request)
        return {"waited": len(asked) == 1}  # what it let go may be held by another now: both are asked again

    threading.Thread(target=control.serve, args=("nat", answer), daemon=True).start()
    control.await_room("nat", 5)
    settle(topology(TWO_HOMES))  # there is no nat-bob
    assert asked == [{"do": "settle"}] * 2
    assert HELD_S * 1000 == MOST_DELAY_MS


def test_the_routers_have_let_go_before_the_taps_are_cut(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Enough(Exception):
        pass

    done: list[str] = []

    def cutting(*_: object) -> None:
        done.append("cut")
        raise Enough

    monkeypatch.setattr(judge_module, "ROOM", room)
    monkeypatch.setattr(judge_module, "settle", lambda topology: done.append("settled"))
    monkeypatch.setattr(judge_module, "cut", cutting)
    with pytest.raises(Enough):
        judge_module.judge({"run": "run", "legs": [], "began": 0.0}, TOPOLOGY, "", judge_module.Memory())
    assert done == ["settled", "cut"]


def test_a_tap_that_is_dead_is_told_and_the_others_are_cut(room: Path) -> None:
    serve(room, "tap-proxy", {"drops": {"proxy": 0}, "since": 0.0})
    serve(room, "tap-nat", {"drops": {"nat-lan": 3}, "since": 7.5})
    drops, deaf, whole_since = cut(TOPOLOGY, room)
    assert whole_since == 7.5
    assert drops == {"proxy": 0, "nat-lan": 3}
    assert len(deaf) == 1
    assert deaf[0].startswith("tap-core does not answer")


def test_the_taps_at_the_phones_are_cut_where_somebody_was_to_be_heard(room: Path) -> None:
    for name in ("proxy", "core", "nat", "alice", "bob"):
        serve(room, f"tap-{name}", {"drops": {name: 0}, "since": 0.0})
    assert sorted(cut(TOPOLOGY, room)[0]) == ["core", "nat", "proxy"]
    assert sorted(cut(TOPOLOGY, room, TOPOLOGY.phones)[0]) == ["alice", "bob", "core", "nat", "proxy"]


# While the taps are cut


def at(time: float, tap: str, source: Address, destination: Address, said: Lines) -> Sighting:
    return sighting(tap, source, destination, *said, time=time)


def exchange(begin: float, cseq: int) -> list[Sighting]:
    """Return a refresh: Alice's REGISTER and its 200 at each tap, a hundredth of a second between two."""
    there = f"SIP/2.0/UDP 10.77.1.100:5060;branch=z9hG4bK{cseq}"
    asked = lines("REGISTER sip:198.51.100.10 SIP/2.0", [there], "r", f"{cseq} REGISTER")
    answer = lines("SIP/2.0 200 OK", [there], "r", f"{cseq} REGISTER")
    ways = [
        ("nat-lan", ALICE, PROXY, asked), ("nat-wan", NAT, PROXY, asked), ("proxy", NAT, PROXY, asked),
        ("proxy", PROXY, NAT, answer), ("nat-wan", PROXY, NAT, answer), ("nat-lan", PROXY, ALICE, answer),
    ]  # fmt: skip
    return [at(begin + number / 100, *way) for number, way in enumerate(ways)]


def losses(sightings: list[Sighting]) -> list[str]:
    """Return what a story of these says was lost."""
    judged = case(sightings=sightings)
    return [loss.text for journey in judged.journeys for loss in judged.around.losses(journey)]


def test_what_begins_while_the_taps_are_cut_is_of_no_run() -> None:
    """The capture of the home ended before the REGISTER came, that of the street after it."""
    early, late = exchange(10.0, 1), exchange(20.0, 2)
    torn = [*early, *(seen for seen in late if seen.tap != "nat-lan")]
    assert losses(torn) != []
    assert within(torn, 0.0, 19.9) == early
    assert losses(early) == []
    rest = [seen for seen in late if seen.tap == "nat-lan"]  # of the run after it, which begins when all had been cut
    assert losses(rest) != []
    assert within(rest, 20.1, 30.0) == []


@pytest.mark.parametrize(("ended", "seen"), [(20.005, 3), (20.015, 3), (20.025, 3), (20.035, 6), (20.045, 6)])
def test_what_was_on_its_way_when_the_cut_was_asked_for_is_followed_and_its_answer_is_not(
    ended: float, seen: int
) -> None:
    whole = exchange(20.0, 1)
    assert within(whole, 0.0, ended) == whole[:seen]


def test_an_answer_that_comes_late_while_the_taps_are_cut_is_not_told_as_lost() -> None:
    """The capture of the home ended before the answer came, that of the street after it."""
    torn = exchange(20.0, 1)[:-1]
    assert losses(torn) != []
    kept = within(torn, 0.0, 20.025)
    assert kept == torn[:3]
    assert losses(kept) == []


def test_what_is_sent_once_more_while_the_taps_are_cut_is_of_no_run() -> None:
    first, again = exchange(20.0, 1)[:3], [replace(seen, time=seen.time + 0.5) for seen in exchange(20.0, 1)[:3]]
    assert within([*first, *again[:2]], 0.0, 20.4) == first
    assert within([*first, *again], 0.0, 20.505) == [*first, *again]  # it was on its way
    assert within([*first, *again], 0.0, 30.0) == [*first, *again]


def test_a_packet_without_sip_is_of_the_run_that_it_falls_into() -> None:
    packets = [replace(exchange(number, 1)[0], first_line="", call_id="", cseq=0, branches=[]) for number in (1, 2, 3)]
    assert within(packets, 1.5, 2.5) == packets[1:2]


@pytest.fixture
def judging(room: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Judge a run that began at 100, of which the taps have everything since `since`, after other runs of this lab."""
    monkeypatch.setattr(judge_module, "ROOM", room)
    monkeypatch.setattr(judge_module, "PROXY_KEYS", room / "proxy.keys")
    memory = judge_module.Memory()

    def judged(since: float, decoded: Sequence[Sighting] = (), changed_at: float = 0.0) -> dict[str, Any]:
        monkeypatch.setattr(judge_module, "cut", lambda *_: ({}, [], since))
        monkeypatch.setattr(judge_module, "decode", lambda _: list(decoded))
        memory.cut_at = 0.0  # the taps were cut long ago
        request = {"run": f"{since:.0f}-{len(decoded)}", "legs": [], "began": 100.0, "since": changed_at}
        found: dict[str, Any] = judge_module.judge(request, TOPOLOGY, "", memory)["verdict"]
        return found

    return judged


def test_a_run_whose_beginning_was_thrown_away_is_the_labs_fault(judging: Callable[..., dict[str, Any]]) -> None:
    broken = judging(107.5)
    assert broken["verdict"] == "lab-broken"
    assert "the first 7.5 s" in {check["name"]: check["evidence"] for check in broken["checks"]}["captures-whole"]
    for since in (0.0, 99.0):
        assert "captures-whole" not in {check["name"] for check in judging(since)["checks"]}


def test_what_was_before_a_run_is_left_out_where_it_is_too_much_but_not_where_tls_is_spoken(
    judging: Callable[..., dict[str, Any]], room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted: list[float] = []

    def keep(_: object, began: float) -> float:
        wanted.append(began)
        return 0.0

    monkeypatch.setattr(newest, "keep", keep)
    judging(0.0)
    assert wanted == [100.0]
    (room / "proxy.keys").touch()
    (room / "captures").mkdir()
    judging(1.0)
    assert wanted == [100.0]


def test_an_invite_without_a_call_id_does_not_make_later_runs_deaf(
    judging: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sound has no Call-ID either; and what the proxy repeats of a call of before is still left out."""
    judged: list[list[Sighting]] = []

    def watched(case: Case) -> dict[str, Any]:
        judged.append(case.sightings)
        return judge(case)

    monkeypatch.setattr("observer.checks.judge", watched)
    repeated = replace(exchange(101.0, 1)[0], method="INVITE", first_line="INVITE sip:x SIP/2.0", call_id="known")
    nameless = replace(repeated, call_id="")
    sound = replace(repeated, first_line="", call_id="", method="", cseq=0, branches=[], vias=[], headers=[])
    judging(0.0, [repeated, nameless, sound])
    judging(0.0, [repeated, sound], changed_at=100.0)
    assert judged == [[repeated, nameless, sound], [sound]]
