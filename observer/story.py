"""The story of a call: the sightings of one message joined into a journey, and what changed at every hop.

A journey is one message on its way from end to end: alice -> nat -> proxy -> bob. Its legs are the packets that carried
it, each as the taps saw it; between two legs stands whoever received the one and sent the other.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from observer.decode import Sighting
from observer.topology import Topology

VIAS = {"via", "v"}
SAME_LINE = 0.5  # how alike two lines of one name must be for the second to be the first, edited


@dataclass(slots=True)
class Leg:
    """One packet: the same bytes between the same addresses, seen at one tap or more."""

    sightings: list[Sighting]
    by: str = ""  # who made this packet out of the one before: "nat", "proxy", or "" for the first
    changes: list[str] = field(default_factory=list)

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
    """Return the journeys of all SIP messages, in the order in which they began."""
    copies: Counter[tuple[object, ...]] = Counter()
    together: dict[tuple[object, ...], list[Sighting]] = defaultdict(list)
    for seen in sightings:
        if not seen.is_sip:
            continue
        # The originator's branch is the lowest: it stays the same from end to end, whatever proxies put above it.
        message = (seen.call_id, seen.cseq, seen.method, seen.status, seen.branches[-1] if seen.branches else "")
        where = (*message, seen.tap, seen.source, seen.destination)
        copies[where] += 1  # the second copy at one place is a retransmission: a journey of its own
        together[*message, copies[where]].append(seen)
    journeys = [Journey(_legs(group, topology)) for group in together.values()]
    return sorted(journeys, key=lambda journey: journey.first.time)


def _legs(group: list[Sighting], topology: Topology) -> list[Leg]:
    legs: list[Leg] = []
    for seen in group:
        for leg in legs:
            if _packet(leg.seen) == _packet(seen):
                leg.sightings.append(seen)
                break
        else:
            legs.append(Leg([seen]))
    for before, after in itertools.pairwise(legs):
        by_proxy = before.seen.source[0] != topology.proxy == after.seen.source[0]
        after.by = "proxy" if by_proxy else "nat"
        after.changes = changes(before.seen, after.seen)
    return legs


def _packet(seen: Sighting) -> tuple[object, ...]:
    return seen.source, seen.destination, seen.first_line, seen.headers, seen.body


def changes(before: Sighting, after: Sighting) -> list[str]:
    """Return what differs, a line each.

    Transport, addresses, first line, header lines (+ added, - removed, ~ changed), body.
    """
    found = []
    if before.transport != after.transport:
        found.append(f"transport {before.transport} → {after.transport}")
    for name, old, new in (
        ("source", before.source, after.source),
        ("destination", before.destination, after.destination),
    ):
        if old != new:
            found.append(f"{name} {old[0]}:{old[1]} → {new[0]}:{new[1]}")
    if before.first_line != after.first_line:
        found.append(f"~ {before.first_line} → {after.first_line}")
    found += _header_changes(before.headers, after.headers)
    if before.body != after.body:
        found.append("~ body")
    return found


def _header_changes(before: list[str], after: list[str]) -> list[str]:
    removed, added = [], []
    for line in difflib.ndiff(_one_via_a_line(before), _one_via_a_line(after)):
        if line.startswith("- "):
            removed.append(line[2:])
        elif line.startswith("+ "):
            added.append(line[2:])
    # Of several lines with one name (a new Via above an edited one), those most alike are the same line, edited.
    pairs = sorted(
        (
            (_likeness(old, new), old, new)
            for old in removed
            for new in added
            if _name(old) == _name(new)
        ),
        reverse=True,
    )
    edited: dict[str, str] = {}
    for likeness, old, new in pairs:
        alone = [_name(line) for line in removed + added].count(_name(new)) == 2
        if (alone or likeness > SAME_LINE) and old in removed and new not in edited:
            edited[new] = old
            removed.remove(old)
    found = [f"~ {edited[new]} → {new.partition(':')[2].strip()}" if new in edited else f"+ {new}" for new in added]
    return found + [f"- {old}" for old in removed]


def _likeness(old: str, new: str) -> float:
    """Return how much of one line is in the other, from 0 to 1. A Via is known by its branch (RFC 3261 §8.1.1.7)."""
    branches = [re.findall(r";\s*branch=([^;,\s]+)", line) for line in (old, new)]
    if _name(old) in VIAS and all(branches):
        return float(branches[0] == branches[1])
    return difflib.SequenceMatcher(None, old, new).ratio()


def _one_via_a_line(lines: list[str]) -> list[str]:
    """Some phones write all Vias into one line; that is no change (RFC 3261 §7.3.1)."""
    found = []
    for line in lines:
        name, _, value = line.partition(":")
        if _name(line) in VIAS:
            found += [f"{name}: {via.strip()}" for via in re.split(r",\s*(?=SIP\s*/)", value)]
        else:
            found.append(line)
    return found


def _name(line: str) -> str:
    return line.partition(":")[0].strip().lower()


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
