"""Every check passes on a call that went well, and fails on one that is broken in the way it exists for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from observer.checks import CHECKS, judge
from observer.decode import Rtp, Sighting
from observer.topology import from_environment
from tests.unit.observer.sightings import (
    ALICE,
    ALICE_CONTACT,
    ALICE_PUBLIC,
    BOB,
    BOB_CONTACT,
    ENVIRONMENT,
    NAT,
    PROXY,
    Wire,
    both_legs,
    broken,
    carried,
    case,
    counts,
    good_probe,
    good_story,
    leg,
    lines,
    results,
    via_alice,
    via_bob,
    without,
)

ALL = {
    "nat-kind", "no-leak", "invite-translated", "answers-to-source", "via-received-rport", "record-route",
    "in-dialog-through-proxy", "contact-public", "contact-restored", "no-private-on-internet", "sipp-alice", "sipp-bob",
}  # fmt: skip


def test_sound_to_a_private_address_is_judged_by_who_hears_it() -> None:
    def results_with(rtp: Rtp | None) -> dict[str, str]:
        stray = replace(good_story()[0], tap="core", first_line="", destination=("10.77.1.100", 40000), rtp=rtp)
        return results(case([*good_story(), stray]))

    assert results_with(None)["no-private-on-internet"] == "fail"
    assert results_with(Rtp("0x1", 1, 1, 0, b""))["no-private-on-internet"] == "pass"


def is_forwarded_invite(seen: Sighting) -> bool:
    """As the proxy sends it."""
    return seen.is_request and seen.method == "INVITE" and seen.source == PROXY


def test_a_good_call_each_way_passes_every_check() -> None:
    verdict = judge(case())
    assert {check["name"]: check["result"] for check in verdict["checks"]} == dict.fromkeys(ALL, "pass")
    assert verdict["verdict"] == "pass"
    assert all(check["evidence"] for check in verdict["checks"])


# ── the lab itself ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_router_that_measures_otherwise_than_declared_breaks_the_lab() -> None:
    probe = good_probe() | {"wrong": ["mapping: declared endpoint-independent, measured address-dependent"]}
    verdict = judge(case(probe=probe))
    assert verdict["verdict"] == "lab-broken"
    assert verdict["checks"][0] == {
        "name": "nat-kind", "result": "fail",
        "evidence": "mapping: declared endpoint-independent, measured address-dependent", "packets": [],
    }  # fmt: skip


def test_an_axis_that_was_not_measured_is_not_taken_for_granted() -> None:
    probe = good_probe()
    del probe["measured"]["filtering"]
    judged = judge(case(probe=probe))["checks"][0]
    assert (judged["result"], judged["evidence"]) == ("fail", "filtering: not measured, and no reason given")


def test_a_leak_breaks_the_lab() -> None:
    probe = good_probe() | {"leaks": ["a public host, on-link"]}
    assert results(case(probe=probe))["no-leak"] == "fail"
    assert judge(case(probe=probe))["verdict"] == "lab-broken"


def test_a_probe_that_left_nothing_breaks_the_lab() -> None:
    verdict = judge(case(probe={}))
    assert [check["result"] for check in verdict["checks"][:2]] == ["not-seen", "not-seen"]
    assert verdict["verdict"] == "lab-broken"


def test_a_router_that_passes_nothing_breaks_the_lab() -> None:
    probe = good_probe() | {"measured": {}, "silence": "no answer", "wrong": ["the router passes nothing: no answer"]}
    found = results(case(probe=probe))
    assert (found["nat-kind"], found["no-leak"]) == ("fail", "not-seen")
    assert judge(case(probe=probe))["verdict"] == "lab-broken"


def test_a_broken_lab_takes_precedence_over_a_failed_call() -> None:
    verdict = judge(case([], probe=good_probe() | {"leaks": ["a public host, on-link"]}))
    assert verdict["verdict"] == "lab-broken"
    assert "not-seen" in {check["result"] for check in verdict["checks"]}


# ── each check fails on the fault that it exists for ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("check", "fault", "story"),
    [
        (
            "invite-translated",
            "the router kept her port",
            lambda: broken(lambda seen: seen.source == NAT, source=(NAT[0], ALICE[1])),
        ),
        (
            "invite-translated",
            "she came round the router",
            lambda: broken(lambda seen: seen.source == NAT and seen.method == "INVITE", source=(BOB[0], 50568)),
        ),
        (
            "answers-to-source",
            "an answer went to the port that her Via names",
            lambda: broken(lambda seen: seen.status == 180 and seen.destination == NAT, destination=(NAT[0], 5060)),
        ),
        (
            "answers-to-source",
            "an answer went to her private address",
            lambda: broken(lambda seen: seen.call_id == "register" and seen.destination == NAT, destination=ALICE),
        ),
        (
            "answers-to-source",
            "the answer to her BYE went to another port",
            lambda: broken(
                lambda seen: seen.status == 200 and seen.method == "BYE" and seen.destination == NAT,
                destination=(NAT[0], 50569),
            ),
        ),
        (
            "via-received-rport",
            "no rport",
            lambda: broken_vias(lambda via: via.replace(";rport=50568", ";rport")),
        ),
        (
            "via-received-rport",
            "the port that she sent from herself",
            lambda: broken_vias(lambda via: via.replace(";rport=50568", ";rport=5060")),
        ),
        (
            "via-received-rport",
            "no received",
            lambda: broken_vias(lambda via: via.replace(";received=198.51.100.20", "")),
        ),
        (
            "via-received-rport",
            "an address that only begins like it",
            lambda: broken_vias(lambda via: via.replace(";received=198.51.100.20", ";received=198.51.100.200")),
        ),
        (
            "via-received-rport",
            "no Via of the proxy",
            lambda: [
                replace(seen, vias=seen.vias[1:]) if is_forwarded_invite(seen) else seen for seen in good_story()
            ],
        ),
        (
            "via-received-rport",
            "a Via too many",
            lambda: [
                replace(seen, vias=[*seen.vias, seen.vias[-1]]) if is_forwarded_invite(seen) else seen
                for seen in good_story()
            ],
        ),
        (
            "via-received-rport",
            "the Via on top is not the proxy's",
            lambda: broken_vias(lambda via: via.replace("198.51.100.10:", "198.51.100.200:")),
        ),
        ("record-route", "none at all", lambda: broken(is_forwarded_invite, record_routes=[])),
        (
            "record-route",
            "none for one of the two",
            lambda: broken(lambda seen: is_forwarded_invite(seen) and seen.destination == BOB, record_routes=[]),
        ),
        (
            "record-route",
            "somebody else's",
            lambda: broken(is_forwarded_invite, record_routes=["<sip:198.51.100.200:5060;lr>"]),
        ),
        (
            "record-route",
            "an address that only begins like the proxy's",
            lambda: broken(is_forwarded_invite, record_routes=["<sip:198.51.100.100:5060;lr>"]),
        ),
        ("in-dialog-through-proxy", "Bob's BYE went straight to the router", lambda: bob_hangs_up_directly()),
        ("in-dialog-through-proxy", "Alice's BYE went straight to Bob", lambda: alice_hangs_up_directly()),
        (
            "in-dialog-through-proxy",
            "a call without ACK",
            lambda: without(lambda seen: seen.method == "ACK" and seen.call_id == "alice-calls"),
        ),
        (
            "in-dialog-through-proxy",
            "a call without BYE",
            lambda: without(lambda seen: seen.is_request and seen.method == "BYE" and seen.call_id == "bob-calls"),
        ),
        (
            "in-dialog-through-proxy",
            "an ACK that the proxy swallowed",
            lambda: without(lambda seen: seen.method == "ACK" and seen.source == PROXY),
        ),
        (
            "contact-public",
            "Bob sees her private address in her INVITE",
            lambda: broken(lambda seen: is_forwarded_invite(seen) and seen.destination == BOB, contact=ALICE_CONTACT),
        ),
        (
            "contact-public",
            "Bob sees her private address in her answer",
            lambda: broken(
                lambda seen: seen.status == 200 and seen.destination == BOB and bool(seen.contact),
                contact=ALICE_CONTACT,
            ),
        ),
        (
            "contact-public",
            "her public address with her private port",
            lambda: broken(
                lambda seen: is_forwarded_invite(seen) and seen.destination == BOB,
                contact="sip:alice@198.51.100.20:5060",
            ),
        ),
        (
            "contact-restored",
            "Bob's BYE bears the public form",
            lambda: broken(
                lambda seen: seen.is_request and seen.method == "BYE" and seen.destination == ALICE,
                request_uri=ALICE_PUBLIC,
            ),
        ),
        (
            "contact-restored",
            "the INVITE bears the address of record",
            lambda: broken(
                lambda seen: seen.is_request and seen.method == "INVITE" and seen.destination == ALICE,
                request_uri="sip:alice@198.51.100.10",
            ),
        ),
        ("no-private-on-internet", "the core was sent one", lambda: [*good_story(), stray("core")]),
        ("no-private-on-internet", "the proxy sent one", lambda: [*good_story(), stray("proxy")]),
        (
            "no-private-on-internet",
            "a packet that is no SIP",
            lambda: [*good_story(), replace(stray("nat-wan"), first_line="", method="")],
        ),
    ],
)
def test_a_check_fails_on_the_fault_that_it_exists_for(
    check: str, fault: str, story: Callable[[], list[Sighting]]
) -> None:
    judged = case(story())
    assert results(judged)[check] == "fail", fault
    assert judge(judged)["verdict"] == "fail"


# ── TCP and TLS ───────────────────────────────────────────────────────────────────────────────────────────────────

EITHER_WAY = [("tcp", "tcp"), ("tls", "tls"), ("tcp", "udp"), ("udp", "tls")]


@pytest.mark.parametrize(("alice", "bob"), EITHER_WAY)
def test_a_good_call_each_way_passes_every_check_whatever_carries_it(alice: str, bob: str) -> None:
    assert results(case(carried(good_story(), alice, bob))) == dict.fromkeys(ALL, "pass")


def test_a_router_may_keep_the_port_of_a_connection() -> None:
    kept = broken(lambda seen: seen.source == NAT, source=(NAT[0], ALICE[1]))
    assert results(case(carried(kept, "tcp", "tcp")))["invite-translated"] == "pass"
    assert results(case(carried(kept, "udp", "tcp")))["invite-translated"] == "fail"


def test_a_connection_from_anywhere_but_the_router_came_round_it() -> None:
    story = broken(lambda seen: seen.source == NAT and seen.method == "INVITE", source=(BOB[0], 50568))
    assert results(case(carried(story, "tcp", "tcp")))["invite-translated"] == "fail"


@pytest.mark.parametrize(
    "otherwise",
    [{"source": (PROXY[0], 40404)}, {"destination": (NAT[0], 50569)}, {"transport": "udp"}],
    ids=["a connection of the proxy's own making", "another connection of hers", "another transport"],
)
def test_an_answer_that_does_not_take_the_connection_of_its_request_is_found(otherwise: dict[str, Any]) -> None:
    story = [
        replace(seen, **otherwise) if seen.status == 180 and seen.destination == NAT else seen
        for seen in carried(good_story(), "tcp", "udp")
    ]
    assert results(case(story))["answers-to-source"] == "fail"


def test_a_via_that_names_another_transport_than_its_own_is_found() -> None:
    story = [
        replace(seen, vias=[seen.vias[0].replace("/TCP", "/UDP"), *seen.vias[1:]])
        if is_forwarded_invite(seen) else seen
        for seen in carried(good_story(), "tcp", "tcp")
    ]  # fmt: skip
    assert results(case(story))["via-received-rport"] == "fail"


@pytest.mark.parametrize("missing", [0, 1])
def test_between_two_transports_one_record_route_is_not_enough(missing: int) -> None:
    story = [
        replace(seen, record_routes=seen.record_routes[:missing] + seen.record_routes[missing + 1 :])
        for seen in carried(good_story(), "tls", "udp")
    ]
    assert results(case(story))["record-route"] == "fail"


def test_a_contact_that_does_not_say_what_she_speaks_is_found() -> None:
    story = [
        replace(seen, contact=seen.contact.replace(";transport=tls", "")) if seen.destination == BOB else seen
        for seen in carried(good_story(), "tls", "udp")
    ]
    assert results(case(story))["contact-public"] == "fail"


def test_a_contact_that_she_gave_before_this_run_is_her_own() -> None:
    story = broken(lambda seen: seen.is_request and seen.destination == ALICE, request_uri="sip:alice@10.77.1.100:5061")
    judged = case(story)
    assert results(judged)["contact-restored"] == "fail"
    judged.earlier_contacts = {"alice": {"sip:alice@10.77.1.100:5061"}}
    assert results(judged)["contact-restored"] == "pass"


def broken_vias(edit: Callable[[str], str]) -> list[Sighting]:
    """Edit all Vias of what the proxy forwards to Bob as INVITE."""
    return [
        replace(seen, vias=[edit(via) for via in seen.vias])
        if is_forwarded_invite(seen) and seen.destination == BOB else seen
        for seen in good_story()
    ]  # fmt: skip


def bob_hangs_up_directly() -> list[Sighting]:
    """Without Record-Route: Bob sends his BYE to the Contact that he was told."""
    wire = Wire()
    wire.sightings = without(lambda seen: seen.method == "BYE" and seen.call_id == "alice-calls")
    bye = lines(f"BYE {ALICE_PUBLIC} SIP/2.0", [via_bob("b")], "alice-calls", "1 BYE")
    wire.packet(bye, BOB, NAT, "nat-wan")
    return wire.sightings


def alice_hangs_up_directly() -> list[Sighting]:
    """Without Record-Route: her BYE goes through the router and past the proxy."""
    wire = Wire()
    wire.sightings = without(lambda seen: seen.method == "BYE" and seen.call_id == "bob-calls")
    bye = lines(f"BYE {BOB_CONTACT} SIP/2.0", [via_alice("d")], "bob-calls", "2 BYE")
    wire.packet(bye, ALICE, BOB, "nat-lan")
    wire.packet(bye, (NAT[0], 50001), BOB, "nat-wan")
    return wire.sightings


def stray(tap: str) -> Sighting:
    """What Bob sends to a private address."""
    return replace(good_story()[0], tap=tap, source=BOB, destination=ALICE)


@pytest.mark.parametrize("address", ["10.0.0.1", "172.20.0.1", "192.168.1.1", "100.64.0.1", "169.254.1.1"])
def test_every_kind_of_private_address_counts(address: str) -> None:
    assert results(case([*good_story(), replace(stray("core"), destination=(address, 5060))]))[
        "no-private-on-internet"
    ] == "fail"  # fmt: skip


def test_a_home_with_public_looking_addresses_is_private_all_the_same() -> None:
    public_looking = from_environment({**ENVIRONMENT, "NAT_LAN_IP": "198.18.7.1", "ALICE_IP": "198.18.7.100"})
    judged = case([*good_story(), replace(stray("core"), destination=("198.18.7.100", 5060))], where=public_looking)
    assert results(judged)["no-private-on-internet"] == "fail"


def test_the_start_probe_may_try_a_private_address() -> None:
    attempt = replace(stray("core"), source=("198.51.100.30", 3478), first_line="")
    assert results(case([*good_story(), attempt]))["no-private-on-internet"] == "pass"


def test_what_is_private_may_be_addressed_at_home() -> None:
    assert any(seen.tap == "nat-lan" and seen.destination == ALICE for seen in good_story())
    assert results(case())["no-private-on-internet"] == "pass"


@pytest.mark.parametrize(
    "counted", [counts(successful=0), counts(failed=1), counts(retransmissions=1), counts(successful=2)]
)
@pytest.mark.parametrize("name", ["alice", "bob"])
def test_a_sipp_that_counts_anything_but_the_calls_asked_for_fails(name: str, counted: dict[str, int]) -> None:
    legs = both_legs()
    legs[1][name] = counted
    found = results(case(legs=legs))
    other = {"alice": "bob", "bob": "alice"}[name]
    assert (found[f"sipp-{name}"], found[f"sipp-{other}"]) == ("fail", "pass")


def slow(story: list[Sighting], what: tuple[str, str], by: float) -> list[Sighting]:
    """Return the story in which what comes after Alice's message stands still for so long, and she repeats it.

    `what`: how it begins, and the method in its CSeq.
    """
    said = (seen for seen in story if seen.source == ALICE)
    first = next(seen for seen in said if seen.first_line.startswith(what[0]) and seen.method == what[1])
    copies = [seen for seen in story if seen.branches == first.branches and seen.cseq == first.cseq and
              seen.call_id == first.call_id and seen.first_line == first.first_line]  # fmt: skip
    told = [seen if seen.time <= copies[-1].time else replace(seen, time=seen.time + by) for seen in story]
    return sorted([*told, *(replace(seen, time=seen.time + 0.5) for seen in copies)], key=lambda seen: seen.time)


def repeated(story: list[Sighting], times: int = 1) -> tuple[str, str]:
    """Return result and evidence of Alice's SIPp, which says that it has repeated something."""
    legs = both_legs()
    legs[0]["alice"] = counts(retransmissions=times)
    (check,) = [one for one in judge(case(story, legs))["checks"] if one["name"] == "sipp-alice"]
    return check["result"], check["evidence"]


