"""Why a packet was not let in: by what the router says that it did, and by what kept the mapping alive on the wire."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from observer.decode import Address, Rtp, Sighting
from observer.history import DROPPED, EXPIRED, FILTERED, FORGOTTEN, NEVER, Fate, History, size
from tests.unit.observer.sightings import ALICE, BOB, HOME, NAT, PROXY, did, ended, lines, made, sighting, via_bob

INVITE = lines("INVITE sip:alice@10.77.1.100:5060 SIP/2.0", [via_bob("b")], "c", "1 INVITE")


def packet(time: float, source: Address, destination: Address, transport: str = "udp") -> Sighting:
    """Return something that the tap on the router's outer side sees."""
    return replace(sighting("nat-wan", source, destination, *INVITE, time=time), transport=transport)


def sound(time: float) -> Sighting:
    """Return a packet of sound that the tap on the router's outer side sees."""
    rtp = Rtp("0x1", 1, 1, 0, b"")
    return replace(packet(time, PROXY, NAT), rtp=rtp, first_line="")


def history(*events: dict[str, Any], **profile: Any) -> History:
    """Return the everyday router's history, but for these axes."""
    return History("nat", HOME | profile, list(events))


def test_a_port_that_never_was_anybodys() -> None:
    fate = history(made(0, (NAT[0], 50001))).fate(packet(9, PROXY, NAT), [])
    assert (fate.code, fate.text) == (NEVER, "it never had one")


def test_a_mapping_of_another_transport_is_none() -> None:
    assert history(made(0, transport="tcp")).fate(packet(9, PROXY, NAT), []).code == NEVER


def test_a_mapping_that_came_later_than_the_packet_is_none() -> None:
    assert history(made(9.5)).fate(packet(9, PROXY, NAT), []).code == NEVER


def test_an_expired_mapping_is_told_with_its_end_and_its_age() -> None:
    """The router noticed late, when it was asked: the last packet on the wire says when it really ended."""
    kept_alive = [packet(1, NAT, PROXY), packet(1.1, PROXY, NAT)]
    fate = history(made(1), ended(21), lifetime=5).fate(packet(21, PROXY, NAT), kept_alive)
    assert (fate.code, fate.text) == (EXPIRED, "it expired 14.9 s before (made 20.0 s before)")
    assert fate.ago == pytest.approx(14.9)


def test_without_a_packet_in_sight_the_router_is_believed() -> None:
    fate = history(made(1), ended(8)).fate(packet(9, PROXY, NAT), [])
    assert fate.text == "it expired 1.0 s before (made 8.0 s before)"


def test_what_comes_from_outside_keeps_a_mapping_only_where_the_router_counts_it() -> None:
    seen = [packet(1, NAT, PROXY), packet(4, PROXY, NAT)]
    lost = packet(20, PROXY, NAT)
    assert history(made(1), ended(20), lifetime=5).fate(lost, seen).ago == pytest.approx(11)
    assert history(made(1), ended(20), lifetime=5, refresh="outbound").fate(lost, seen).ago == pytest.approx(14)


def test_what_comes_too_late_from_outside_does_not_revive_it() -> None:
    seen = [packet(1, NAT, PROXY), packet(8, PROXY, NAT)]
    assert history(made(1), ended(20), lifetime=5).fate(packet(20, PROXY, NAT), seen).ago == pytest.approx(14)


@pytest.mark.parametrize("verb", ["rebind", "flush", "set", "change-ip", "reboot", "lifetime"])
def test_what_somebody_did_to_the_router_is_named(verb: str) -> None:
    fate = history(made(1), ended(7), did(7.01, verb)).fate(packet(9.11, PROXY, NAT), [packet(2, NAT, PROXY)])
    assert (fate.code, fate.text) == (FORGOTTEN, f"it was forgotten by `{verb}` 2.1 s before (made 8.1 s before)")


def test_a_verb_of_long_after_the_end_did_not_end_it() -> None:
    fate = history(made(1), ended(6), did(8, "rebind")).fate(packet(9, PROXY, NAT), [packet(1, NAT, PROXY)])
    assert fate.code == EXPIRED


def test_a_connection_does_not_expire_by_the_lifetime_of_udp() -> None:
    lost = packet(20, PROXY, NAT, "tcp")
    seen = [packet(1, NAT, PROXY, "tcp")]
    assert history(made(1, transport="tcp"), lifetime=5).fate(lost, seen).code == DROPPED
    assert history(made(1, transport="tcp"), ended(9, transport="tcp"), lifetime=5).fate(lost, seen).code == EXPIRED


@pytest.mark.parametrize(
    ("filtering", "spoken_to", "code"),
    [
        ("address-and-port-dependent", PROXY, FILTERED),
        ("address-and-port-dependent", (BOB[0], 5070), FILTERED),
        ("address-and-port-dependent", BOB, DROPPED),
        ("address-dependent", PROXY, FILTERED),
        ("address-dependent", (BOB[0], 5070), DROPPED),
        ("endpoint-independent", PROXY, DROPPED),
    ],
)
def test_a_router_lets_in_whom_its_filtering_says(filtering: str, spoken_to: Address, code: str) -> None:
    router = history(made(1), filtering=filtering)
    assert router.fate(packet(3, BOB, NAT), [packet(2, NAT, spoken_to)]).code == code


def test_who_loses_packets_on_purpose_is_named() -> None:
    router = history(made(1), did(2.5, "drop-next"))
    fate = router.fate(packet(3, PROXY, NAT), [packet(2, NAT, PROXY)])
    assert (fate.code, fate.text) == (DROPPED, "`drop-next` 0.5 s before")


