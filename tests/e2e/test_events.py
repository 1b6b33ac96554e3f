"""What happens to a router while a phone is registered or in a call, what makes it good, and what comes of it if
nothing does: seen on the wire.
"""

from __future__ import annotations

import itertools
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from labkit import images, settings, stack
from tests.e2e.lab import Lab, Run, once, subnets

pytestmark = pytest.mark.e2e

LONG = pytest.mark.long
REBIND, CHANGE_IP, REBOOT = "rebind", "change-ip", "reboot"
SILENCES = ((4, 6), pytest.param(5, 20, marks=LONG))  # a mapping's lifetime, and how long the phone is silent: seconds
KEEPALIVE_S = 1
MISSES = 3  # so many unanswered OPTIONS end a binding
DEAD_S = 20.0  # more than it takes to ask so often, and once more
NEVER_S = 3600
REGISTER = {"do": "register"}
LATE_S = 5.0  # how late the call may come that was to come after a silence, on a busy machine

Row = dict[str, Any]  # a sighting of story.json
Event = dict[str, Any]  # of router.json


# ── the labs ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def quiet_lab() -> Iterator[Lab]:
    """A lab whose phones do not refresh: nobody keeps a mapping alive but the proxy, if it does.

    What is lost here is sent again for half a minute, and disturbs no test in the shared lab.
    """
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in subnets("events").items():
            patch.setenv(variable, value)
        own = Lab(settings.load(), ["test", "tests/e2e/test_events.py"])
    own.settings.values["PHONE_REFRESH_S"] = str(NEVER_S)
    images.ensure(own.settings)
    own.settings.values["SIP_PROXY_KEEPALIVE"] = "0"
    try:
        stack.start(own.settings)
        own.execute("bob", "python3", "-c", "from observer.control import await_room; await_room('alice', 30)")
        yield own
    finally:
        stack.remove(own.settings)


@pytest.fixture
def quiet(quiet_lab: Lab) -> Lab:
    """That lab; its proxy asks nobody."""
    set_keepalive(quiet_lab, 0)
    return quiet_lab


@pytest.fixture
def asking(quiet_lab: Lab) -> Lab:
    """That lab; its proxy asks phones behind a NAT every second."""
    set_keepalive(quiet_lab, KEEPALIVE_S)
    return quiet_lab


def set_keepalive(lab: Lab, interval_s: int) -> None:
    """Give the lab a proxy that asks so often (0: never). It knows from the one before who is registered."""
    if lab.settings.values["SIP_PROXY_KEEPALIVE"] != str(interval_s):
        lab.settings.values["SIP_PROXY_KEEPALIVE"] = str(interval_s)
        stack.renew(lab.settings, "proxy", "tap-proxy")


def become(lab: Lab, kind: str) -> None:
    """Have the router be of another kind, which forgets all, have it measured, and have Alice's phone register."""
    told(lab, f"from sipp_scenarios import routers; routers.become('alice', {kind!r}); ask('alice', {REGISTER})")


def register(lab: Lab) -> None:
    """Have Alice's phone do what it does when it refreshes."""
    told(lab, f"ask('alice', {REGISTER})")


def told(lab: Lab, program: str) -> str:
    """Run a Python program in Bob's container, where `ask` reaches everybody, and return what it prints."""
    return lab.execute("bob", "python3", "-c", f"import json; from observer.control import ask; {program}")


def wait_until(predicate: Callable[[], bool], seconds: float, what: str) -> None:
    """Return when it has come true. Fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while not predicate():
        assert time.monotonic() < deadline, f"after {seconds:g} s still not: {what}"
        time.sleep(0.1)  # pacing of a poll, with a deadline


def called_after_silence(lab: Lab, lifetime: int, silence: int) -> Run:
    """Have Bob call Alice so long after her phone got its mapping, from a router that forgets after `lifetime`."""
    became = time.time()
    become(lab, f"home,lifetime={lifetime}")
    made: list[float] = []

    def is_made() -> bool:
        events = mappings(lab, json.loads(told(lab, "print(json.dumps(ask('nat', {'do': 'history'})))"))["events"])
        made[:] = [event["time"] for event in events if event["time"] > became]
        return bool(made)

    wait_until(is_made, LATE_S, "a mapping of Alice's phone")
    wait_until(lambda: time.time() >= made[-1] + silence, silence, f"{silence} s since then")
    return lab.call("--from", "bob")


# ── what was seen ─────────────────────────────────────────────────────────────────────────────────────────────────


def mappings(lab: Lab, events: list[Event], what: str = "mapping-created") -> list[Event]:
    """Return what became of the mappings of Alice's phone."""
    phone = [lab.settings.values["ALICE_IP"], 5060]
    return [event for event in events if event["event"] == what and event["private"] == phone]


