"""Lanes: who stands beside whom, and which side of a router a packet touches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from observer.story import Leg
from observer.topology import ISP_INSIDE, ISP_OUTSIDE, Home, Topology
from observer.view import schema

PHONE, ROUTER, PROXY, CORE, HOST = "phone", "router", "proxy", "core", "host"
LAN, ISP, INTERNET = "lan", "isp", "internet"
INSIDE, OUTSIDE = 0, 1  # of a router's two edges, as long as its home stands to the left of it


@dataclass(slots=True)
class Places:
    """The topology as lanes."""

    topology: Topology

    def lanes(self, met: Iterable[str]) -> list[schema.Lane]:
        """Return the lanes of the topology, and of whoever else was met; `core` only where it was. Of captures from
        elsewhere, only who was met."""
        found = dict.fromkeys(met)
        is_ours = bool(self.topology.proxy)
        known = self.topology.lanes if self.topology.homes else ()
        usual = [lane for lane in known if lane in found or (is_ours and lane != CORE)]
        return [self._lane(name) for name in dict.fromkeys([*usual, *found])]

    def kind(self, lane: str) -> str:
        """Say what stands there."""
        if self.topology.behind(lane):
            return ROUTER
        if lane in (PROXY, CORE):
            return lane
        return PHONE if lane in self.topology.phones else HOST

    def end(self, lane: str, leg: Leg) -> schema.End:
        """Return where at a lane a packet begins or ends."""
        return {"lane": lane, "edge": self.edge(lane, leg.sightings[0].tap)}

    def edge(self, lane: str, tap: str) -> int:
        """Return which of a lane's edges what was seen at this tap touches."""
        home = self.topology.behind(lane)
        if home is None:
            return 0
        inside = tap == home.lan_tap or tap in home.phones or (tap == home.isp_tap and lane == home.isp)
        return INSIDE if inside != self._is_mirrored(home) else OUTSIDE

    def _is_mirrored(self, home: Home) -> bool:
        """Say whether this home stands to the right of its router: every home but the first does."""
        return home is not self.topology.homes[0]

    def _lane(self, name: str) -> schema.Lane:
        kind = self.kind(name)
        home = self.topology.behind(name)
        only: schema.Edge = {"name": "", "address": self._address(name)}
        edges = [only] if home is None else self._edges(name, home)
        return {"name": name, "kind": kind, "edges": edges}  # type: ignore[typeddict-item]

    def _edges(self, name: str, home: Home) -> list[schema.Edge]:
        inside: schema.Edge = {"name": LAN, "address": home.lan}
        outside: schema.Edge = {"name": INTERNET, "address": home.wan[0]}
        if home.layers > 1 and name == home.router:
            outside = {"name": ISP, "address": ISP_OUTSIDE}
        elif name == home.isp:
            inside = {"name": ISP, "address": ISP_INSIDE}
        return [outside, inside] if self._is_mirrored(home) else [inside, outside]

    def _address(self, name: str) -> str:
        known = {**self.topology.public, PROXY: self.topology.proxy, CORE: self.topology.core}
        for home in self.topology.homes:
            known |= {phone: home.own(phone) for phone in home.phones}
        return known.get(name, name)
