"""The verdict: named checks on the story, each with its evidence.

A check that the calls which were asked for cannot show (Alice's INVITE when only Bob called) is not listed. One that
they should have shown and did not is `not-seen`, and that is no pass.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from observer.decode import Sighting
from observer.story import Journey
from observer.topology import PUBLIC_TAPS, Topology

PASS, FAIL, NOT_SEEN = "pass", "fail", "not-seen"
LAB = ("nat-kind", "no-leak")  # these two failing means: the lab is broken, whatever the calls did
MOST_EVIDENCE = 5
# The messages whose Contact is where the far end will send its next request (RFC 3261 §12.1, 3311, 6665, 3515).
DIALOG_METHODS = frozenset(("INVITE", "UPDATE", "SUBSCRIBE", "NOTIFY", "REFER"))

Leg = dict[str, Any]  # {"from", "to", "count", "hangup", and SIPp's counts by phone}


@dataclass(slots=True)
class Check:
    """One check: `result` is pass, fail or not-seen; `evidence` says on what, in a sentence."""

    name: str
    result: str
    evidence: str


@dataclass(slots=True)
class Case:
    """Everything that is judged."""

    topology: Topology
    journeys: list[Journey]
    sightings: list[Sighting]
    legs: list[Leg]
    probe: dict[str, Any]  # probe.json; {} when the probe left none
    earlier_contacts: frozenset[str] = frozenset()  # what Alice gave before this run

    def calls_from(self, name: str) -> bool:
        """Say whether this phone was to call."""
        return any(leg["from"] == name for leg in self.legs)

    def hangs_up(self, name: str) -> bool:
        """Say whether this phone was to hang up."""
        return any(leg[{"caller": "from", "callee": "to"}[leg["hangup"]]] == name for leg in self.legs)


def judge(case: Case) -> dict[str, Any]:
    """Return verdict.json: `verdict` is pass, fail or lab-broken; `checks` is the list of all checks."""
    checks = [check(case) for planned, check in CHECKS if planned(case)]
    checks += [_sipp(case, name) for name in ("alice", "bob") if _counted(case, name, "successful")]
    checks += [_baresip(case, name) for name in ("alice", "bob") if _counted(case, name, "up")]
    broken = any(check.name in LAB and check.result != PASS for check in checks)
    passed = all(check.result == PASS for check in checks)
    verdict = "lab-broken" if broken else "pass" if passed else "fail"
    return {"verdict": verdict, "checks": [asdict(check) for check in checks]}


def nat_kind(case: Case) -> Check:
    """The measured NAT is the declared one."""
    if not case.probe:
        return Check("nat-kind", NOT_SEEN, "the start probe left no result")
    declared, measured = case.probe["declared"], case.probe["measured"]
    if "silence" in case.probe:
        return Check("nat-kind", FAIL, f"the router passes nothing: {case.probe['silence']}")
    wrong = [f"{axis}: declared {declared[axis]}, measured {measured.get(axis)}" for axis in declared
             if declared[axis] != measured.get(axis)]  # fmt: skip
    words = ", ".join(f"{axis} {value}" for axis, value in measured.items())
    return Check("nat-kind", FAIL if wrong else PASS, "; ".join(wrong) or f"{case.probe['kind']}: {words}")


def no_leak(case: Case) -> Check:
    """There is no way to Alice but the NAT."""
    if not case.probe:
        return Check("no-leak", NOT_SEEN, "the start probe left no result")
    if "silence" in case.probe:
        return Check("no-leak", NOT_SEEN, "the probe could not ask")
    leaks = case.probe["leaks"]
    return Check("no-leak", FAIL if leaks else PASS, "; ".join(leaks) or "no way to Alice but the router")


def invite_translated(case: Case) -> Check:
    """Alice's INVITE reaches the proxy from the NAT's public address, and by UDP from another port than she sent from.

    By TCP and TLS a phone connects from any port, so a router that keeps it hides nothing.
    """
    judged = []
    arrived = set()
    for journey in _from_alice(case, "INVITE"):
        for seen in _at_proxy(case, journey):
            kept_port = seen.transport == "udp" and seen.source[1] == journey.first.source[1]
            changed = seen.source[0] == case.topology.nat_wan and not kept_port
            judged.append((changed, f"sent from {_text(journey.first.source)}, arrived from {_text(seen.source)}"))
            arrived.add(seen.call_id)
    missing = sum(leg["count"] for leg in case.legs if leg["from"] == "alice") - len(arrived)
    if missing > 0 and judged:
        judged.append((False, f"{missing} of her calls never arrived"))
    return _verdict("invite-translated", judged)


def answers_to_source(case: Case) -> Check:
    """Every answer to Alice takes the way of her request back: its source, its transport, its connection."""
    came = {}
    for journey in _from_alice(case):
        for seen in _at_proxy(case, journey):
            came[_transaction(seen)] = seen
    judged = [
        (_way(seen) == _way_back(came[_transaction(seen)]),
         f"{seen.status} ({seen.method}) went to {_text(seen.destination)}, "
         f"the request came from {_text(came[_transaction(seen)].source)}")
        for seen in case.sightings
        if seen.is_sip and not seen.is_request and _leaves_proxy(case, seen) and _transaction(seen) in came
    ]  # fmt: skip
    return _verdict("answers-to-source", judged)


def via_received_rport(case: Case) -> Check:
    """The forwarded INVITE carries our Via above the sender's, which says where the packet came from."""
    judged = []
    for journey, seen in _forwarded_invites(case):
        arrived = _at_proxy(case, journey)
        if not arrived:
            continue
        came = arrived[0]
        address, port = came.source
        fine = (
            len(seen.vias) == len(came.vias) + 1
            and _names(seen.vias[0], case.topology.proxy)
            and seen.vias[0].startswith(f"SIP/2.0/{seen.transport.upper()} ")
            and re.search(rf";received={re.escape(address)}(;|$)", seen.vias[1]) is not None
            and re.search(rf";rport={port}(;|$)", seen.vias[1]) is not None
        )
        judged.append((fine, f"from {_text(came.source)}: Via {seen.vias[1] if len(seen.vias) > 1 else '(none)'}"))
    return _verdict("via-received-rport", judged)


