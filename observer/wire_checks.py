"""Checks of what was seen on the wire. With two homes the same address is Alice's here and Bob's there: whoever sent a
message is known by address and tap, and the message by its journey.
"""

from __future__ import annotations

import re

from observer.case import (
    DIALOG_METHODS,
    Case,
    Check,
    Judged,
    contacts_of_phones,
    hostport,
    is_in_dialog,
    names,
    text,
    transaction,
    transport_of,
    verdict,
)
from observer.decode import Sighting
from observer.story import Journey, message
from observer.topology import Home

DIALOG_FORMING = frozenset(("INVITE", "SUBSCRIBE", "REFER"))


def invite_translated(case: Case) -> Check:
    """Each INVITE from behind a router reaches the proxy from that router's public address, and from the port that this
    kind of router gives: by UDP another one than the phone's, unless it keeps ports.

    By TCP and TLS a phone connects from any port, so a router that keeps it hides nothing.
    """
    arrivals = case.arrivals()
    judged: list[Judged] = []
    arrived: dict[str, set[str]] = {name: set() for name in case.homely}
    for journey in _from_homes(case, "INVITE"):
        name = case.sender(journey)
        for seen in arrivals.get(message(journey.first), []):
            fine = _is_translated(case, name, journey.first, seen)
            judged.append((fine, f"sent from {text(journey.first.source)}, arrived from {text(seen.source)}", seen))
            arrived[name].add(seen.call_id)
    for name, calls in arrived.items():
        missing = case.calls_from(name) - len(calls)
        if missing > 0 and judged:
            judged.append((False, f"{missing} of {_whose(name)} calls never arrived", None))
    return verdict("invite-translated", judged)


def _whose(name: str) -> str:
    return {"alice": "her", "bob": "his"}.get(name, f"{name}'s")


def _is_translated(case: Case, name: str, sent: Sighting, seen: Sighting) -> bool:
    home = case.topology.home_of(name)
    assert home is not None
    kept = seen.source[1] == sent.source[1]
    if not home.translates:
        return seen.source == sent.source == (home.faces[name], sent.source[1])
    if home.is_one_to_one:
        return kept and seen.source[0] == home.faces[name]
    fine = kept or _may_change_ports(case, home) if home.profile.get("ports") == "preserved" else not kept
    return seen.source[0] in home.wan and (fine or seen.transport != "udp")


def _may_change_ports(case: Case, home: Home) -> bool:
    """Say whether a router that keeps ports may have had to give another: the port was taken, or is lost."""
    rebound = home.router in case.histories and case.histories[home.router].verbs(["rebind"])
    return bool(rebound) or len(home.phones) > 1 or home.layers > 1 or home.profile.get("peer-first") == "lost"


def answers_to_source(case: Case) -> Check:
    """Every answer to a phone behind a router takes the way of its request back: source, transport, connection."""
    came: dict[tuple[str, int, str, str], list[Sighting]] = {}
    homely = {transaction(journey.first) for journey in _from_homes(case)}
    for copies in case.arrivals().values():
        if copies[0].is_request and transaction(copies[0]) in homely:
            came[transaction(copies[0])] = copies
    judged = [
        (any(_way(seen) == _way_back(one) for one in copies),
         f"{seen.status} ({seen.method}) went to {text(seen.destination)}, "
         f"the request came from {text(copies[-1].source)}", seen)
        for seen in case.sightings
        if seen.is_sip and not seen.is_request and case.leaves_proxy(seen)
        and (copies := came.get(transaction(seen), []))
    ]  # fmt: skip
    return verdict("answers-to-source", judged)


def via_received_rport(case: Case) -> Check:
    """What is forwarded and may begin a dialog carries our Via above the sender's, which says where the packet came
    from."""
    arrivals = case.arrivals()
    judged = []
    for seen in _forwarded(case):
        came = arrivals.get(message(seen), [])
        if came:
            fine = any(_says_source(case, seen, one) for one in came)
            judged.append(
                (fine, f"from {text(came[-1].source)}: Via {seen.vias[1] if len(seen.vias) > 1 else '(none)'}", seen)
            )
    return verdict("via-received-rport", judged)


def _says_source(case: Case, seen: Sighting, came: Sighting) -> bool:
    address, port = came.source
    return (
        len(seen.vias) == len(came.vias) + 1
        and names(seen.vias[0], case.topology.proxy)
        and seen.vias[0].startswith(f"SIP/2.0/{seen.transport.upper()} ")
        and re.search(rf";received={re.escape(address)}(;|$)", seen.vias[1]) is not None
        and re.search(rf";rport={port}(;|$)", seen.vias[1]) is not None
    )


def record_route(case: Case) -> Check:
    """What the proxy forwards and may begin a dialog has its Record-Route; where it goes on by another transport, one
    for each (RFC 5658). Within a dialog the route stands already (RFC 3261 §12.2)."""
    arrivals = case.arrivals()
    judged = []
    for seen in _forwarded(case):
        if is_in_dialog(seen):
            continue
        own = [route for route in seen.record_routes if names(route, case.topology.proxy)]
        wanted = {came.transport for came in arrivals.get(message(seen), [])} | {seen.transport}
        fine = bool(own) and wanted <= {transport_of(route) for route in own}
        judged.append((fine, f"Record-Route {', '.join(seen.record_routes) or '(none)'}", seen))
    return verdict("record-route", judged)


