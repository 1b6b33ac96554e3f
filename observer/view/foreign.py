"""Captures that somebody brings from elsewhere: one, or two of the two sides of a router that we know nothing of.

Addresses are lanes. Of two captures the same message is found in both; where its addresses differ, a router stands in
between, and the two clocks are set by what passed it in both directions.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from observer.decode import DISSECT_ALL, Sighting, decode
from observer.story import Journey
from observer.topology import Home, Topology, is_private
from observer.view import media, schema
from observer.view.model import Seen, view

ROUTER = "router"
SAME_CLOCK_S = 0.005  # clocks that differ by less are taken for one
TRANSIT_S = 0.0001  # that a router takes at the least

Key = tuple[object, ...]


class NoCapture(ValueError):
    """What somebody brought cannot be drawn: one line that says why."""


@dataclass(slots=True)
class Side:
    """What one capture has."""

    name: str
    sightings: list[Sighting]

    @property
    def has_sip(self) -> bool:
        """Say whether there is any SIP in it."""
        return any(seen.is_sip for seen in self.sightings)

    @property
    def span(self) -> tuple[float, float]:
        """When its first and its last packet came."""
        return self.sightings[0].time, self.sightings[-1].time

    def first(self) -> dict[Key, list[Sighting]]:
        """Return all copies of each message."""
        found: dict[Key, list[Sighting]] = {}
        for seen in self.sightings:
            if seen.is_sip:
                found.setdefault((seen.call_id, seen.cseq, seen.method, seen.status), []).append(seen)
        return found


Pair = tuple[Sighting, Sighting]


def load(folder: Path, names: Sequence[str]) -> schema.View:
    """Return the view of `0.pcap`, or of `0.pcap` and `1.pcap`, in a folder; `names` are what they were called.

    Raises NoCapture.
    """
    sides = _sides(folder, names)
    if len(sides) == 1:
        return view(_one(folder, sides[0]))
    pairs = _pairs(*sides)
    inside = _inside(pairs)
    if inside is None:
        note = "the two captures have no message in common that a router changed: they are drawn side by side"
        return view(_plain(folder, sides, [note]))
    return _two(folder, sides, pairs, inside)


def _sides(folder: Path, names: Sequence[str]) -> list[Side]:
    sides = _sides_of(decode(folder), names)
    if not all(side.has_sip for side in sides):
        sides = _sides_of(decode(folder, DISSECT_ALL), names)
    for side in sides:
        if not side.has_sip:
            raise NoCapture(f"{side.name}: there is no SIP in it")
    return sides


def _sides_of(found: Iterable[Sighting], names: Sequence[str]) -> list[Side]:
    by_tap: dict[str, list[Sighting]] = {str(number): [] for number in range(len(names))}
    for seen in found:
        by_tap[seen.tap].append(seen)
    return [Side(name, seen) for name, seen in zip(names, by_tap.values(), strict=True)]


def _one(folder: Path, side: Side) -> Seen:
    return _plain(folder, [side], [])


def _plain(folder: Path, sides: Sequence[Side], notes: list[str]) -> Seen:
    """Return what was seen where nothing is known but addresses."""
    topology = Topology((), {}, "", "", ("", ""))
    sightings = sorted(
        (replace(seen, tap=side.name) for side in sides for seen in side.sightings), key=lambda seen: seen.time
    )
    return Seen(
        " and ".join(side.name for side in sides), topology, sightings, media=media.streams(folder, topology),
        notes=notes, join=link,
    )  # fmt: skip


def _pairs(one: Side, other: Side) -> list[Pair]:
    """Return what was seen in both: each copy of a message with the copy of the same number."""
    there = other.first()
    return [pair for key, copies in one.first().items() for pair in zip(copies, there.get(key, []), strict=False)]


def _inside(pairs: Iterable[Pair]) -> int | None:
    """Return which capture is of the inner side: 0 or 1; None where no address was changed.

    It is the one in which the address that changes is private; where both are, the first.
    """
    changed = False
    for one, other in pairs:
        for mine, its in ((one.source, other.source), (one.destination, other.destination)):
            if mine[0] != its[0]:
                changed = True
                if is_private(its[0]) and not is_private(mine[0]):
                    return 1
    return 0 if changed else None


def _two(folder: Path, sides: Sequence[Side], pairs: list[Pair], inside: int) -> schema.View:
    if inside:
        pairs = [(other, one) for one, other in pairs]
    inner, outer = sides[inside], sides[1 - inside]
    notes = []
    ahead = clock_difference(pairs)
    if abs(ahead) > SAME_CLOCK_S:
        notes.append(f"the clock of {outer.name} is {ahead:+.3f} s off that of {inner.name}: its times are moved")
    else:
        ahead = 0.0
    home = _home(pairs)
    topology = Topology((home,), {}, "", "", ("", ""))
    inner = Side(inner.name, [replace(seen, tap=home.lan_tap) for seen in inner.sightings])
    outer = Side(outer.name, [replace(seen, tap=home.wan_tap, time=seen.time - ahead) for seen in outer.sightings])
    sightings = sorted([*inner.sightings, *outer.sightings], key=lambda seen: seen.time)
    drawn = view(Seen(f"{inner.name} and {outer.name}", topology, sightings, notes=notes, join=link))
    _only_what_both_could_see(drawn, home, inner, outer)
    return drawn


def _home(pairs: Iterable[Pair]) -> Home:
    """Return the router and whoever is behind it, by what differs between its two sides."""
    phones: dict[str, str] = {}
    wan: dict[str, None] = {}
    for one, other in pairs:
        for mine, its in ((one.source[0], other.source[0]), (one.destination[0], other.destination[0])):
            if mine != its:
                phones[mine] = mine
                wan[its] = None
    return Home(ROUTER, "", tuple(wan), phones)


def clock_difference(pairs: Iterable[Pair]) -> float:
    """Return by how many seconds the outer clock is ahead of the inner one.

    What goes out takes as long as what comes in: half of the difference between the two is the clocks'.
    """
    outward, inward = [], []
    for inner, outer in pairs:
        if inner.source != outer.source:
            outward.append(outer.time - inner.time)
        elif inner.destination != outer.destination:
            inward.append(inner.time - outer.time)
    if not outward or not inward:  # only one way was seen: nothing came out before it went in
        return min(outward) - TRANSIT_S if outward else TRANSIT_S - min(inward, default=TRANSIT_S)
    return (statistics.median(outward) - statistics.median(inward)) / 2


def _only_what_both_could_see(drawn: schema.View, home: Home, inner: Side, outer: Side) -> None:
    """Say of what is in one capture only that it was lost, where the other one was running; nothing else is known."""
    for call in drawn["calls"]:
        for arrow in call["arrows"]:
            if not arrow["lost"]:
                continue
            is_inside = arrow["sights"][-1]["tap"] == home.lan_tap
            began, ended = (outer if is_inside else inner).span
            words = ("inside", "outside") if is_inside else ("outside", "inside")
            during = began <= arrow["time"] <= ended
            arrow["lost"] = f"seen {words[0]} the router, and not {words[1]}" if during else ""
        if not any(arrow["lost"] for arrow in call["arrows"]) and call["state"] != "failed":
            call["verdict"] = ""


def link(journeys: Iterable[Journey]) -> None:
    """Whoever received a message and sent it on made the one of the other: proxies that nobody told us of."""
    for journey in journeys:
        for number, leg in enumerate(journey.legs):
            if leg.before is not None:
                continue
            received = [one for one in journey.legs[:number] if one.seen.destination[0] == leg.seen.source[0]]
            if received:
                leg.before, leg.by = received[-1], leg.seen.source[0]