def record_route(case: Case) -> Check:
    """What the proxy forwards has its Record-Route; where it goes on by another transport, one for each (RFC 5658)."""
    judged = []
    for journey, seen in _forwarded_invites(case):
        own = [route for route in seen.record_routes if _names(route, case.topology.proxy)]
        wanted = {came.transport for came in _at_proxy(case, journey)} | {seen.transport}
        fine = bool(own) and wanted <= {_transport(route) for route in own}
        judged.append((fine, f"Record-Route {', '.join(seen.record_routes) or '(none)'}"))
    return _verdict("record-route", judged)


def in_dialog_through_proxy(case: Case) -> Check:
    """ACK and BYE of both sides pass the proxy.

    An ACK for an answer that is no success is no message of a dialog: it has its INVITE's branch, and goes no further
    than that answer came from (RFC 3261 §17.1.1.3).
    """
    invites = {_transaction_of(journey.first) for journey in case.journeys if journey.first.method == "INVITE"}
    judged = []
    for journey in case.journeys:
        first = journey.first
        if not first.is_request or first.method not in {"ACK", "BYE"} or _transaction_of(first) in invites:
            continue
        through = any(_leaves_proxy(case, leg.seen) for leg in journey.legs)
        judged.append((through, f"{first.method} from {_text(first.source)} went to {_text(first.destination)}"))
    calls = sum(leg["count"] for leg in case.legs)
    ends = {case.topology.alice, case.topology.bob}  # a softphone's calls are its own affair
    firsts = [journey.first for journey in case.journeys if journey.first.is_request]
    firsts = [first for first in firsts if first.method != "ACK" or _transaction_of(first) not in invites]
    placed = {first.call_id for first in firsts if first.method == "INVITE" and first.source[0] in ends}
    for method in ("ACK", "BYE"):
        missing = calls - len(placed & {first.call_id for first in firsts if first.method == method})
        if missing > 0 and judged:
            judged.append((False, f"{missing} of {calls} calls had no {method}"))
    return _verdict("in-dialog-through-proxy", judged)


def _transaction_of(seen: Sighting) -> tuple[str, str]:
    """Return what a request shares with its CANCEL and with the ACK for a failure."""
    return seen.call_id, seen.branches[-1] if seen.branches else ""


def contact_public(case: Case) -> Check:
    """The Contact of Alice that Bob sees is where her packets come from, and by the transport that they come by."""
    judged = []
    for journey in case.journeys:
        first = journey.first
        if first.source[0] != case.topology.alice or first.method not in DIALOG_METHODS or not first.contact:
            continue
        for leg in journey.legs:
            if leg.seen.destination[0] == case.topology.bob:
                told = leg.seen.contact
                fine = any(
                    _hostport(told) == _text(seen.source) and _transport(told) == seen.transport
                    for seen in _at_proxy(case, journey)[:1]
                )
                judged.append((fine, f"Bob was told {told}"))
    return _verdict("contact-public", judged)


def contact_restored(case: Case) -> Check:
    """A request that reaches Alice bears her own Contact as Request-URI."""
    own = contacts_of_alice(case.journeys, case.topology) | case.earlier_contacts
    judged = [
        (seen.request_uri in own, f"{seen.method} {seen.request_uri}; her own: {', '.join(sorted(own)) or 'unknown'}")
        for seen in case.sightings
        if seen.is_request and seen.tap == "nat-lan" and seen.destination[0] == case.topology.alice
    ]
    return _verdict("contact-restored", judged)


def contacts_of_alice(journeys: list[Journey], topology: Topology) -> set[str]:
    """Return the Contacts that she has given."""
    return {
        journey.first.contact
        for journey in journeys
        if journey.first.source[0] == topology.alice and journey.first.contact
    }


