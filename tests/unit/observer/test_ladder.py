"""The ladder shows every packet, what was changed on the way, and where a message was lost."""

from __future__ import annotations

from observer.decode import Address
from observer.history import History
from observer.ladder import draw, shorten
from observer.story import tell
from observer.unheard import hops
from observer.whereabouts import Surroundings
from tests.unit.observer import speech
from tests.unit.observer.sightings import (
    ALICE,
    BOB,
    HOME,
    NAT,
    NAT_BOB,
    PROXY,
    TOPOLOGY,
    TWO_HOMES,
    Lines,
    Wire,
    around,
    did,
    ended,
    good_story,
    in_two_homes,
    lines,
    made,
    topology,
    via_bob,
)

BYE = lines("BYE sip:alice@10.77.1.100:5060 SIP/2.0", [via_bob("b")], "c", "1 BYE")


def ladder(*packets: tuple[Lines, Address, Address, str]) -> str:
    """Draw these packets, each seen at one tap."""
    wire = Wire()
    for message, source, destination, tap in packets:
        wire.packet(message, source, destination, tap)
    return draw(tell(wire.sightings, TOPOLOGY), around(wire.sightings))


def test_the_lanes_bear_names_and_addresses() -> None:
    names, addresses = draw(tell(good_story(), TOPOLOGY), around(good_story())).splitlines()[:2]
    assert names.split() == ["alice", "nat", "proxy", "bob"]
    assert addresses.split() == ["10.77.1.100", "10.77.1.1", "|", "198.51.100.20", "198.51.100.10", "198.51.100.200"]


def test_a_message_is_an_arrow_a_packet_and_its_changes_below() -> None:
    drawn = draw(tell(good_story(), TOPOLOGY), around(good_story())).splitlines()
    start = next(number for number, line in enumerate(drawn) if "── INVITE bob" in line)
    assert [line.strip() for line in drawn[start + 2 : start + 3]] == [
        "nat:   source 10.77.1.100:5060 → 198.51.100.20:50568"
    ]
    assert drawn[start].index("INVITE") < drawn[start + 1].index("INVITE") < drawn[start + 3].index("INVITE")
    assert drawn[start].count("▶") == 1
    assert drawn[start + 4].strip() == "proxy: destination 198.51.100.10:5060 → 198.51.100.200:5060"


def test_an_answer_points_the_other_way() -> None:
    drawn = draw(tell(good_story(), TOPOLOGY), around(good_story()))
    assert next(line for line in drawn.splitlines() if "180 Ringing (INVITE)" in line).count("◀") == 1


def test_a_good_call_has_no_message_that_was_lost() -> None:
    assert "✗" not in draw(tell(good_story(), TOPOLOGY), around(good_story()))


def test_a_packet_to_a_private_address_is_dropped_by_the_internet() -> None:
    drawn = ladder((BYE, PROXY, ALICE, "core"))
    assert "✗ 10.77.1.100:5060 is nowhere on the Internet: dropped" in drawn
    assert drawn.splitlines()[0].split()[-1] == "core"


def test_a_packet_to_a_port_without_mapping_is_dropped_by_the_router() -> None:
    assert "✗ the router has no mapping for 198.51.100.20:5060: dropped" in ladder(
        (BYE, BOB, (NAT[0], 5060), "nat-wan")
    )


def test_a_packet_that_the_router_keeps_to_itself_is_told() -> None:
    assert "✗ the router did not pass it on" in ladder((BYE, ALICE, PROXY, "nat-lan"))


def test_a_stranger_has_a_lane_of_his_own() -> None:
    assert ladder((BYE, ("198.51.100.99", 5060), PROXY, "proxy")).splitlines()[0].split()[-1] == "198.51.100.99"


def test_no_message_at_all_is_said_in_words() -> None:
    assert draw([], around([])) == "no SIP message was seen at any tap\n"


def test_signatures_are_cut_and_addresses_are_not() -> None:
    assert shorten("<sip:alice@198.51.100.20:50568;behind=MTAuNzcuMS4xMDA6NTA2MA.k9XCBjXNFkjslMv4>") == (
        "<sip:alice@198.51.100.20:50568;behind=MTAuNzcu…>"
    )


def test_what_the_router_did_stands_between_the_arrows() -> None:
    story = good_story()
    events = [
        made(0.0005), made(0.0007, private=("10.77.1.101", 20001)), did(0.0065, "rebind", "all is forgotten"),
        ended(0.0066), did(-1, "flush", "of before"),
    ]  # fmt: skip
    drawn = draw(tell(story, TOPOLOGY), around(story, events)).splitlines()
    told = [line for line in drawn if "·" in line]
    assert [line.split("· ")[1] for line in told] == [
        "router: mapping 10.77.1.100:5060 → 198.51.100.20:50568 is made (udp)",
        "router: rebind: all is forgotten",
        "router: mapping 10.77.1.100:5060 → 198.51.100.20:50568 is forgotten (udp)",
    ]
    assert drawn.index(told[0]) == 3  # after the first packet of the REGISTER
    assert told[1].startswith("   0.0065  ·")


def test_what_a_second_router_makes_of_the_mapping_is_told_too() -> None:
    story = good_story()
    between = ("100.64.0.2", 40001)
    drawn = draw(tell(story, TOPOLOGY), around(story, [made(0.0005, between), made(0.0006, NAT, between)]))
    assert "mapping 10.77.1.100:5060 → 100.64.0.2:40001 is made" in drawn
    assert "mapping 100.64.0.2:40001 → 198.51.100.20:50568 is made" in drawn


def test_two_homes_have_their_lanes_and_their_routers_a_name() -> None:
    story, where = in_two_homes(good_story()), topology(TWO_HOMES)
    histories = {"nat-bob": History("nat-bob", HOME, [made(0.0005, NAT_BOB)])}
    drawn = draw(tell(story, where), Surroundings(where, histories, story))
    assert drawn.splitlines()[0].split() == ["alice", "nat", "proxy", "nat-bob", "bob"]
    assert "nat-bob: destination 198.51.100.40:50777 → 10.77.1.100:5060" in drawn
    assert "· router nat-bob: mapping 10.77.1.100:5060 → 198.51.100.40:50777 is made (udp)" in drawn
    assert "✗" not in drawn


def test_sound_is_one_arrow_from_hop_to_hop_with_what_was_made_of_its_addresses() -> None:
    said = speech.heard(his=[seen for seen in speech.stream("bob", speech.RELAYED["bob"]) if seen.tap == "bob"])
    sound = [hop for _, way in hops(said) for hop in way]
    drawn = draw(said.journeys, said.around, sound).splitlines()
    arrows = [line for line in drawn if "audio: 25 packets" in line]
    assert sorted(line.index("── audio") // 28 for line in arrows) == [0, 1, 2, 2]
    assert sum("◀── audio" in line for line in arrows) == 1
    assert any(line.strip() == "nat:   source 10.77.1.100:40000 → 198.51.100.20:50999" for line in drawn)
    assert any(line.strip() == "✗ 25 of them lost" for line in drawn)
