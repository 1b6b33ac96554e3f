"""What a check demands depends on the kind of router, and on who stands behind one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from observer.checks import judge
from observer.decode import Sighting
from tests.unit.observer.sightings import (
    ALICE,
    ALICE_CONTACT,
    BOB_OWN,
    BOB_PUBLIC,
    HOME,
    NAT,
    NAT_BOB,
    PROXY,
    SAME_HOME,
    TWO_HOMES,
    Wire,
    broken,
    case,
    did,
    good_probe,
    good_story,
    in_two_homes,
    leg,
    lines,
    results,
    topology,
    via_alice,
    via_alice_received,
    via_bob,
    via_proxy,
    without,
)

FACE = ("198.51.100.100", 5060)
ONE_TO_ONE = {"filtering": "none", "ports": "preserved", "lifetime": 0}
NONE = {"mapping": "none", **ONE_TO_ONE}


def probe(**profile: Any) -> dict[str, Any]:
    """Return what the start probe leaves of a router of this kind."""
    return good_probe() | {"declared": HOME | profile, "measured": HOME | profile, "unmeasured": {}}


def evidence(judged: Any, name: str) -> str:
    """Return what a check says."""
    return next(str(check["evidence"]) for check in judge(judged)["checks"] if check["name"] == name)


# ── the port that the INVITE comes from ───────────────────────────────────────────────────────────────────────────


def invite_from(source: tuple[str, int]) -> list[Sighting]:
    """Return the good story with Alice's INVITE from here."""
    return broken(lambda seen: seen.source == NAT and seen.method == "INVITE", source=source)


@pytest.mark.parametrize(
    ("profile", "source", "result"),
    [
        ({}, (NAT[0], 5060), "fail"),
        ({}, ("198.51.100.21", 50001), "pass"),  # after change-ip
        ({"ports": "preserved"}, (NAT[0], 5060), "pass"),
        ({"ports": "preserved"}, (NAT[0], 50001), "fail"),
        ({"ports": "preserved", "peer-first": "lost"}, (NAT[0], 50001), "pass"),
        ({"ports": "preserved", "layers": 2}, (NAT[0], 40001), "pass"),
        (ONE_TO_ONE, FACE, "pass"),
        (ONE_TO_ONE, (FACE[0], 50001), "fail"),
        (ONE_TO_ONE, (NAT[0], 5060), "fail"),
        ({"mapping": "address-and-port-dependent"}, (NAT[0], 50001), "pass"),
        ({"mapping": "address-and-port-dependent"}, (NAT[0], 5060), "fail"),
    ],
)
def test_the_invite_comes_from_where_this_kind_sends_it(
    profile: dict[str, Any], source: tuple[str, int], result: str
) -> None:
    judged = case(invite_from(source), where=topology(**profile), probe=probe(**profile))
    assert results(judged)["invite-translated"] == result


def test_a_router_that_keeps_ports_has_lost_them_after_a_rebind() -> None:
    kept = {"ports": "preserved"}
    judged = case(invite_from((NAT[0], 52001)), where=topology(**kept), probe=probe(**kept), events=[did(0, "rebind")])
    assert results(judged)["invite-translated"] == "pass"


@pytest.mark.parametrize(("arrived", "result"), [(FACE, "pass"), ((NAT[0], 5060), "fail"), ((FACE[0], 5061), "fail")])
def test_where_nothing_is_translated_the_invite_stays_as_it_is(arrived: tuple[str, int], result: str) -> None:
    wire = Wire()
    invite = lines("INVITE sip:bob@198.51.100.10 SIP/2.0", [via_alice("i")], "c", "1 INVITE")
    wire.packet(invite, FACE, PROXY, "nat-lan")
    wire.packet(invite, arrived, PROXY, "nat-wan", "proxy")
    judged = case(wire.sightings, where=topology(**NONE), probe=probe(**NONE), legs=[leg("alice", "bob")])
    assert results(judged)["invite-translated"] == result


# ── the lab itself ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_router_that_was_changed_since_it_was_measured_breaks_the_lab() -> None:
    judged = case(where=topology(mapping="address-and-port-dependent"))
    assert judge(judged)["verdict"] == "lab-broken"
    assert evidence(judged, "nat-kind") == (
        "the router was changed since it was measured: mapping address-and-port-dependent now"
    )


def test_what_was_not_measured_is_named_with_the_reason() -> None:
    assert "; not measured: lifetime (would take 30 s)" in evidence(case(), "nat-kind")


def test_a_router_that_does_not_answer_breaks_the_lab() -> None:
    judged = case()
    judged.histories, judged.silent = {}, {"nat": "Connection refused"}
    assert judge(judged)["verdict"] == "lab-broken"
    assert evidence(judged, "router-alive") == "nat does not answer: Connection refused"
    assert "router-alive" not in results(case())


