"""The view has every packet between the lanes, with who changed what; what went wrong is where it went wrong."""

from __future__ import annotations

from dataclasses import replace

from observer.decode import Sighting
from observer.view import schema
from tests.unit.observer.sightings import (
    ALICE,
    NAT,
    PROXY,
    TWO_HOMES,
    Wire,
    broken,
    good_story,
    in_two_homes,
    lines,
    topology,
    via_alice,
    via_proxy,
    without,
)
from tests.unit.observer.view.views import arrow, call, drawn, judged


def test_lanes_are_those_of_the_topology_and_a_router_has_two_edges() -> None:
    lanes = drawn()["lanes"]
    assert [(lane["name"], lane["kind"]) for lane in lanes] == [
        ("alice", "phone"), ("nat", "router"), ("proxy", "proxy"), ("bob", "phone"),
    ]  # fmt: skip
    assert lanes[1]["edges"] == [
        {"name": "lan", "address": "10.77.1.1"}, {"name": "internet", "address": "198.51.100.20"},
    ]  # fmt: skip


def test_a_home_at_the_right_has_its_edges_the_other_way_round() -> None:
    view = drawn(in_two_homes(good_story()), where=topology(TWO_HOMES))
    right = next(lane for lane in view["lanes"] if lane["name"] == "nat-bob")
    assert [edge["name"] for edge in right["edges"]] == ["internet", "lan"]
    arrived = arrow(view, "alice-calls", "INVITE bob", "nat-bob")
    assert (arrived["origin"]["edge"], arrived["target"]["lane"]) == (1, "bob")


def test_an_arrow_that_a_router_passed_on_crosses_it_and_says_what_it_translated() -> None:
    view = drawn()
    sent, passed = (arrow(view, "alice-calls", "INVITE bob", lane) for lane in ("alice", "nat"))
    assert (sent["origin"], sent["target"]) == ({"lane": "alice", "edge": 0}, {"lane": "nat", "edge": 0})
    assert (passed["origin"], passed["target"]) == ({"lane": "nat", "edge": 1}, {"lane": "proxy", "edge": 0})
    assert passed["crossing"]
    assert passed["before"] == sent["id"]
    assert [(each["name"], each["before"], each["after"], each["by"]) for each in passed["changes"]] == [
        ("source", "10.77.1.100:5060", "198.51.100.20:50568", "router")
    ]


def test_what_the_proxy_sent_on_has_its_changes_and_the_whole_message() -> None:
    forwarded = arrow(drawn(), "alice-calls", "INVITE bob", "proxy")
    assert {each["name"] for each in forwarded["changes"] if each["by"] == "proxy"} >= {
        "Via", "Record-Route", "Contact", "first line",
    }  # fmt: skip
    assert not forwarded["crossing"]
    assert forwarded["text"].startswith("INVITE sip:bob@198.51.100.200:5060 SIP/2.0\nVia: ")


def test_what_a_router_changes_inside_is_its_gateways_doing() -> None:
    def is_outside(seen: Sighting) -> bool:
        return seen.first_line.startswith("INVITE sip:bob") and seen.source == NAT

    edited = [line.replace("sip:alice@10.77.1.100", "sip:alice@198.51.100.20") for line in good_story()[4].headers]
    view = drawn(broken(is_outside, headers=edited))
    passed = arrow(view, "alice-calls", "INVITE bob", "nat")
    assert {each["by"] for each in passed["changes"]} == {"router", "ALG"}


def test_what_is_sent_again_is_a_copy_of_one_transaction() -> None:
    wire = Wire()
    invite = lines("INVITE sip:bob@198.51.100.10 SIP/2.0", [via_alice("i")], "c", "1 INVITE")
    for _ in range(3):
        wire.alice_says(invite, None)
    sent = [one for one in drawn(wire.sightings)["calls"][0]["arrows"] if one["origin"]["lane"] == "alice"]
    assert [one["copy"] for one in sent] == [0, 1, 2]
    assert {one["transaction"] for one in sent} == {0}


def test_what_went_no_further_is_lost_and_the_call_has_failed() -> None:
    def is_inside(seen: Sighting) -> bool:
        return seen.first_line.startswith("SIP/2.0 200") and seen.destination == ALICE and seen.call_id == "alice-calls"

    view = drawn(without(is_inside))
    answer = arrow(view, "alice-calls", "200 OK (INVITE)", "proxy")
    assert "the router has no mapping" in answer["lost"]
    assert call(view, "alice-calls")["verdict"] == "fail"
    assert call(view, "bob-calls")["verdict"] == ""


def test_a_failed_check_is_at_the_packet_that_failed_it() -> None:
    def is_told(seen: Sighting) -> bool:
        return seen.first_line.startswith("INVITE sip:bob@198.51.100.200") and seen.tap == "proxy"

    view = judged(broken(is_told, contact="sip:alice@10.77.1.100:5060"))
    forwarded = arrow(view, "alice-calls", "INVITE bob", "proxy")
    assert [each["check"] for each in forwarded["failed"]] == ["contact-public"]
    assert "sip:alice@10.77.1.100:5060" in forwarded["failed"][0]["text"]
    assert call(view, "alice-calls")["verdict"] == "fail"
    assert call(view, "bob-calls")["verdict"] == "pass"
    assert not any(one["failed"] for one in call(view, "bob-calls")["arrows"])


def test_in_a_good_run_nothing_is_wrong() -> None:
    view = judged(good_story())
    assert [each["verdict"] for each in view["calls"]] == ["pass", "pass", "pass"]
    assert [each["nat"] for each in view["calls"]] == ["home", "home", "home"]


def test_the_proxys_options_are_keep_alives_and_a_phones_are_not() -> None:
    wire = Wire()
    wire.to_alice(lines("OPTIONS sip:alice@10.77.1.100:5060 SIP/2.0", [via_proxy("k")], "keep", "1 OPTIONS"))
    wire.alice_says(lines("OPTIONS sip:198.51.100.10 SIP/2.0", [via_alice("o")], "ask", "1 OPTIONS"), None)
    view = drawn(wire.sightings)
    assert {one["id"]: {each["is_keepalive"] for each in one["arrows"]} for one in view["calls"]} == {
        "keep": {True}, "ask": {False},
    }  # fmt: skip


def test_a_very_long_message_is_cut_and_says_so() -> None:
    long = [replace(seen, body="x" * 200_000) for seen in good_story()]
    text = drawn(long)["calls"][0]["arrows"][0]["text"]
    assert len(text) < 100_100
    assert text.endswith("characters more")


def test_nothing_seen_is_an_empty_view() -> None:
    view: schema.View = drawn([])
    assert (view["calls"], view["start"]) == ([], 0.0)
    assert PROXY[0] in {edge["address"] for lane in view["lanes"] for edge in lane["edges"]}