@pytest.mark.parametrize("what", [("INVITE ", "INVITE"), ("BYE ", "BYE"), ("SIP/2.0 200", "INVITE")])
def test_what_is_repeated_because_the_answer_was_slow_is_told_and_no_fault(what: tuple[str, str]) -> None:
    result, evidence = repeated(slow(good_story(), what, 0.6))
    assert result == "pass"
    assert evidence.endswith("1 retransmissions, 1 of them because somebody took longer than 0.5 s: nothing was lost")
    assert repeated(slow(good_story(), what, 0.6), times=2)[0] == "fail"  # and one of them for nothing
    assert repeated(slow(good_story(), what, 0.3))[0] == "fail"  # it was there in time


@pytest.mark.parametrize("asked", [("SIP/2.0 200", "INVITE"), ("BYE ", "BYE")])
def test_what_is_repeated_because_the_other_end_repeated_is_no_fault(asked: tuple[str, str]) -> None:
    """The ACK for a 200 that comes twice, and the 200 for a BYE that does."""
    story = good_story()
    hers = (seen for seen in story if seen.destination == ALICE)
    first = next(seen for seen in hers if seen.first_line.startswith(asked[0]) and seen.method == asked[1])
    replied = next(seen for seen in story if seen.time > first.time and seen.source == ALICE)

    def again(what: Sighting) -> list[Sighting]:
        copies = [seen for seen in story if (seen.first_line, seen.method, seen.call_id) ==
                  (what.first_line, what.method, what.call_id)]  # fmt: skip
        return [replace(seen, time=seen.time + 0.0002) for seen in copies]

    replies = again(replied)
    twice = sorted([*story, *again(first), *replies], key=lambda seen: seen.time)
    assert repeated(twice)[0] == "pass"
    assert repeated(twice, times=2)[0] == "fail"
    assert repeated(sorted([*story, *replies], key=lambda seen: seen.time))[0] == "fail"  # nobody asked her twice