@dataclass(slots=True)
class Wire:
    """A run in a lab: what the taps saw, what the router says of itself, and the facts by code."""

    run: Run
    lab: Lab

    @property
    def alice(self) -> str:
        """Address and port of her phone."""
        return f"{self.lab.settings.values['ALICE_IP']}:5060"

    @property
    def bob(self) -> str:
        """Address and port of his."""
        return f"{self.lab.settings.values['BOB_IP']}:5060"

    @property
    def proxy(self) -> str:
        """Address and port of the proxy."""
        return f"{self.lab.settings.values['PROXY_IP']}:5060"

    @property
    def history(self) -> list[Event]:
        """The router's events."""
        return list(json.loads((self.run.folder / "router.json").read_text())["events"])

    @property
    def facts(self) -> dict[str, str]:
        """What happened, by code."""
        verdict = json.loads((self.run.folder / "verdict.json").read_text())
        return {fact["code"]: fact["text"] for fact in verdict["facts"]}

    def requests(self, method: str, tap: str, source: str = "", to: str = "", after: float = 0.0) -> list[Row]:
        """Return the requests of a method at a tap, from an address and port or to one.

        What only the proxy has part in is left out, but for its own OPTIONS: it was lost in an earlier run.
        """
        own = {row["call_id"] for row in self.run.messages if row["source"] != self.proxy}
        return [
            row for row in once(self.run.messages)
            if row["first_line"].startswith(f"{method} ") and row["tap"] == tap and row["time"] > after
            and row["source"] == (source or row["source"]) and row["destination"] == (to or row["destination"])
            and (row["call_id"] in own or method == "OPTIONS")
        ]  # fmt: skip

    def happened(self, verb: str) -> float:
        """Return when this last happened to the router."""
        return float([event["time"] for event in self.history if event.get("verb") == verb][-1])

    def moved(self, verb: str) -> tuple[float, str, str]:
        """Return when this last happened, and the public address and port of Alice's phone before and after."""
        when, made = self.happened(verb), mappings(self.lab, self.history)
        before = next(event for event in reversed(made) if event["time"] < when)
        after = next(event for event in made if event["time"] > when)
        old, new = ("%s:%d" % tuple(event["public"]) for event in (before, after))
        if verb == CHANGE_IP:
            addresses = {self.lab.settings.values[name] for name in ("NAT_WAN_IP", "NAT_WAN_IP2")}
            assert {way.partition(":")[0] for way in (old, new)} == addresses  # which is first: a test before may tell
        elif verb == REBIND:
            assert old != new
        return when, old, new


def contact(row: Row) -> str:
    """Return the URI of the Contact."""
    found = re.search(r"<([^>]+)>", next(line for line in row["headers"] if line.startswith("Contact:")))
    assert found
    return found[1]


# ── registered, and silent ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("lifetime", "silence"), SILENCES)
def test_without_keep_alive_bob_does_not_reach_alice_and_the_story_says_since_when(
    quiet: Lab, lifetime: int, silence: int
) -> None:
    wire = Wire(called_after_silence(quiet, lifetime, silence), quiet)
    assert wire.requests("OPTIONS", "nat-wan") == []
    assert wire.requests("INVITE", "nat-lan", to=wire.alice) == []
    lost = wire.requests("INVITE", "nat-wan", source=wire.proxy)[0]
    passed = [
        row["time"] for row in wire.run.messages
        if row["tap"] == "nat-wan" and row["time"] < lost["time"]
        and lost["destination"] in (row["source"], row["destination"])
    ]  # fmt: skip
    expected = lost["time"] - (passed[-1] + lifetime)
    assert silence - lifetime - 1 < expected < silence - lifetime + LATE_S
    assert wire.run.verdict == "fail"
    words = rf"the mapping of {re.escape(lost['destination'])} expired ([\d.]+) s before the INVITE"
    said = re.fullmatch(words, wire.facts["expired"])
    assert said, wire.facts
    assert abs(float(said[1]) - expected) < 0.3
    assert "callee-never-rings" in wire.facts
    assert f"it expired {said[1]} s before" in (wire.run.folder / "ladder.txt").read_text()


@pytest.mark.parametrize(("lifetime", "silence"), SILENCES)
def test_with_keep_alive_bob_reaches_her_long_after_her_mapping_would_have_expired(
    asking: Lab, lifetime: int, silence: int
) -> None:
    wire = Wire(called_after_silence(asking, lifetime, silence), asking)
    assert wire.run.verdict == "pass", wire.run.explain()
    invite, *_ = wire.requests("INVITE", "nat-lan", to=wire.alice)
    last = [
        row["time"] for row in wire.run.messages
        if row["tap"] == "nat-lan" and row["source"] == wire.alice and row["time"] < invite["time"]
        and not row["cseq"].endswith(" OPTIONS")
    ][-1]  # fmt: skip
    assert invite["time"] - last > silence - 1  # the first of her REGISTERs made the mapping, and the last came later
    kept = [row["time"] for row in wire.requests("OPTIONS", "nat-wan", source=wire.proxy, after=last)]
    moments = [last, *(moment for moment in kept if moment < invite["time"]), invite["time"]]
    assert max(after - before for before, after in itertools.pairwise(moments)) < lifetime
    made = mappings(asking, wire.history)[-1]["time"]
    assert invite["time"] - made > silence
    assert [end for end in mappings(asking, wire.history, "mapping-ended") if end["time"] > made] == []


