"""Line ends that keep a mapping open are drawn with the flow that they are of, through the router, and folded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from observer.decode import Address, Sighting
from observer.story import tell
from observer.view import keepalives, schema
from observer.view.keepalives import Flows
from observer.view.rows import rows
from tests.unit.observer.sightings import (
    ALICE,
    BOB,
    NAT,
    PROXY,
    SAME_HOME,
    TOPOLOGY,
    TWO_HOMES,
    good_story,
    in_two_homes,
    topology,
)
from tests.unit.observer.view.views import drawn

LATER = 5.0
HER_OWN, HER_PUBLIC = "%s:%d" % ALICE, "%s:%d" % NAT
HERS = "keep-alive alice:5060 — proxy:5060 (udp)"


def line_ends(tap: str, source: Address, destination: Address, crlf: int, after: float = LATER) -> Sighting:
    """Return one sighting of a keep-alive."""
    last = good_story()[-1]
    return Sighting(
        last.time + after, tap, "udp", source, destination, "", "", 0, "", "", 0, [], [], "", [], [], "", crlf=crlf
    )


def ping(after: float = LATER) -> list[Sighting]:
    """Return Alice's, on its way to the proxy."""
    ways = (("nat-lan", ALICE), ("nat-wan", NAT), ("proxy", NAT))
    return [line_ends(tap, source, PROXY, 2, after + number / 1000) for number, (tap, source) in enumerate(ways)]


def pong(after: float = LATER) -> list[Sighting]:
    """Return the proxy's answer, on its way to Alice."""
    ways = (("proxy", NAT), ("nat-wan", NAT), ("nat-lan", ALICE))
    return [line_ends(tap, PROXY, end, 1, after + 0.010 + number / 1000) for number, (tap, end) in enumerate(ways)]


def kept(view: schema.View) -> list[schema.Call]:
    return [call for call in view["calls"] if call["method"] == keepalives.METHOD]


def test_a_keep_alive_crosses_the_router_as_what_else_its_phone_sends() -> None:
    (call,) = kept(drawn([*good_story(), *ping(), *pong()]))
    assert (call["id"], call["caller"], call["callee"], call["state"]) == (HERS, "alice", "proxy", "done")
    sent, passed, answered, came = call["arrows"]
    assert [arrow["label"] for arrow in call["arrows"]] == ["CRLF CRLF", "CRLF CRLF", "CRLF", "CRLF"]
    assert not sent["crossing"]
    assert not answered["crossing"]
    assert passed["crossing"]
    assert [(each["before"], each["after"]) for each in passed["changes"]] == [(HER_OWN, HER_PUBLIC)]
    assert [sight["tap"] for sight in passed["sights"]] == ["nat-wan", "proxy"]
    assert [(each["before"], each["after"]) for each in came["changes"]] == [(HER_PUBLIC, HER_OWN)]
    assert not any(arrow["lost"] or arrow["copy"] for arrow in call["arrows"])


def test_each_that_comes_is_one_and_they_are_folded() -> None:
    view = drawn([*good_story(), *(seen for number in range(3) for seen in ping(LATER + number))])
    assert len(kept(view)[0]["arrows"]) == 6
    assert [row.kept for row in rows(view) if row.folded] == ["3 keep-alives (CRLF)"]


def test_of_one_that_comes_out_by_a_port_that_nobody_knows_nothing_is_said_but_that_it_was_sent() -> None:
    """The mapping had expired: the router took another port, and by that no SIP has gone yet."""
    fresh = (NAT[0], NAT[1] + 1)
    gone = [replace(seen, source=fresh) if seen.source == NAT else seen for seen in ping()]
    (call,) = kept(drawn([*good_story(), *gone, *ping(LATER + 1)]))
    assert [len(arrow["sights"]) for arrow in call["arrows"]] == [1, 1, 2]
    assert not any(arrow["lost"] for arrow in call["arrows"])


def test_a_port_that_another_phone_gets_later_is_hers_until_then() -> None:
    """Bob moves in with her, and the router gives him what was her port."""
    where = topology(SAME_HOME)
    bob = ("10.77.1.110", 5060)
    his = [
        replace(seen, call_id="his", time=seen.time + 2 * LATER, source=bob if seen.source == ALICE else seen.source)
        for seen in good_story()
        if seen.method == "REGISTER" and seen.is_request
    ]
    view = drawn([*good_story(), *ping(), *his], where=where)
    (call,) = kept(view)
    assert (call["id"], len(call["arrows"])) == (HERS, 2)


def test_line_ends_of_a_flow_without_sip_are_nobodys() -> None:
    stranger = line_ends("proxy", ("198.51.100.77", 9), PROXY, 2)
    assert kept(drawn([*good_story(), stranger])) == []


def test_two_phones_of_the_same_private_address_are_not_mixed_up() -> None:
    story = in_two_homes([*good_story(), *ping(), line_ends("proxy", BOB, PROXY, 2)])
    names = {call["id"] for call in kept(drawn(story, where=topology(TWO_HOMES)))}
    assert names == {HERS, HERS.replace("alice", "bob")}


def test_a_capture_that_begins_with_a_keep_alive_has_it() -> None:
    early = [replace(seen, time=seen.time - 2 * LATER) for seen in ping()]
    (call,) = kept(drawn([*early, *good_story()]))
    assert (call["id"], len(call["arrows"])) == (HERS, 2)


def test_who_meets_flows_without_end_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepalives, "MOST", 3)
    flows = Flows(TOPOLOGY)
    for number in range(20):
        flows.learn(tell([replace(seen, source=(seen.source[0], 1024 + number)) for seen in good_story()], TOPOLOGY))
        assert len(flows._known) < 20