def test_the_second_life_of_a_port_counts() -> None:
    router = history(made(1), ended(6), made(10))
    assert router.lives("udp", NAT) == [(1, 6), (10, None)]
    assert router.fate(packet(12, PROXY, NAT), [packet(11, NAT, PROXY)]).code == DROPPED


# ── what a router of such a kind never passes ─────────────────────────────────────────────────────────────────────


def of_bytes(count: int, transport: str = "udp") -> Sighting:
    """Return a packet to Alice's mapping whose message has so many bytes."""
    empty = packet(9, PROXY, NAT, transport)
    return replace(empty, body="x" * (count - size(empty)))


@pytest.mark.parametrize(
    ("lost", "profile", "says"),
    [
        (of_bytes(1473), {"fragments": "dropped"}, "it drops fragments, and 1473 bytes do not go in one packet"),
        (of_bytes(1472), {"fragments": "dropped"}, ""),
        (of_bytes(3000), {"fragments": "passed"}, ""),
        (of_bytes(3000, "tcp"), {"fragments": "dropped", "udp": "blocked"}, ""),
        (of_bytes(300), {"udp": "blocked"}, "it passes no UDP"),
    ],
)
def test_what_it_never_passes(lost: Sighting, profile: dict[str, str], says: str) -> None:
    assert history(**profile).bar(lost) == says
    if says:
        assert history(made(1), **profile).fate(lost, []) == Fate(DROPPED, says)


def test_what_it_was_before_it_was_changed_is_not_known() -> None:
    for verb, says in (("rebind", "it passes no UDP"), ("set", ""), ("lifetime", "")):
        assert history(did(10, verb), udp="blocked").bar(of_bytes(300)) == says
        assert history(did(8, verb), udp="blocked").bar(of_bytes(300)) == "it passes no UDP"


def test_sound_that_somebody_blocked_is_not_passed_that_way_until_he_lets_it() -> None:
    for verb, barred in (("in", {"in"}), ("out", {"out"}), ("both", {"in", "out"})):
        blocked = [did(6, f"block-audio {verb}")]
        for way in ("in", "out"):
            says = f"`block-audio {verb}` 3.0 s before" if way in barred else ""
            assert history(*blocked).bar(sound(9), way) == says
            assert history(*blocked, did(8, "block-audio off")).bar(sound(9), way) == ""
            assert history(*blocked, did(8, "clear")).bar(sound(9), way) == ""
    assert history(did(5, "block-audio in"), did(6, "block-audio out")).bar(sound(9), "in") == ""  # the last one counts


def test_what_blocks_sound_is_no_reason_for_another_packet() -> None:
    muted = history(did(6, "block-audio both"))
    assert muted.bar(of_bytes(300)) == muted.impairment(of_bytes(300)) == ""


def test_udp_that_somebody_blocked_is_not_passed_until_he_lets_it() -> None:
    blocked = [did(6, "block-udp")]
    assert history(*blocked).bar(of_bytes(300)) == "it passes no UDP since `block-udp` 3.0 s before"
    for end in ("block-udp off", "clear"):
        assert history(*blocked, did(8, end)).bar(of_bytes(300)) == ""
        assert history(*blocked, did(10, end)).bar(of_bytes(300)) != ""
    assert history(*blocked).bar(of_bytes(300, "tcp")) == ""


def test_an_impairment_is_blamed_while_it_is_in_force() -> None:
    lost = of_bytes(300)  # at 9
    lossy = did(2, "loss")
    assert history(lossy).impairment(lost) == "`loss` 7.0 s before"
    assert history(lossy, did(4, "drop-next")).impairment(lost) == "`drop-next` 5.0 s before"
    assert history(lossy, did(4, "drop-next"), did(5, "clear")).impairment(lost) == ""
    assert history(lossy, did(5, "loss off")).impairment(lost) == ""
    assert history(lossy, did(10, "clear")).impairment(lost) == "`loss` 7.0 s before"
    assert history(did(4, "drop-next"), lossy, did(5, "loss off")).impairment(lost) == "`drop-next` 5.0 s before"


def test_the_size_of_a_message_is_what_was_sent() -> None:
    text = "ACK sip:b SIP/2.0\r\nCall-ID: c\r\n\r\nv=0\r\n"
    seen = replace(packet(1, PROXY, NAT), first_line="ACK sip:b SIP/2.0", headers=["Call-ID: c"], body="v=0\r\n")
    assert size(seen) == len(text)


def other(port: int, time: float = 1, transport: str = "udp") -> dict[str, Any]:
    """Return the event of a mapping of another port of Alice's that is made."""
    return made(time, (NAT[0], port + 10_000), (ALICE[0], port), transport)


SAYS = "every port that it has for 10.77.1.100 is taken, by 40001, 40002 there"


@pytest.mark.parametrize(
    ("events", "says"),
    [
        ([other(40001), other(40002)], SAYS),
        ([other(40001), other(40002), other(40003, time=10)], SAYS),  # later
        ([other(40001)], ""),
        ([other(40001), other(40002, transport="tcp")], ""),
        ([other(40001), other(40002), ended(8, (NAT[0], 50002), (ALICE[0], 40002))], ""),
        ([other(40001), made(1)], ""),  # one of the two is its own
        ([other(40001), other(40002), made(1)], ""),
        ([other(40001), made(1, (NAT[0], 1), ("10.77.1.101", 40002))], ""),  # the neighbour's
        ([other(40001), other(40002), did(2, "set"), did(10, "delay")], SAYS),
        ([other(40001), other(40002), did(10, "set")], ""),  # who knows what it was before
    ],
)
def test_a_host_has_no_port_left_when_others_of_its_own_hold_all(events: list[dict[str, Any]], says: str) -> None:
    lost = packet(9, ALICE, PROXY)
    assert history(*events, block=2).starvation(lost) == says
    assert history(*events).starvation(lost) == ""
