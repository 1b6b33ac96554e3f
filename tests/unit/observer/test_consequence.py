"""What broke is told as a learner reads it, with the times of the wire; and what was whole is said to have been."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from observer.consequence import Fact, facts
from tests.unit.observer.sightings import (
    ALICE,
    ALICE_CONTACT,
    ALICE_PUBLIC,
    BOB,
    BOB_CONTACT,
    NAT,
    PROXY,
    TWO_HOMES,
    Wire,
    case,
    ended,
    good_story,
    in_two_homes,
    leg,
    lines,
    made,
    register,
    sighting,
    topology,
    via_alice,
    via_alice_received,
    via_bob,
    via_proxy,
    without,
)

INVITE = lines("INVITE sip:bob@198.51.100.10 SIP/2.0", [via_alice("i")], "c", "1 INVITE")
ONWARD = lines(f"INVITE {BOB_CONTACT} SIP/2.0", [via_proxy("i"), via_alice_received("i")], "c", "1 INVITE")


class Clock(Wire):
    """A wire on which every packet has the time that the test says."""

    def at(self, time: float, message: Any, *hops: tuple[Any, Any, str]) -> None:
        """One message on its way, hop by hop, a tenth of a millisecond each."""
        for number, (source, destination, tap) in enumerate(hops):
            self.sightings.append(sighting(tap, source, destination, message[0], message[1], time + number / 10_000))


OUT = ((ALICE, PROXY, "nat-lan"), (NAT, PROXY, "nat-wan"), (NAT, PROXY, "proxy"))
WRONG_PORT = ((PROXY, (NAT[0], 5060), "proxy"), (PROXY, (NAT[0], 5060), "nat-wan"))


def answer(status: str, *vias: str, method: str = "INVITE") -> Any:
    """Return an answer to it."""
    return lines(f"SIP/2.0 {status}", list(vias), "c", f"1 {method}")


def told(sightings: Iterable[Any], **given: Any) -> dict[str, list[str]]:
    """Return the sentences by code. One call from Alice was asked for, if not said otherwise."""
    found: dict[str, list[str]] = {}
    for fact in facts(case(sorted(sightings, key=lambda seen: seen.time), **{"legs": [leg("alice", "bob")], **given})):
        found.setdefault(fact.code, []).append(fact.text)
    return found


def test_what_is_whole_works_and_nothing_else_is_said() -> None:
    assert facts(case()) == [Fact("works", "both calls are set up, and end")]
    assert facts(case(in_two_homes(good_story()), where=topology(TWO_HOMES))) == facts(case())


def test_without_rport_the_story_is_told_as_in_the_documents() -> None:
    wire = Clock()
    for time in (0, 0.5, 1.5, 3.5):
        wire.at(time, INVITE, *OUT)
    wire.at(0.01, answer("100 Trying", via_alice_received("i")), *WRONG_PORT)
    wire.at(0.02, ONWARD, (PROXY, BOB, "proxy"))
    for time, status in ((0.03, "180 Ringing"), (0.04, "200 OK")):
        wire.at(time, answer(status, via_proxy("i"), via_alice_received("i")), (BOB, PROXY, "proxy"))
        wire.at(time + 0.001, answer(status, via_alice_received("i")), *WRONG_PORT)
    assert told(wire.sightings, events=[made(0)]) == {
        "answers-lost-at-router": ["100, 180 and 200 go to 198.51.100.20:5060, where the router has no mapping"],
        "caller-repeats": ["Alice repeats her INVITE after 0.5, 1, 2 s and would give up after 32 s"],
        "callee-rings": ["Bob's phone rings, and Alice does not hear of it"],
    }


def test_an_answer_to_a_private_address_is_dropped_by_the_internet() -> None:
    wire = Clock()
    wire.at(0, INVITE, *OUT)
    wire.at(1, answer("100 Trying", via_alice_received("i")), (PROXY, ALICE, "proxy"), (PROXY, ALICE, "core"))
    assert told(wire.sightings) == {
        "answers-to-private": ["100 goes to 10.77.1.100:5060, a private address: the Internet drops it"],
        "callee-never-rings": ["Alice's call rings nowhere"],
    }


def test_an_answer_to_where_nobody_is_any_more() -> None:
    wire = Clock()
    wire.at(0, INVITE, *OUT)
    wire.at(1, answer("100 Trying", via_alice_received("i")), (PROXY, NAT, "proxy"))
    assert told(wire.sightings)["answers-elsewhere"] == ["100: nobody has 198.51.100.20:50568 now: dropped"]


def test_a_request_to_a_private_address() -> None:
    story = without(lambda seen: seen.method == "BYE" and seen.call_id == "alice-calls")
    wire = Clock()
    private = lines(f"BYE {ALICE_CONTACT} SIP/2.0", [via_bob("b")], "alice-calls", "1 BYE")
    wire.at(1, private, (BOB, PROXY, "proxy"), (PROXY, ALICE, "proxy"), (PROXY, ALICE, "core"))
    found = told([*story, *wire.sightings], legs=[leg("alice", "bob"), leg("bob", "alice")])
    assert found == {
        "request-to-private": ["Bob's BYE to Alice goes to 10.77.1.100:5060, a private address: the Internet drops it"],
        "call-up-not-ended": [
            "Bob hangs up, and the other phone does not hear of it: for that one the call is still up"
        ],
    }


def test_an_expired_mapping_is_told_with_the_time_that_it_missed_by() -> None:
    wire = Clock()
    register(wire)
    invite = lines("INVITE sip:alice@198.51.100.10 SIP/2.0", [via_bob("j")], "c", "1 INVITE")
    onward = lines(f"INVITE {ALICE_CONTACT} SIP/2.0", [via_proxy("j"), via_bob("j")], "c", "1 INVITE")
    wire.at(20, invite, (BOB, PROXY, "proxy"))
    wire.at(20.001, onward, (PROXY, NAT, "proxy"), (PROXY, NAT, "nat-wan"))
    events = [made(0), ended(20.002)]
    found = told(wire.sightings, legs=[leg("bob", "alice")], events=events, where=topology(lifetime=5))
    assert found == {
        "request-lost-at-router": [
            "Bob's INVITE to Alice goes to 198.51.100.20:50568, where the router has no mapping: "
            "it expired 15.0 s before (made 20.0 s before)"
        ],
        "expired": ["the mapping of 198.51.100.20:50568 expired 15.0 s before the INVITE"],
        "callee-never-rings": ["Bob's call rings nowhere"],
    }


def test_what_the_router_keeps_to_itself_is_lost_at_the_router() -> None:
    wire = Clock()
    wire.at(0, INVITE, OUT[0])
    assert told(wire.sightings)["request-lost-at-router"] == ["Alice's INVITE to Bob: the router did not pass it on"]


def bypassed(*more: tuple[Any, Any, str]) -> list[Any]:
    """Return the good story, but Bob's BYE goes straight to the router."""
    wire = Clock()
    bye = lines(f"BYE {ALICE_PUBLIC} SIP/2.0", [via_bob("b")], "alice-calls", "1 BYE")
    wire.at(1, bye, (BOB, NAT, "nat-wan"), *more)
    return without(lambda seen: seen.method == "BYE" and seen.call_id == "alice-calls") + wire.sightings