def test_what_is_repeated_because_the_answer_was_lost_is_a_fault() -> None:
    story = slow(good_story(), ("BYE ", "BYE"), 0.6)
    answer = [seen for seen in story if (seen.status, seen.method, seen.call_id) == (200, "BYE", "bob-calls")]
    before = [replace(seen, time=seen.time - 0.6) for seen in answer if seen.destination != ALICE]
    result, _ = repeated(sorted([*story, *before], key=lambda seen: seen.time))
    assert result == "fail"


def test_a_phone_that_is_no_sipp_has_no_counts_to_judge() -> None:
    legs: list[dict[str, Any]] = [{**one, "alice": {}} for one in both_legs()]
    assert ALL - set(results(case(legs=legs))) == {"sipp-alice"}


@pytest.mark.parametrize(
    ("counted", "result"),
    [({"up": 1, "ended": 1}, "pass"), ({"up": 0, "ended": 1}, "fail"), ({"up": 1, "ended": 0}, "fail"),
     ({"up": 2, "ended": 2}, "fail")],
)  # fmt: skip
@pytest.mark.parametrize("name", ["alice", "bob"])
def test_a_baresip_that_counts_anything_but_the_calls_asked_for_fails(
    name: str, counted: dict[str, int], result: str
) -> None:
    legs: list[dict[str, Any]] = [{**one, name: counted} for one in both_legs()]
    found = results(case(legs=legs))
    assert f"sipp-{name}" not in found
    assert found[f"baresip-{name}"] == result


