"""Sightings become journeys, and every change has somebody who made it."""

from __future__ import annotations

from dataclasses import replace

from observer.story import as_json, changes, tell
from tests.unit.observer.sightings import (
    ALICE,
    NAT,
    PROXY,
    TOPOLOGY,
    Wire,
    alice_calls,
    carried,
    good_story,
    lines,
    sighting,
    via_alice,
    via_proxy,
)


def test_a_message_is_one_journey_from_end_to_end() -> None:
    invite = next(journey for journey in tell(good_story(), TOPOLOGY) if journey.first.method == "INVITE")
    assert [(leg.by, leg.taps) for leg in invite.legs] == [
        ("", ["nat-lan"]),
        ("nat", ["nat-wan", "proxy"]),
        ("proxy", ["proxy"]),
    ]


def test_every_message_of_two_calls_has_its_journey() -> None:
    # REGISTER and its answer; twice INVITE, 180, 200, ACK, BYE, 200
    assert len(tell(good_story(), TOPOLOGY)) == 2 + 2 * 6


def test_what_the_router_did_is_one_line() -> None:
    invite = next(journey for journey in tell(good_story(), TOPOLOGY) if journey.first.method == "INVITE")
    assert invite.legs[1].changes == ["source 10.77.1.100:5060 → 198.51.100.20:50568"]


def test_what_the_proxy_did_is_told_line_by_line() -> None:
    invite = next(journey for journey in tell(good_story(), TOPOLOGY) if journey.first.method == "INVITE")
    assert invite.legs[2].changes == [
        "source 198.51.100.20:50568 → 198.51.100.10:5060",
        "destination 198.51.100.10:5060 → 198.51.100.200:5060",
        "~ INVITE sip:bob@198.51.100.10 SIP/2.0 → INVITE sip:bob@198.51.100.200:5060 SIP/2.0",
        "+ Via: SIP/2.0/UDP 198.51.100.10:5060;branch=z9hG4bKpi",
        "~ Via: SIP/2.0/UDP 10.77.1.100:5060;rport;branch=z9hG4bKi → "
        "SIP/2.0/UDP 10.77.1.100:5060;rport=50568;branch=z9hG4bKi;received=198.51.100.20",
        "+ Record-Route: <sip:198.51.100.10:5060;lr;d=c2lnbmVk>",
        "~ Contact: <sip:alice@10.77.1.100:5060> → <sip:alice@198.51.100.20:50568;behind=c2lnbmVk>",
    ]


def test_from_one_transport_to_another_is_a_change_of_the_proxys() -> None:
    story = carried(good_story(), "tls", "udp")
    invite = next(journey for journey in tell(story, TOPOLOGY) if journey.first.method == "INVITE")
    assert [leg.changes[0] for leg in invite.legs[1:]] == [
        "source 10.77.1.100:5060 → 198.51.100.20:50568", "transport tls → udp",
    ]  # fmt: skip


def test_an_answer_of_the_proxy_itself_begins_with_nobody() -> None:
    answer = tell(good_story(), TOPOLOGY)[1]
    assert [leg.by for leg in answer.legs] == ["", "nat"]
    assert answer.legs[1].changes == ["destination 198.51.100.20:50568 → 10.77.1.100:5060"]


def test_a_retransmission_is_a_journey_of_its_own() -> None:
    wire = Wire()
    alice_calls(wire)
    once = len(tell(wire.sightings, TOPOLOGY))
    invite = lines("INVITE sip:bob@198.51.100.10 SIP/2.0", [via_alice("i")], "alice-calls", "1 INVITE",
                   "Contact: <sip:alice@10.77.1.100:5060>")  # fmt: skip
    wire.alice_says(invite, None)
    journeys = tell(wire.sightings, TOPOLOGY)
    assert len(journeys) == once + 1
    assert journeys[-1].first.method == "INVITE"
    assert [leg.taps for leg in journeys[-1].legs] == [["nat-lan"], ["nat-wan", "proxy"]]
    assert len(journeys[0].legs) == 3


def test_a_transaction_with_the_same_numbers_but_another_branch_is_another_message() -> None:
    wire = Wire()
    for branch in ("x", "y"):
        wire.alice_says(lines("OPTIONS sip:bob@198.51.100.10 SIP/2.0", [via_alice(branch)], "c", "1 OPTIONS"), None)
    assert len(tell(wire.sightings, TOPOLOGY)) == 2


def test_what_is_no_sip_is_no_part_of_the_story() -> None:
    noise = replace(good_story()[0], first_line="")
    assert tell([noise], TOPOLOGY) == []


def test_vias_joined_in_one_line_are_no_change() -> None:
    vias = [via_proxy("i"), via_alice("i")]
    first, apart = lines("SIP/2.0 200 OK", vias, "c", "1 INVITE")
    joined = [f"Via: {', '.join(vias)}", *apart[2:]]
    before, after = (sighting("proxy", NAT, PROXY, first, headers) for headers in (apart, joined))
    assert changes(before, after) == []


def test_a_changed_body_and_a_removed_header_are_changes() -> None:
    first, headers = lines("SIP/2.0 200 OK", [via_alice("i")], "c", "1 INVITE", "Allow: INVITE")
    before = sighting("proxy", NAT, PROXY, first, headers)
    after = replace(before, headers=headers[:-1], body="v=0")
    assert changes(before, after) == ["- Allow: INVITE", "~ body"]


def test_the_story_as_json_has_every_sighting_in_the_order_of_time() -> None:
    rows = as_json(tell(good_story(), TOPOLOGY))
    assert len(rows) == len(good_story())
    assert [row["time"] for row in rows] == sorted(row["time"] for row in rows)
    assert set(rows[0]) == {
        "time", "tap", "transport", "source", "destination", "first_line", "call_id", "cseq", "headers", "journey",
        "by", "changes",
    }  # fmt: skip
    assert (rows[0]["source"], rows[0]["cseq"]) == ("%s:%d" % ALICE, "1 REGISTER")