def test_past_the_proxy_the_kind_of_router_decides() -> None:
    both = [leg("alice", "bob"), leg("bob", "alice")]
    assert told(bypassed((BOB, ALICE, "nat-lan")), legs=both, events=[made(0)]) == {
        "bypasses-proxy": ["Bob's BYE goes straight to 198.51.100.20:50568, past the proxy, and gets there"],
        "works": ["both calls are set up, and end"],
    }
    stopped = told(bypassed(), legs=both, events=[made(0)])
    assert stopped["bypasses-proxy"] == ["Bob's BYE goes straight to 198.51.100.20:50568, past the proxy"]
    assert stopped["request-lost-at-router"] == [
        "Bob's BYE to Alice: the router lets in at 198.51.100.20:50568 only whom the phone has sent to from there: "
        "not 198.51.100.200:5060"
    ]
    assert set(stopped) == {"bypasses-proxy", "request-lost-at-router", "call-up-not-ended"}


def test_what_another_copy_made_good_is_no_loss() -> None:
    wire = Clock()
    wire.sightings = good_story()
    invite = next(seen for seen in wire.sightings if seen.method == "INVITE" and seen.tap == "nat-lan")
    wire.sightings.append(sighting("nat-lan", ALICE, PROXY, invite.first_line, invite.headers, invite.time - 0.0005))
    found = told(wire.sightings, legs=[leg("alice", "bob"), leg("bob", "alice")])
    assert found == {
        "caller-repeats": ["Alice repeats her INVITE after 0 s"], "works": ["both calls are set up, and end"],
    }  # fmt: skip