def test_a_call_that_left_no_trace_is_missed_although_the_other_was_whole() -> None:
    """Two calls each way were asked for, the story has one: nothing that was seen is wrong, and yet it fails."""
    found = results(case(legs=[leg("alice", "bob", count=2), leg("bob", "alice", count=2)]))
    assert found["invite-translated"] == "fail"
    assert found["in-dialog-through-proxy"] == "fail"


def test_a_softphones_call_does_not_stand_in_for_one_that_is_missing() -> None:
    """Its ACK and BYE are in the captures too, with a Call-ID whose INVITE came from neither Alice nor Bob."""
    carol = ("198.51.100.254", 5060)
    stray_call = [
        replace(seen, call_id="carol", source=carol if seen.source == BOB else seen.source)
        for seen in good_story()
        if seen.method in {"INVITE", "ACK", "BYE"} and "bob" in seen.call_id
    ]
    assert any(seen.method == "INVITE" and seen.source == carol for seen in stray_call)
    legs = [leg("alice", "bob"), leg("bob", "alice", count=2)]
    assert results(case([*good_story(), *stray_call], legs))["in-dialog-through-proxy"] == "fail"


# ── no packet to judge is no pass ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("check", "story"),
    [
        ("invite-translated", lambda: without(lambda seen: seen.method == "INVITE" and seen.source == NAT)),
        ("answers-to-source", lambda: without(lambda seen: seen.status > 0 and seen.destination == NAT)),
        ("via-received-rport", lambda: without(is_forwarded_invite)),
        ("record-route", lambda: without(is_forwarded_invite)),
        ("in-dialog-through-proxy", lambda: without(lambda seen: seen.is_request and seen.method in {"ACK", "BYE"})),
        ("contact-public", lambda: without(lambda seen: seen.destination == BOB)),
        ("contact-restored", lambda: without(lambda seen: seen.is_request and seen.destination == ALICE)),
        ("no-private-on-internet", lambda: without(lambda seen: seen.tap != "nat-lan")),
    ],
)
def test_a_check_without_a_packet_to_judge_is_no_pass(check: str, story: Callable[[], list[Sighting]]) -> None:
    judged = case(story())
    assert results(judged)[check] == "not-seen"
    assert judge(judged)["verdict"] == "fail"