def rewritten(tap: str, **fields: Any) -> list[Sighting]:
    """Return the good story, but Alice's INVITE has these fields from this tap on."""
    return broken(lambda seen: seen.is_request and seen.method == "INVITE" and seen.source == NAT
                  and seen.tap in (tap, "proxy"), **fields)  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "says"),
    [({"body": "v=0"}, "+ v=0"),
     ({"first_line": "INVITE sip:bob@198.51.100.9 SIP/2.0"}, "~ INVITE sip:bob@198.51.100.10"),
     ({"headers": ["Call-ID: alice-calls"]}, "- Via: SIP/2.0/UDP 10.77.1.100:5060")],
)  # fmt: skip
def test_a_router_that_changes_what_is_in_a_packet_breaks_the_lab_unless_that_is_its_kind(
    fields: dict[str, Any], says: str
) -> None:
    judged = case(rewritten("nat-wan", **fields))
    assert judge(judged)["verdict"] == "lab-broken"
    assert says in evidence(judged, "router-keeps-bytes")
    alg = case(rewritten("nat-wan", **fields), where=topology(alg="on"), probe=probe(alg="on"))
    assert "router-keeps-bytes" not in results(alg)
    assert "router-keeps-bytes" not in results(case())


# ── two homes, and one for both ───────────────────────────────────────────────────────────────────────────────────


def both_homes(edit: Callable[[Sighting], Sighting] = lambda seen: seen, **given: Any) -> Any:
    """Return the case in which Bob too has a router, with his home's private addresses the same as hers."""
    story = [edit(seen) for seen in in_two_homes(good_story())]
    return case(story, where=topology(TWO_HOMES), **given)


def test_with_two_homes_and_the_same_addresses_a_good_call_passes_every_check() -> None:
    assert set(results(both_homes()).values()) == {"pass"}
    assert "bob's home: " in evidence(both_homes(), "nat-kind")
    assert evidence(both_homes(), "no-leak") == "no way to Alice or Bob but the router"


def test_each_home_has_its_own_probe() -> None:
    judged = both_homes()
    wrong = {"wrong": ["ports: declared changed, measured preserved"]}
    judged.probes = {"alice": good_probe(), "bob": good_probe() | wrong}
    assert evidence(judged, "nat-kind") == "bob's ports: declared changed, measured preserved"
    judged.probes = {"alice": good_probe()}
    found = results(judged)
    assert (found["nat-kind"], found["no-leak"]) == ("not-seen", "not-seen")
    judged.probes = {"alice": good_probe(), "bob": good_probe() | {"leaks": ["a public host, by the router"]}}
    assert results(judged)["no-leak"] == "fail"


@pytest.mark.parametrize(
    ("check", "fault", "where", "fields"),
    [
        ("invite-translated", "his came round his router",
         lambda seen: seen.tap == "proxy" and seen.source == NAT_BOB and seen.method == "INVITE",
         {"source": ("198.51.100.99", 50777)}),
        ("invite-translated", "his came from her router's address",
         lambda seen: seen.tap == "proxy" and seen.source == NAT_BOB and seen.method == "INVITE", {"source": NAT}),
        ("answers-to-source", "his answer went to the port of his Via",
         lambda seen: seen.tap == "proxy" and seen.destination == NAT_BOB and seen.status == 200,
         {"destination": (NAT_BOB[0], 5060)}),
        ("contact-public", "she was told his private address",
         lambda seen: seen.tap == "proxy" and seen.destination == NAT and seen.contact == BOB_PUBLIC,
         {"contact": BOB_OWN}),
        ("contact-restored", "his request bears his public address",
         lambda seen: seen.tap == "nat-bob-lan" and seen.is_request and seen.destination == ALICE,
         {"request_uri": BOB_PUBLIC}),
        ("contact-restored", "his request bears her Contact, which is as good an address as his",
         lambda seen: seen.tap == "nat-bob-lan" and seen.is_request and seen.destination == ALICE,
         {"request_uri": ALICE_CONTACT}),
        ("no-private-on-internet", "what is hers and his at home is nobody's on the Internet",
         lambda seen: seen.tap == "nat-bob-wan" and seen.destination == NAT_BOB, {"destination": ALICE}),
    ],
)  # fmt: skip
def test_what_is_demanded_for_her_is_demanded_for_him(
    check: str, fault: str, where: Callable[[Sighting], bool], fields: dict[str, Any]
) -> None:
    assert any(where(seen) for seen in in_two_homes(good_story())), fault
    judged = both_homes(lambda seen: replace(seen, **fields) if where(seen) else seen)
    assert results(judged)[check] == "fail", fault


def test_in_one_home_with_ports_preserved_the_second_phone_may_get_another() -> None:
    kept = {"ports": "preserved"}
    judged = case(invite_from((NAT[0], 50001)), where=topology(SAME_HOME, **kept), probe=probe(**kept),
                  legs=[leg("alice", "bob")])  # fmt: skip
    assert results(judged)["invite-translated"] == "pass"


# ── within the dialog, and without one ────────────────────────────────────────────────────────────────────────────


