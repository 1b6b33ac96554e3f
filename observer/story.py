"""The story of a call: the sightings of one message joined into a journey, and what changed at every hop.

A journey is one message on its way from end to end: alice -> nat -> proxy -> bob. Its legs are the packets that carried
it, each as the taps saw it; between two legs stands whoever received the one and sent the other. A proxy that forks
sends several: each has the one that it received before it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from observer.changes import differences
from observer.decode import Sighting
from observer.topology import ISP_OUTSIDE, Topology

TRYING = 100
SIP_PORT = 5060  # of the reflectors, which read SIP there


@dataclass(slots=True)
class Leg:
    """One packet: the same bytes between the same addresses, seen at one tap or more."""

    sightings: list[Sighting]
    by: str = ""  # who made this packet out of the one before: a router's name, "proxy", or "" for the first
    changes: list[str] = field(default_factory=list)
    before: Leg | None = field(default=None, repr=False)

    @property
    def seen(self) -> Sighting:
        """The first sighting."""
        return self.sightings[0]

    @property
    def taps(self) -> list[str]:
        """Where it was seen."""
        return [sighting.tap for sighting in self.sightings]


@dataclass(slots=True)
class Journey:
    """One message, all the way."""

    legs: list[Leg]

    @property
    def first(self) -> Sighting:
        """The message as it was first seen."""
        return self.legs[0].seen


def tell(sightings: list[Sighting], topology: Topology) -> list[Journey]:
    """Return the journeys of all SIP messages, in the order in which they began; and of keep-alives that were given to
    a call."""
    probed = {(address, SIP_PORT) for address in topology.reflectors}
    together: dict[tuple[object, ...], list[_Copy]] = defaultdict(list)
    for seen in sightings:
        # The probe sends SIP to the reflectors, to see whether the router reads it: that is nobody's call.
        if (seen.is_sip or (seen.crlf and seen.call_id)) and not {seen.source, seen.destination} & probed:
            _join(together[message(seen)], seen)
    journeys = [Journey(legs_of(copy.sightings, topology)) for copies in together.values() for copy in copies]
    return sorted(journeys, key=lambda journey: journey.first.time)


def message(seen: Sighting) -> tuple[object, ...]:
    """Return what all copies of a message share, wherever they are seen.

    The originator's branch is the lowest: it stays the same from end to end, whatever proxies put above it. But a 100
    goes one hop and no further (RFC 3261 §16.7 step 5): it is known by the topmost branch too.
    """
    hop = seen.branches[:1] if seen.status == TRYING else []
    return seen.call_id, seen.cseq, seen.method, seen.status, *seen.branches[-1:], *hop


@dataclass(slots=True)
class _Copy:
    """One of the times that a message was sent, and the places that it was seen at."""

    sightings: list[Sighting] = field(default_factory=list)
    places: set[tuple[object, ...]] = field(default_factory=set)


def _join(copies: list[_Copy], seen: Sighting) -> None:
    """Give a sighting to a copy that was not yet seen there: to the one with the same bytes, or else to the newest. An
    older one is lost, when a newer is on its way.

    What every copy has passed already is sent again: a journey of its own.
    """
    place = (seen.tap, seen.source, seen.destination)
    fitting = [copy for copy in reversed(copies) if place not in copy.places]
    same = [copy for copy in fitting if _bytes(copy.sightings[-1]) == _bytes(seen)] if len(fitting) > 1 else []
    copy = next(iter(same or fitting), None)
    if copy is None:
        copy = _Copy()
        copies.append(copy)
    copy.sightings.append(seen)
    copy.places.add(place)


def _bytes(seen: Sighting) -> tuple[object, ...]:
    return seen.first_line, seen.headers, seen.body


def legs_of(group: list[Sighting], topology: Topology) -> list[Leg]:
    """Return the packets that carried one message, or one piece of sound, of all its sightings in the order of time."""
    legs: list[Leg] = []
    for seen in group:
        for leg in legs:
            if _packet(leg.seen) == _packet(seen):
                leg.sightings.append(seen)
                break
        else:
            legs.append(_next(legs, seen, topology))
    return legs


def _next(legs: list[Leg], seen: Sighting, topology: Topology) -> Leg:
    """Return the leg that begins with this sighting, made of one of those before it or of none."""
    leg = Leg([seen])
    if seen.source[0] == topology.proxy and seen.tap == "proxy":
        leg.by, made_of = "proxy", [one for one in legs if one.seen.destination[0] == topology.proxy]
    else:  # a router leaves the Vias alone
        leg.by, made_of = _router(seen, topology), [one for one in legs if one.seen.branches[:1] == seen.branches[:1]]
    if made_of:
        leg.before = made_of[-1]
        leg.changes = changes(leg.before.seen, seen)
    else:
        leg.by = ""
    return leg


def _router(seen: Sighting, topology: Topology) -> str:
    """Return the name of the router that sent this packet on."""
    home = topology.home_at(seen.tap)
    if home is None:  # at the proxy or beyond: whoever has the source
        return topology.name(seen.source[0], seen.tap)
    if seen.tap == home.lan_tap or (seen.tap == home.isp_tap and seen.source[0] == ISP_OUTSIDE):
        return home.router
    return home.outermost


def _packet(seen: Sighting) -> tuple[object, ...]:
    return seen.source, seen.destination, seen.first_line, seen.headers, seen.body


def changes(before: Sighting, after: Sighting) -> list[str]:
    """Return what differs, a line each.

    Transport, addresses, first line, then lines of the headers and of the body: + added, - removed, ~ changed.
    """
    return [str(each) for each in differences(before, after)]


def as_json(journeys: list[Journey]) -> list[dict[str, Any]]:
    """Return every sighting as story.json has it, in the order of time."""
    rows = [
        {
            "time": seen.time,
            "tap": seen.tap,
            "transport": seen.transport,
            "source": "%s:%d" % seen.source,
            "destination": "%s:%d" % seen.destination,
            "first_line": seen.first_line,
            "call_id": seen.call_id,
            "cseq": f"{seen.cseq} {seen.method}",
            "headers": seen.headers,
            "journey": number,
            "by": leg.by,
            "changes": leg.changes,
        }
        for number, journey in enumerate(journeys)
        for leg in journey.legs
        for seen in leg.sightings
    ]
    return sorted(rows, key=lambda row: row["time"])