def test_silence_on_all_taps_leaves_no_check_of_the_call_passed() -> None:
    found = results(case([]))
    assert {found[name] for name in ALL - {"nat-kind", "no-leak", "sipp-alice", "sipp-bob"}} == {"not-seen"}


def test_every_check_that_exists_is_tried_here() -> None:
    assert len(CHECKS) + 2 == len(ALL)


# ── what the calls cannot show is not planned ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("planned", "absent"),
    [
        (leg("bob", "alice", "callee"), {"invite-translated"}),
        (leg("bob", "alice", "caller"), {"invite-translated", "answers-to-source"}),
        (leg("alice", "bob", "callee"), set()),
        (leg("alice", "bob", "caller"), {"contact-restored"}),
    ],
)
def test_what_the_calls_cannot_show_is_not_listed(planned: dict[str, Any], absent: set[str]) -> None:
    assert ALL - set(results(case(legs=[planned]))) == absent


def test_the_evidence_of_many_faults_is_cut_short() -> None:
    strays = [replace(stray("core"), destination=(ALICE[0], port)) for port in range(1, 9)]
    evidence = next(
        check["evidence"]
        for check in judge(case([*good_story(), *strays]))["checks"]
        if check["name"] == "no-private-on-internet"
    )
    assert evidence.endswith("… and 3 more")