def test_a_callee_whose_answer_is_lost_repeats_it() -> None:
    wire = Clock()
    wire.at(0, INVITE, *OUT)
    wire.at(0.01, ONWARD, (PROXY, BOB, "proxy"))
    ringing, taken = (answer(status, via_proxy("i"), via_alice_received("i")) for status in ("180 Ringing", "200 OK"))
    wire.at(0.02, ringing, (BOB, PROXY, "proxy"))
    wire.at(0.03, answer("180 Ringing", via_alice_received("i")), (PROXY, NAT, "proxy"), (PROXY, NAT, "nat-wan"),
            (PROXY, ALICE, "nat-lan"))  # fmt: skip
    for time in (1, 1.5, 2.5):
        wire.at(time, taken, (BOB, PROXY, "proxy"))
        wire.at(time + 0.001, answer("200 OK", via_alice_received("i")), *WRONG_PORT)
    found = told(wire.sightings)
    assert found["callee-repeats-200"] == ["Bob repeats his 200 after 0.5, 1 s"]
    assert found["callee-rings"] == ["Bob answers, and Alice does not hear of it"]
    assert found["answers-lost-at-router"] == ["200 goes to 198.51.100.20:5060, where the router has no mapping"]


def test_other_requests_are_repeated_too_and_somebody_gives_up() -> None:
    wire = Clock()
    call = lines("REGISTER sip:198.51.100.10 SIP/2.0", [via_alice("r")], "r", "1 REGISTER")
    for time in (0, 0.5, 1.5, 3.5, 7.5, 20):
        wire.at(time, call, *OUT)
    found = told(wire.sightings, legs=[])
    assert found["request-repeated"] == [
        "Alice repeats her REGISTER after 0.5, 1, 2, 4, 12 s and would give up after 32 s"
    ]


def test_a_refusal_is_told_and_the_question_for_a_password_is_none() -> None:
    wire = Clock()
    home = ((PROXY, NAT, "proxy"), (PROXY, NAT, "nat-wan"), (PROXY, ALICE, "nat-lan"))
    wire.at(0, INVITE, *OUT)
    wire.at(0.1, answer("407 Proxy Authentication Required", via_alice_received("i")), *home)
    assert told(wire.sightings)["call-refused"] == ["Alice's call ends with 407 Proxy Authentication Required"]
    wire.at(0.2, lines("INVITE sip:bob@198.51.100.10 SIP/2.0", [via_alice("k")], "c", "2 INVITE"), *OUT)
    assert set(told(wire.sightings)) == {"callee-never-rings"}
    refusal = lines("SIP/2.0 404 Not Found", [via_alice_received("k")], "c", "2 INVITE")
    wire.at(0.3, refusal, *home)
    assert told(wire.sightings) == {"call-refused": ["Alice's call ends with 404 Not Found"]}


