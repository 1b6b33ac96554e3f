"""A packet that went no further was lost somewhere, and it is said where and why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from observer.decode import Address
from observer.story import tell
from observer.topology import Topology
from observer.whereabouts import Loss, Surroundings, ends
from tests.unit.observer.sightings import (
    ALICE,
    BOB,
    NAT,
    NAT_BOB,
    PROXY,
    SAME_HOME,
    TOPOLOGY,
    TWO_HOMES,
    Wire,
    did,
    ended,
    good_story,
    histories,
    in_two_homes,
    lines,
    made,
    topology,
    via_bob,
)

BYE = lines("BYE sip:alice@10.77.1.100:5060 SIP/2.0", [via_bob("b")], "c", "1 BYE")
FACE = ("198.51.100.100", 5060)
BETWEEN = ("100.64.0.2", 40001)

Hop = tuple[Address, Address, str]


def way(
    *hops: Hop, where: Topology = TOPOLOGY, events: list[dict[str, Any]] | None = None
) -> tuple[list[str], list[Loss]]:
    """Return what a message that took this way says: its arrows ("from>to"), and where it was lost."""
    wire = Wire()
    for source, destination, taps in hops:
        wire.packet(BYE, source, destination, *taps.split())
    (journey,) = tell(wire.sightings, where)
    around = Surroundings(where, histories(where, events or []), wire.sightings)
    return [">".join(ends(leg, where)) for leg in journey.legs], around.losses(journey)


@pytest.mark.parametrize("where", [TOPOLOGY, topology(TWO_HOMES)], ids=["one home", "two homes"])
def test_a_call_that_went_well_has_lost_nothing(where: Topology) -> None:
    story = good_story() if len(where.homes) == 1 else in_two_homes(good_story())
    around = Surroundings(where, histories(where, []), story)
    assert [around.losses(journey) for journey in tell(story, where)] == [[]] * 14


@pytest.mark.parametrize(
    ("hops", "where", "arrows", "place", "says"),
    [
        ([(PROXY, ALICE, "proxy core")], TOPOLOGY, ["proxy>core"], "internet",
         "10.77.1.100:5060 is nowhere on the Internet"),
        ([(PROXY, ALICE, "proxy core")], topology(TWO_HOMES), ["proxy>core"], "internet", "nowhere on the Internet"),
        ([(PROXY, (NAT[0], 5060), "proxy nat-wan")], TOPOLOGY, ["proxy>nat"], "outside", "it never had one"),
        ([(PROXY, (NAT_BOB[0], 5060), "proxy nat-bob-wan")], topology(TWO_HOMES), ["proxy>nat-bob"], "outside",
         "198.51.100.40:5060: it never had one"),
        ([(ALICE, PROXY, "nat-lan")], TOPOLOGY, ["alice>nat"], "inside", "the router did not pass it on"),
        ([(ALICE, PROXY, "nat-bob-lan")], topology(TWO_HOMES), ["bob>nat-bob"], "inside", "did not pass it on"),
        ([(ALICE, (NAT[0], 50001), "nat-lan")], topology(SAME_HOME), ["alice>nat"], "inside", "no hairpin"),
        ([(PROXY, NAT, "proxy")], TOPOLOGY, ["proxy>nat"], "internet", "nobody has 198.51.100.20:50568 now"),
        ([(PROXY, FACE, "proxy nat-wan")], topology(mapping="none", filtering="none"), ["proxy>nat"], "outside",
         "the router did not pass it on"),
        ([(ALICE, PROXY, "nat-lan"), (BETWEEN, PROXY, "nat-isp")], topology(layers=2), ["alice>nat", "nat>isp"],
         "inside", "the provider's router did not pass it on"),
        ([(PROXY, NAT, "proxy nat-wan"), (PROXY, BETWEEN, "nat-isp")], topology(layers=2), ["proxy>isp", "isp>nat"],
         "outside", "no mapping for 100.64.0.2:40001"),
    ],
)  # fmt: skip
def test_where_a_packet_was_lost(hops: list[Hop], where: Topology, arrows: list[str], place: str, says: str) -> None:
    drawn, (loss,) = way(*hops, where=where)
    assert drawn == arrows
    assert loss.place == place
    assert says in loss.text


@pytest.mark.parametrize(
    ("hops", "where", "arrows"),
    [
        ([(FACE, PROXY, "nat-lan nat-wan proxy")], topology(mapping="none", filtering="none"), ["alice>proxy"]),
        ([(PROXY, FACE, "proxy nat-wan nat-lan")], topology(mapping="none", filtering="none"), ["proxy>alice"]),
        ([(PROXY, FACE, "proxy nat-wan"), (PROXY, ALICE, "nat-lan")], topology(filtering="none"),
         ["proxy>nat", "nat>alice"]),
        ([(ALICE, (NAT[0], 50002), "nat-lan"), ((NAT[0], 50001), ("10.77.1.110", 5060), "nat-lan")],
         topology(SAME_HOME), ["alice>nat", "nat>bob"]),
        ([(BOB, PROXY, "proxy"), (PROXY, NAT, "proxy nat-wan"), (PROXY, BETWEEN, "nat-isp"), (PROXY, ALICE, "nat-lan")],
         topology(layers=2), ["bob>proxy", "proxy>isp", "isp>nat", "nat>alice"]),
    ],
    ids=["no NAT, out", "no NAT, in", "one to one", "hairpin", "two routers"],
)  # fmt: skip
def test_what_arrived_was_not_lost(hops: list[Hop], where: Topology, arrows: list[str]) -> None:
    assert way(*hops, where=where) == (arrows, [])


def test_without_a_word_from_the_router_nothing_is_made_up() -> None:
    wire = Wire()
    wire.packet(BYE, PROXY, NAT, "nat-wan")
    (journey,) = tell(wire.sightings, TOPOLOGY)
    (loss,) = Surroundings(TOPOLOGY, {}, wire.sightings).losses(journey)
    assert loss.text == "the router has no mapping for 198.51.100.20:50568: dropped"


@pytest.mark.parametrize(
    ("events", "says"),
    [
        ([made(-30), ended(-2)], "it expired 2.0 s before (made 30.0 s before)"),
        ([made(-30), ended(-2), did(-2, "rebind")], "it was forgotten by `rebind` 2.0 s before (made 30.0 s before)"),
        ([made(-30)], "the router lets in at 198.51.100.20:50568 only whom the phone has sent to from there: "
                      "not 198.51.100.10:5060"),
    ],
)  # fmt: skip
def test_the_routers_past_says_why(events: list[dict[str, Any]], says: str) -> None:
    _, (loss,) = way((PROXY, NAT, "nat-wan"), events=events)
    assert says in loss.text


def test_an_address_that_the_router_gave_up_is_told_with_the_time() -> None:
    _, (loss,) = way((PROXY, NAT, "proxy"), events=[did(-3, "change-ip")])
    assert loss.text == "nobody has 198.51.100.20:50568 now: dropped: `change-ip` 3.0 s before"


def test_who_drops_on_purpose_is_named() -> None:
    _, (loss,) = way((ALICE, PROXY, "nat-lan"), events=[did(-1, "drop-next")])
    assert loss.text == "the router did not pass it on: `drop-next` 1.0 s before"


def test_what_such_a_router_never_passes_is_said_at_either_side() -> None:
    for hop in ((ALICE, PROXY, "nat-lan"), (PROXY, NAT, "nat-wan")):
        _, (loss,) = way(hop, where=topology(udp="blocked"), events=[made(-3)])
        assert loss.text == "the router did not pass it on: it passes no UDP"


def test_a_phone_without_a_port_at_the_router_is_told_who_has_them() -> None:
    events = [made(-2, (NAT[0], 50001), (ALICE[0], 40001))]
    _, (loss,) = way((ALICE, PROXY, "nat-lan"), where=topology(block=1), events=events)
    why = "every port that it has for 10.77.1.100 is taken, by 40001 there"
    assert loss.text == f"the router did not pass it on: {why}"


# ── a port by which nobody speaks ─────────────────────────────────────────────────────────────────────────────────


def heard(*spoken: Address, transport: str = "udp") -> list[Loss]:
    """Return where a packet to port 5062 of Alice's was lost: these ports have spoken."""
    wire = Wire()
    for port in spoken:
        wire.packet(lines("ACK sip:b SIP/2.0", [via_bob("other")], "d", "1 ACK"), port, PROXY, "nat-lan")
    wire.packet(BYE, PROXY, (ALICE[0], 5062), "nat-lan")
    wire.sightings = [replace(seen, transport=transport) for seen in wire.sightings]
    journey = next(journey for journey in tell(wire.sightings, TOPOLOGY) if journey.first.call_id == "c")
    return Surroundings(TOPOLOGY, {}, wire.sightings).losses(journey)


def test_a_packet_to_a_port_by_which_the_phone_does_not_speak_is_not_heard() -> None:
    (loss,) = heard(ALICE)
    assert (loss.place, loss.lane) == ("deaf", "alice")
    assert loss.text == "nobody listens at 10.77.1.100:5062: the phone speaks from 5060"


def test_by_which_port_a_phone_listens_is_known_only_when_it_has_spoken_and_by_udp() -> None:
    assert heard() == []
    assert heard(ALICE, (ALICE[0], 5062)) == []
    assert heard((NAT[0], 5060)) == []
    assert heard(ALICE, transport="tcp") == []
