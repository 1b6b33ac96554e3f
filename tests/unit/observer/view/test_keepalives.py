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


def test_one_that_went_no_further_is_lost_and_the_next_one_is_not() -> None:
    (call,) = kept(drawn([*good_story(), *ping()[:1], *ping(LATER + 1)]))
    assert [bool(arrow["lost"]) for arrow in call["arrows"]] == [True, False, False]


def test_line_ends_of_a_flow_without_sip_are_nobodys() -> None:
    stranger = line_ends("proxy", ("198.51.100.77", 9), PROXY, 2)
    assert kept(drawn([*good_story(), stranger])) == []


def test_two_phones_of_the_same_private_address_are_not_mixed_up() -> None:
    story = in_two_homes([*good_story(), *ping(), line_ends("proxy", BOB, PROXY, 2)])
    names = {call["id"] for call in kept(drawn(story, where=topology(TWO_HOMES)))}
    assert names == {HERS, HERS.replace("alice", "bob")}


def test_who_meets_flows_without_end_forgets_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepalives, "MOST", 3)
    flows = Flows(TOPOLOGY)
    for number in range(20):
        flows.learn(tell([replace(seen, source=(seen.source[0], 1024 + number)) for seen in good_story()], TOPOLOGY))
        assert len(flows._known) < 20
