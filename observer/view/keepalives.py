"""Keep-alives of line ends alone (RFC 5626 §3.5.1): they name no call, so what they belong to is known by their flow.

The same packet has other addresses on the other side of a router. Which are the same port is learnt from SIP that has
passed there; of a flow in which there was no SIP nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from observer.decode import Address, Sighting
from observer.story import Journey
from observer.topology import Topology

METHOD: Final = "CRLF"

MOST = 10_000  # flows, and ports, that are remembered; then they are learnt anew

End = tuple[str, str, str, int]  # transport, the network (empty for the Internet), address, port


class Flows:
    """Which flows carry SIP, and by which of a router's ports."""

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._inner: dict[End, End] = {}
        self._known: set[frozenset[End]] = set()
        self._names: dict[End, str] = {}

    def learn(self, journeys: Iterable[Journey]) -> None:
        """Take note of the ways that messages went; what is learnt later is what counts."""
        if max(len(self._inner), len(self._known), len(self._names)) > MOST:
            for kept in (self._inner, self._known, self._names):
                kept.clear()
        for journey in journeys:
            for leg in journey.legs:
                if leg.before is not None and self._topology.behind(leg.by):
                    self._translated(leg.before.seen, leg.seen)
            for leg in journey.legs:
                self._known.add(frozenset(self._ends(leg.seen)))

    def _translated(self, before: Sighting, after: Sighting) -> None:
        if before.source != after.source:  # on its way out
            self._inner[self._end(after, after.source)] = self._end(before, before.source)
        if before.destination != after.destination:
            self._inner[self._end(before, before.destination)] = self._end(after, after.destination)

    def marked(self, seen: Sighting) -> Sighting | None:
        """Return a keep-alive as a message of its flow, for `story.tell`; nothing for any other packet."""
        if not seen.crlf:
            return None
        source, destination = ends = self._ends(seen)
        if frozenset(ends) not in self._known:
            return None
        names = [self._names[end] for end in (source, destination)]
        name = f"keep-alive {' — '.join(sorted(names))} ({seen.transport})"
        return replace(seen, call_id=name, method=METHOD, branches=[f"{names[0]} {seen.crlf}"])

    def in_order(self, journeys: Sequence[Journey], sightings: Iterable[Sighting]) -> list[Sighting]:
        """Return the keep-alives among these sightings, marked: each by what had been learnt by then, or was first."""
        self.learn(reversed(journeys))
        told = iter(sorted(journeys, key=lambda journey: journey.first.time))
        following = next(told, None)
        found = []
        for seen in sightings:
            while following is not None and following.first.time <= seen.time:
                self.learn([following])
                following = next(told, None)
            marked = self.marked(seen)
            if marked is not None:
                found.append(marked)
        return found

    def _ends(self, seen: Sighting) -> tuple[End, End]:
        return self._innermost(self._end(seen, seen.source)), self._innermost(self._end(seen, seen.destination))

    def _innermost(self, end: End) -> End:
        passed = {end}
        while end in self._inner and self._inner[end] not in passed:
            end = self._inner[end]
            passed.add(end)
        return end

    def _end(self, seen: Sighting, address: Address) -> End:
        """Return who this is, for everybody: two homes may have the same private addresses."""
        home = self._topology.home_at(seen.tap)
        is_inside = home is not None and seen.tap != home.wan_tap and self._topology.is_private(address[0])
        end = seen.transport, seen.tap if is_inside else "", *address
        if end not in self._names:
            self._names[end] = f"{self._topology.name(address[0], seen.tap)}:{address[1]}"
        return end