def in_dialog_through_proxy(case: Case) -> Check:
    """ACK, BYE and whatever else both sides send within a dialog pass the proxy; of a request's copies, one does.

    An ACK for an answer that is no success is no message of a dialog: it has its INVITE's branch, and goes no further
    than that answer came from (RFC 3261 §17.1.1.3).
    """
    requests = [journey for journey in case.journeys if journey.first.is_request]
    invites = {_branch(journey.first) for journey in requests if journey.first.method == "INVITE"}
    through: dict[tuple[str, int, str, str], bool] = {}
    firsts: dict[tuple[str, int, str, str], Sighting] = {}
    for journey in requests:
        first = journey.first
        if not _is_of_dialog(first, invites):
            continue
        firsts.setdefault(transaction(first), first)
        through[transaction(first)] = through.get(transaction(first), False) or any(
            case.leaves_proxy(leg.seen) for leg in journey.legs
        )
    judged: list[Judged] = [
        (through[key], f"{first.method} from {text(first.source)} went to {text(first.destination)}", first)
        for key, first in firsts.items()
    ]
    calls = sum(leg["count"] for leg in case.calls)
    phones = case.topology.phones  # a softphone's calls are its own affair
    placed = {
        journey.first.call_id
        for journey in requests
        if journey.first.method == "INVITE" and case.sender(journey) in phones
    }
    for method in ("ACK", "BYE"):
        missing = calls - len(placed & {first.call_id for first in firsts.values() if first.method == method})
        if missing > 0 and judged:
            judged.append((False, f"{missing} of {calls} calls had no {method}", None))
    return verdict("in-dialog-through-proxy", judged)


def _is_of_dialog(first: Sighting, invites: set[tuple[str, str]]) -> bool:
    if first.method == "ACK":
        return _branch(first) not in invites
    return first.method == "BYE" or (first.method != "CANCEL" and is_in_dialog(first))


def _branch(seen: Sighting) -> tuple[str, str]:
    """Return what a request shares with its CANCEL and with the ACK for a failure."""
    return seen.call_id, seen.branches[-1] if seen.branches else ""


def contact_public(case: Case) -> Check:
    """The Contact of a phone behind a router that the far end sees is where its packets come from, and by the transport
    that they come by."""
    arrivals = case.arrivals()
    judged = []
    for journey in case.journeys:
        first = journey.first
        if case.sender(journey) not in case.homely or first.method not in DIALOG_METHODS or not first.contact:
            continue
        last = journey.legs[-1].sightings[-1]
        who = case.topology.name(last.destination[0], last.tap)
        for leg in journey.legs:
            if not case.topology.is_public_tap(leg.seen.tap) or leg.seen.destination[0] == case.topology.proxy:
                continue
            told = leg.seen.contact
            fine = any(
                hostport(told) == text(came.source) and transport_of(told) == came.transport
                for came in arrivals.get(message(first), [])
            )
            judged.append((fine, f"{who.capitalize()} was told {told}", leg.seen))
    return verdict("contact-public", judged)


def contact_restored(case: Case) -> Check:
    """A request that reaches a phone behind a router bears the phone's own Contact as Request-URI."""
    given = contacts_of_phones(case.journeys, case.topology)
    judged = []
    for seen in case.sightings:
        home = case.topology.home_at(seen.tap)
        if not seen.is_request or home is None or seen.tap != home.lan_tap:
            continue
        name = case.topology.name(seen.destination[0], seen.tap)
        if name in home.phones:
            own = given[name] | case.earlier_contacts.get(name, set())
            words = f"{_whose(name)} own: {', '.join(sorted(own)) or 'unknown'}"
            judged.append((seen.request_uri in own, f"{seen.method} {seen.request_uri}; {words}", seen))
    return verdict("contact-restored", judged)


def no_private_on_internet(case: Case) -> Check:
    """Nothing is addressed to a private address at any public tap. The start probe's own attempts do not count, and of
    sound `audio-...` judges."""
    prober = case.topology.reflectors
    public = [
        seen
        for seen in case.sightings
        if case.topology.is_public_tap(seen.tap) and seen.source[0] not in prober and not seen.is_media
    ]
    judged: list[Judged] = [
        (False, f"at {seen.tap}: {seen.first_line or 'a packet'} to {text(seen.destination)}", seen)
        for seen in public
        if case.topology.is_private(seen.destination[0])
    ]
    if public and not judged:
        judged = [(True, f"{len(public)} packets, none to a private address", None)]
    return verdict("no-private-on-internet", judged)


def _from_homes(case: Case, method: str | None = None) -> list[Journey]:
    """Return the requests that phones behind routers sent."""
    return [
        journey
        for journey in case.journeys
        if journey.first.is_request
        and case.sender(journey) in case.homely
        and method in (None, journey.first.method)
    ]


def _forwarded(case: Case) -> list[Sighting]:
    """Return what the proxy forwarded that may begin a dialog."""
    return [
        leg.seen
        for journey in case.journeys
        for leg in journey.legs
        if leg.seen.is_request and leg.seen.method in DIALOG_FORMING and case.leaves_proxy(leg.seen)
    ]


def _way(seen: Sighting) -> tuple[object, ...]:
    return seen.transport, seen.source, seen.destination


def _way_back(seen: Sighting) -> tuple[object, ...]:
    return seen.transport, seen.destination, seen.source