def no_private_on_internet(case: Case) -> Check:
    """Nothing is addressed to a private address at any public tap. (The start probe's own attempts do not count.)"""
    prober = case.topology.reflectors
    public = [seen for seen in case.sightings if seen.tap in PUBLIC_TAPS and seen.source[0] not in prober]
    judged = [
        (False, f"at {seen.tap}: {seen.first_line or 'a packet'} to {_text(seen.destination)}")
        for seen in public
        if case.topology.is_private(seen.destination[0])
    ]
    if public and not judged:
        judged = [(True, f"{len(public)} packets, none to a private address")]
    return _verdict("no-private-on-internet", judged)


def _sipp(case: Case, name: str) -> Check:
    """SIPp at this end: all calls successful, none failed, no retransmission."""
    counted = _counted(case, name, "successful")
    calls = sum(count for count, _ in counted)
    successful, failed, again = (
        sum(counts[key] for _, counts in counted) for key in ("successful", "failed", "retransmissions")
    )
    fine = successful == calls and failed == 0 and again == 0
    evidence = f"{successful} of {calls} calls successful, {failed} failed, {again} retransmissions"
    return Check(f"sipp-{name}", PASS if fine else FAIL, evidence)


def _baresip(case: Case, name: str) -> Check:
    """baresip at this end: all calls were up, and all have ended."""
    counted = _counted(case, name, "up")
    calls = sum(count for count, _ in counted)
    up, ended = (sum(counts[key] for _, counts in counted) for key in ("up", "ended"))
    fine = up == ended == calls
    return Check(f"baresip-{name}", PASS if fine else FAIL, f"{up} of {calls} calls were up, {ended} ended")


def _counted(case: Case, name: str, key: str) -> list[tuple[int, dict[str, int]]]:
    """Return (calls asked for, the phone's counts) of the legs in which this phone counted that."""
    return [(leg["count"], leg[name]) for leg in case.legs if key in leg.get(name, {})]


def _always(_: Case) -> bool:
    return True


Planned = Callable[[Case], bool]

# (could these calls show it?, the check), in the order in which they are printed
CHECKS: tuple[tuple[Planned, Callable[[Case], Check]], ...] = (
    (_always, nat_kind),
    (_always, no_leak),
    (lambda case: case.calls_from("alice"), invite_translated),
    (lambda case: case.calls_from("alice") or case.hangs_up("alice"), answers_to_source),
    (_always, via_received_rport),
    (_always, record_route),
    (_always, in_dialog_through_proxy),
    (_always, contact_public),
    (lambda case: case.calls_from("bob") or case.hangs_up("bob"), contact_restored),
    (_always, no_private_on_internet),
)


def _verdict(name: str, judged: list[tuple[bool, str]]) -> Check:
    if not judged:
        return Check(name, NOT_SEEN, "no packet to judge")
    wrong = _distinct(text for fine, text in judged if not fine)
    if wrong:
        more = f" … and {len(wrong) - MOST_EVIDENCE} more" if len(wrong) > MOST_EVIDENCE else ""
        return Check(name, FAIL, "; ".join(wrong[:MOST_EVIDENCE]) + more)
    return Check(name, PASS, f"{len(judged)}×: {judged[0][1]}" if len(judged) > 1 else judged[0][1])


def _distinct(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def _from_alice(case: Case, method: str | None = None) -> list[Journey]:
    return [
        journey
        for journey in case.journeys
        if journey.first.is_request
        and journey.first.source[0] == case.topology.alice
        and method in (None, journey.first.method)
    ]


def _at_proxy(case: Case, journey: Journey) -> list[Sighting]:
    """The message as it arrived at the proxy."""
    return [
        seen
        for leg in journey.legs
        for seen in leg.sightings
        if seen.tap == "proxy" and seen.destination[0] == case.topology.proxy
    ]


def _leaves_proxy(case: Case, seen: Sighting) -> bool:
    return seen.tap == "proxy" and seen.source[0] == case.topology.proxy


def _forwarded_invites(case: Case) -> list[tuple[Journey, Sighting]]:
    return [
        (journey, leg.seen)
        for journey in case.journeys
        for leg in journey.legs
        if leg.seen.is_request and leg.seen.method == "INVITE" and _leaves_proxy(case, leg.seen)
    ]


def _transaction(seen: Sighting) -> tuple[str, int, str, str]:
    return seen.call_id, seen.cseq, seen.method, seen.branches[-1] if seen.branches else ""


def _way(seen: Sighting) -> tuple[object, ...]:
    return seen.transport, seen.source, seen.destination


def _way_back(seen: Sighting) -> tuple[object, ...]:
    return seen.transport, seen.destination, seen.source


def _transport(uri: str) -> str:
    """Return the transport that a URI names: UDP where it names none."""
    named = re.search(r";transport=(\w+)", uri, re.IGNORECASE)
    return named[1].lower() if named else "udp"


def _names(line: str, address: str) -> bool:
    """Say whether a header line bears this very address, and not one that only begins or ends like it."""
    return re.search(rf"(?<![\d.]){re.escape(address)}(?![\d.])", line) is not None


def _text(address: tuple[str, int]) -> str:
    return f"{address[0]}:{address[1]}"


def _hostport(uri: str) -> str:
    return uri.rpartition("@")[2].partition(";")[0].removeprefix("sip:")