def test_of_a_request_that_is_sent_again_one_copy_must_pass_the_proxy() -> None:
    story = good_story()
    bye = next(seen for seen in story if seen.method == "BYE" and seen.tap == "nat-lan" and seen.source == ALICE)
    lost = replace(bye, time=bye.time - 0.0005)  # the router dropped it
    assert results(case([*story, lost]))["in-dialog-through-proxy"] == "pass"
    alone = without(lambda seen: seen.method == "BYE" and seen.call_id == "bob-calls" and seen.tap != "nat-lan")
    assert results(case([*alone, lost]))["in-dialog-through-proxy"] == "fail"


def in_dialog(method: str, *taps_onward: str) -> list[Sighting]:
    """Return the good story with one more request in its dialog."""
    wire = Wire()
    wire.sightings = good_story()
    to = "To: <sip:bob@198.51.100.10>;tag=1"
    line, cseq = f"{method} sip:bob@198.51.100.200:5060 SIP/2.0", f"3 {method}"
    wire.packet(lines(line, [via_alice("x")], "alice-calls", cseq, to), ALICE, PROXY, "nat-lan")
    if taps_onward:
        onward = lines(line, [via_proxy("x"), via_alice_received("x")], "alice-calls", cseq, to)
        wire.packet(onward, PROXY, ("198.51.100.200", 5060), *taps_onward)
    return wire.sightings


@pytest.mark.parametrize("method", ["UPDATE", "PRACK", "REFER", "NOTIFY", "INFO", "INVITE"])
def test_whatever_is_sent_within_the_dialog_passes_the_proxy(method: str) -> None:
    assert results(case(in_dialog(method, "proxy")))["in-dialog-through-proxy"] == "pass"
    assert results(case(in_dialog(method)))["in-dialog-through-proxy"] == "fail"


def test_within_the_dialog_no_record_route_is_asked_for() -> None:
    assert results(case(in_dialog("REFER", "proxy")))["record-route"] == "pass"


@pytest.mark.parametrize("method", ["INVITE", "SUBSCRIBE", "REFER"])
def test_whatever_may_begin_a_dialog_has_record_route_and_says_where_it_came_from(method: str) -> None:
    wire = Wire()
    line, cseq = f"{method} sip:bob@198.51.100.200 SIP/2.0", f"1 {method}"
    wire.packet(lines(line, [via_alice("s")], "s", cseq), NAT, PROXY, "proxy")
    wire.packet(lines(line, [via_proxy("s"), via_alice("s")], "s", cseq), PROXY, ("198.51.100.200", 5060), "proxy")
    found = results(case(wire.sightings))
    assert (found["record-route"], found["via-received-rport"]) == ("fail", "fail")


def test_a_copy_that_came_from_another_port_is_no_reason_to_blame_the_proxy() -> None:
    """Rebound in mid-call: her second INVITE comes from elsewhere, and the proxy answers it there."""
    story = good_story()
    again = [
        replace(seen, time=seen.time + 0.0005, source=(NAT[0], 52001) if seen.source == NAT else seen.source)
        for seen in story
        if seen.method == "INVITE" and seen.is_request and seen.call_id == "alice-calls" and seen.source in (ALICE, NAT)
    ]
    answer = next(seen for seen in story if seen.status == 180 and seen.destination == NAT)
    there = replace(answer, destination=(NAT[0], 52001))
    found = results(case([*story, *again, there]))
    assert {found[name] for name in ("answers-to-source", "via-received-rport", "contact-public")} == {"pass"}


def message_only() -> list[Sighting]:
    """Return a MESSAGE from Bob to Alice and its answer."""
    wire = Wire()
    ask = "MESSAGE sip:alice@198.51.100.10 SIP/2.0"
    wire.bob_says(lines("REGISTER sip:198.51.100.10 SIP/2.0", [via_bob("q")], "q", "1 REGISTER"), None)
    contact = f"Contact: <{ALICE_CONTACT}>"
    wire.alice_says(lines("REGISTER sip:198.51.100.10 SIP/2.0", [via_alice("r")], "r", "1 REGISTER", contact), None)
    onward = lines(f"MESSAGE {ALICE_CONTACT} SIP/2.0", [via_proxy("m"), via_bob("m")], "m", "1 MESSAGE")
    wire.bob_says(lines(ask, [via_bob("m")], "m", "1 MESSAGE"), onward)
    return wire.sightings


def test_where_nobody_is_called_only_what_was_shown_is_listed() -> None:
    legs = [{**leg("bob", "alice"), "flow": "message"}]
    found = results(case(message_only(), legs=legs))
    assert set(found) == {"nat-kind", "no-leak", "contact-restored", "no-private-on-internet", "sipp-alice", "sipp-bob"}
    assert set(found.values()) == {"pass"}


def test_a_message_among_calls_does_not_count_as_one() -> None:
    legs = [leg("alice", "bob"), leg("bob", "alice"), {**leg("alice", "bob"), "flow": "message"}]
    assert set(results(case(legs=legs)).values()) == {"pass"}