@LONG
def test_the_keep_alive_notices_that_the_router_has_rebound_and_a_refresh_makes_it_good(asking: Lab) -> None:
    become(asking, "home")
    already = dead_bindings(asking)
    asking.execute("nat", "natctl", REBIND)
    wait_until(lambda: dead_bindings(asking) > already, DEAD_S, "the proxy says binding-dead")
    refused = Wire(asking.call("--from", "bob"), asking)
    again = Wire(asking.call("--from", "bob", "--register", "alice"), asking)
    when, old, _ = again.moved(REBIND)
    unanswered = refused.requests("OPTIONS", "nat-wan", source=refused.proxy, after=when)
    assert {row["destination"] for row in unanswered} == {old}
    assert MISSES - 1 <= len(unanswered) <= MISSES  # one that was on its way may be among them
    assert refused.requests("OPTIONS", "nat-lan", after=when) == []
    assert refused.requests("INVITE", "nat-wan") == []
    assert refused.facts["call-refused"].startswith("Bob's call ends with 480")
    assert_called_at_new(again, REBIND)


def dead_bindings(lab: Lab) -> int:
    """Return how often the proxy has said that a phone does not answer any more."""
    return stack.output(lab.settings, "logs", "proxy").decode().count("binding-dead")


@pytest.mark.parametrize("event", [CHANGE_IP, pytest.param(REBIND, marks=LONG), pytest.param(REBOOT, marks=LONG)])
def test_after_the_next_refresh_bob_reaches_alice_by_the_new_way(router: Lab, event: str) -> None:
    router.execute("nat", "natctl", event)
    assert_called_at_new(Wire(router.call("--from", "bob", "--register", "alice"), router), event)


def assert_called_at_new(wire: Wire, event: str) -> None:
    """Alice's REGISTER came by another way than before, and by that she was called, and nowhere else."""
    when, _, new = wire.moved(event)
    assert wire.run.verdict == "pass", wire.run.explain()
    registers = wire.requests("REGISTER", "proxy", after=when)
    assert {row["source"] for row in registers} - {wire.bob} == {new}
    assert [row["destination"] for row in wire.requests("INVITE", "proxy", source=wire.proxy)] == [new]
    assert len(wire.requests("INVITE", "nat-lan", to=wire.alice)) == 1


# ── in mid-call ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("event", [REBIND, pytest.param(CHANGE_IP, marks=LONG), pytest.param(REBOOT, marks=LONG)])
def test_alices_re_invite_repairs_the_call_and_bob_hangs_up_by_the_new_way(router: Lab, event: str) -> None:
    wire = Wire(router.call("--from", "alice", "--flow", "reinvite", "--event", event), router)
    when, old, new = wire.moved(event)
    assert wire.run.verdict == "pass", wire.run.explain()
    acknowledged = wire.requests("ACK", "proxy", to=wire.bob)[0]
    again = wire.requests("INVITE", "nat-lan", source=wire.alice)[-1]
    assert acknowledged["time"] < when < again["time"]
    assert {row["source"] for row in wire.requests("INVITE", "proxy", to=wire.proxy)} - {wire.bob} == {old, new}
    told = [contact(row) for row in wire.requests("INVITE", "proxy", to=wire.bob)]
    assert [re.findall(r"@([\d.]+:\d+)", uri) for uri in told] == [[old], [new]]
    for method in ("INVITE", "ACK", "BYE"):  # Bob's own offer, and his end of the call
        (asked_by_bob,) = wire.requests(method, "proxy", source=wire.bob)
        assert asked_by_bob["first_line"].split()[1] == told[-1]
        forwarded = wire.requests(method, "proxy", source=wire.proxy, after=asked_by_bob["time"])
        assert {row["destination"] for row in forwarded} == {new}, method
    assert len(wire.requests("BYE", "nat-lan", to=wire.alice)) == 1


@LONG
@pytest.mark.parametrize("event", [REBIND, CHANGE_IP, REBOOT])
def test_without_a_repair_bobs_bye_is_lost_and_the_verdict_says_why(quiet: Lab, event: str) -> None:
    become(quiet, "home")
    wire = Wire(quiet.call("--from", "bob", "--hangup", "caller", "--event", event), quiet)
    when = wire.happened(event)
    lost = wire.requests("BYE", "nat-wan", source=wire.proxy)
    assert wire.requests("ACK", "nat-lan", to=wire.alice)[0]["time"] < when < lost[0]["time"]
    assert len(lost) >= 3
    assert wire.requests("BYE", "nat-lan") == []
    assert wire.run.verdict == "fail"
    said = re.search(rf"forgotten by `{event}` ([\d.]+) s before", wire.facts["request-lost-at-router"])
    assert said, wire.facts
    assert abs(float(said[1]) - (lost[0]["time"] - when)) < 0.1
    assert wire.facts["call-up-not-ended"].startswith("Bob hangs up, and the other phone does not hear of it")