def test_an_ack_that_never_comes_and_a_call_that_nobody_ends() -> None:
    both = [leg("alice", "bob"), leg("bob", "alice")]
    acks = without(lambda seen: seen.method == "ACK" and seen.call_id == "alice-calls")
    assert told(acks, legs=both) == {"never-acknowledged": ["no ACK comes to Bob's phone"]}
    byes = without(lambda seen: seen.method == "BYE" and seen.call_id == "alice-calls")
    assert told(byes, legs=both) == {"call-up-not-ended": ["Alice's call is up, and nobody ends it"]}


def test_a_call_that_never_began_is_missed() -> None:
    assert told([]) == {"calls-missing": ["1 of the calls that were asked for never began"]}
    assert "works" not in told(good_story(), legs=[leg("alice", "bob", count=3)])


def test_where_nobody_was_called_it_works_when_nothing_was_lost() -> None:
    wire = Wire()
    register(wire)
    assert told(wire.sightings, legs=[{**leg("alice", "bob"), "flow": "message"}]) == {"works": ["nothing was lost"]}


def test_what_the_proxy_repeats_of_an_earlier_run_is_no_fact_of_this_one() -> None:
    wire = Clock()
    wire.at(0, lines(f"INVITE {ALICE_CONTACT} SIP/2.0", [via_proxy("o"), via_bob("o")], "old", "1 INVITE"),
            (PROXY, (NAT[0], 50001), "nat-wan"))  # fmt: skip
    both = [leg("alice", "bob"), leg("bob", "alice")]
    assert set(told([*wire.sightings, *good_story()], legs=both)) == {"works"}


def test_a_keep_alive_that_is_lost_is_told() -> None:
    wire = Clock()
    wire.at(0, lines(f"OPTIONS {ALICE_CONTACT} SIP/2.0", [via_proxy("k")], "k", "1 OPTIONS"), (PROXY, NAT, "nat-wan"))
    assert "OPTIONS to Alice goes to 198.51.100.20:50568" in told(wire.sightings, legs=[])["request-lost-at-router"][0]


def test_every_fact_names_the_journeys_that_show_it() -> None:
    judged = case(bypassed(), legs=[leg("alice", "bob"), leg("bob", "alice")], events=[made(0)])
    for fact in facts(judged):
        assert fact.evidence
        assert all(judged.journeys[number].first.call_id == "alice-calls" for number in fact.evidence)


def test_what_happened_to_many_calls_is_told_once() -> None:
    wire = Clock()
    for number in range(50):
        invite = lines("INVITE sip:bob@198.51.100.10 SIP/2.0", [via_alice(f"i{number}")], f"c{number}", "1 INVITE")
        wire.at(number / 1000, invite, OUT[0])
    found = facts(case(wire.sightings, legs=[leg("alice", "bob", count=50)]))
    assert [fact.code for fact in found] == ["request-lost-at-router", "callee-never-rings"]
    assert [len(fact.evidence) for fact in found] == [50, 50]


def test_the_phone_that_has_the_damage_is_named() -> None:
    assert [fact.who for fact in facts(case(bypassed(), events=[made(0)]))] == ["alice", "bob", "bob"]


def test_an_answer_to_a_port_by_which_nobody_speaks_is_not_heard() -> None:
    """As with an ALG that believes the Via and not rport."""
    wire = Clock()
    deaf = (ALICE[0], 5062)
    for time in (0, 0.5):
        wire.at(time, INVITE, *OUT)
        wire.at(time + 0.01, answer("407 Proxy Authentication Required", via_alice_received("i")),
                (PROXY, NAT, "proxy"), (PROXY, NAT, "nat-wan"), (PROXY, deaf, "nat-lan"))  # fmt: skip
    assert told(wire.sightings, events=[made(0)]) == {
        "answers-unheard": ["407: nobody listens at 10.77.1.100:5062: the phone speaks from 5060"],
        "caller-repeats": ["Alice repeats her INVITE after 0.5 s and would give up after 32 s"],
        "callee-never-rings": ["Alice's call rings nowhere"],
    }
