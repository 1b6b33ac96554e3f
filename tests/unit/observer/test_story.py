"""Sightings become journeys, and every change has somebody who made it."""

from __future__ import annotations

from dataclasses import replace

from observer.story import as_json, changes, tell
from tests.unit.observer.sightings import (
    ALICE,
    ALICE_CONTACT,
    BOB,
    NAT,
    PROXY,
    TOPOLOGY,
    TWO_HOMES,
    Wire,
    alice_calls,
    carried,
    good_story,
    in_two_homes,
    lines,
    sighting,
    topology,
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


def test_of_two_copies_the_older_is_lost_when_one_arrives() -> None:
    wire = Wire()
    bye = lines("BYE sip:bob@198.51.100.200:5060 SIP/2.0", [via_alice("b")], "c", "2 BYE")
    wire.packet(bye, ALICE, PROXY, "nat-lan")  # the router drops it
    wire.packet(bye, ALICE, PROXY, "nat-lan")
    wire.packet(bye, NAT, PROXY, "nat-wan", "proxy")
    assert [[leg.taps for leg in journey.legs] for journey in tell(wire.sightings, TOPOLOGY)] == [
        [["nat-lan"]], [["nat-lan"], ["nat-wan", "proxy"]],
    ]  # fmt: skip


def test_two_copies_that_differ_are_not_taken_for_each_other() -> None:
    """The proxy keeps nothing of a REGISTER that it challenges: the nonces differ, and both may be on the way."""
    wire = Wire()
    challenges = [
        lines("SIP/2.0 401 Unauthorized", [via_alice("r")], "c", "1 REGISTER", f"WWW-Authenticate: Digest nonce={each}")
        for each in ("one", "two")
    ]
    for source, destination, tap in ((PROXY, NAT, "proxy"), (PROXY, ALICE, "nat-lan")):
        for challenge in challenges:
            wire.packet(challenge, source, destination, tap)
    assert [journey.legs[1].changes for journey in tell(wire.sightings, TOPOLOGY)] == [
        ["destination 198.51.100.20:50568 → 10.77.1.100:5060"]
    ] * 2


def test_a_100_goes_one_hop_and_the_next_hops_is_another() -> None:
    wire = Wire()
    wire.packet(lines("SIP/2.0 100 Trying", [via_alice("i")], "c", "1 INVITE"), PROXY, NAT, "proxy", "nat-wan")
    wire.packet(lines("SIP/2.0 100 Trying", [via_proxy("i"), via_alice("i")], "c", "1 INVITE"), BOB, PROXY, "proxy")
    assert [[leg.by for leg in journey.legs] for journey in tell(wire.sightings, TOPOLOGY)] == [[""], [""]]


def test_of_a_fork_each_branch_is_made_of_what_came_in() -> None:
    wire = Wire()
    uri = "sip:alice@198.51.100.10"
    wire.packet(lines(f"INVITE {uri} SIP/2.0", [via_alice("i")], "c", "1 INVITE"), BOB, PROXY, "proxy")
    x, y = (
        lines(f"INVITE {ALICE_CONTACT};n={branch} SIP/2.0", [via_proxy(branch), via_alice("i")], "c", "1 INVITE")
        for branch in "xy"
    )
    for forked, port in ((x, 50001), (y, 50002)):
        wire.packet(forked, PROXY, (NAT[0], port), "proxy", "nat-wan")
    for forked, port in ((x, 5060), (y, 5062)):
        wire.packet(forked, PROXY, (ALICE[0], port), "nat-lan")
    (journey,) = tell(wire.sightings, TOPOLOGY)
    assert [leg.by for leg in journey.legs] == ["", "proxy", "proxy", "nat", "nat"]
    assert [journey.legs.index(leg.before) for leg in journey.legs if leg.before] == [0, 0, 1, 2]
    assert journey.legs[4].changes == ["destination 198.51.100.20:50002 → 10.77.1.100:5062"]


def test_between_two_homes_every_change_has_the_router_that_made_it() -> None:
    where = topology(TWO_HOMES)
    invites = [one for one in tell(in_two_homes(good_story()), where) if one.first.method == "INVITE"]
    assert [[leg.by for leg in one.legs] for one in invites if one.first.is_request] == [
        ["", "nat", "proxy", "nat-bob"], ["", "nat-bob", "proxy", "nat"],
    ]  # fmt: skip
    assert invites[0].legs[3].changes == ["destination 198.51.100.40:50777 → 10.77.1.100:5060"]


def test_two_routers_in_a_row_are_told_apart() -> None:
    wire = Wire()
    bye = lines("BYE sip:bob@198.51.100.200:5060 SIP/2.0", [via_alice("b")], "c", "2 BYE")
    back = lines("SIP/2.0 200 OK", [via_alice("b")], "c", "2 BYE")
    between = ("100.64.0.2", 40001)
    for message, ends in ((bye, [(ALICE, PROXY), (between, PROXY), (NAT, PROXY)]),
                          (back, [(PROXY, NAT), (PROXY, between), (PROXY, ALICE)])):  # fmt: skip
        taps = ["nat-lan", "nat-isp", "nat-wan"]
        for tap, (source, destination) in zip(taps if message is bye else taps[::-1], ends, strict=True):
            wire.packet(message, source, destination, tap)
    assert [[leg.by for leg in one.legs] for one in tell(wire.sightings, topology(layers=2))] == [
        ["", "nat", "isp"], ["", "isp", "nat"],
    ]  # fmt: skip


def test_what_the_probe_sends_to_the_reflectors_is_nobodys_call() -> None:
    wire = Wire()
    register = lines("REGISTER sip:198.51.100.30 SIP/2.0", [via_alice("p")], "probe", "1 REGISTER")
    wire.packet(register, ("10.77.1.101", 20001), ("198.51.100.30", 5060), "nat-lan")
    assert tell(wire.sightings, TOPOLOGY) == []


def test_what_a_call_sends_to_another_port_there_belongs_to_it() -> None:
    wire = Wire()
    invite = lines("INVITE sip:198.51.100.30:5099 SIP/2.0", [via_alice("p")], "call", "1 INVITE")
    wire.packet(invite, ("198.51.100.10", 5060), ("198.51.100.30", 5099), "proxy")
    assert len(tell(wire.sightings, TOPOLOGY)) == 1


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
    assert changes(before, after) == ["- Allow: INVITE", "+ v=0"]


def test_of_a_body_the_lines_that_changed_are_told() -> None:
    sdp = "v=0\r\nc=IN IP4 10.77.1.100\r\nt=0 0\r\n"
    ack = lines("ACK sip:b SIP/2.0", [via_alice("i")], "c", "1 ACK")
    before = replace(sighting("nat-lan", NAT, PROXY, *ack), body=sdp)
    after = replace(before, body=sdp.replace("10.77.1.100", "198.51.100.20"))
    assert changes(before, after) == ["~ c=IN IP4 10.77.1.100 → c=IN IP4 198.51.100.20"]
    assert changes(before, replace(before, body=sdp.replace("\r", ""))) == ["~ line ends of the body"]


def test_the_story_as_json_has_every_sighting_in_the_order_of_time() -> None:
    rows = as_json(tell(good_story(), TOPOLOGY))
    assert len(rows) == len(good_story())
    assert [row["time"] for row in rows] == sorted(row["time"] for row in rows)
    assert set(rows[0]) == {
        "time", "tap", "transport", "source", "destination", "first_line", "call_id", "cseq", "headers", "journey",
        "by", "changes",
    }  # fmt: skip
    assert (rows[0]["source"], rows[0]["cseq"]) == ("%s:%d" % ALICE, "1 REGISTER")
