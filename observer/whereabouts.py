"""Where a packet came from and went to, by the names of the lanes; and where it went no further although it should."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from observer.decode import Sighting
from observer.history import DROPPED, FILTERED, Fate, History
from observer.story import Journey, Leg
from observer.topology import Home, Topology

# Lost there; at a router's outer side; at its inner side; at a port of a phone's by which nobody speaks.
INTERNET, OUTSIDE, INSIDE, DEAF = "internet", "outside", "inside", "deaf"


@dataclass(slots=True, frozen=True)
class Loss:
    """A packet that went no further: where, at which lane, and why, in words."""

    leg: Leg
    place: str
    lane: str
    text: str
    fate: Fate | None = None


@dataclass(slots=True)
class Surroundings:
    """What it takes to say where a packet was lost."""

    topology: Topology
    histories: Mapping[str, History]  # by the router's name
    sightings: list[Sighting]  # of all taps, in the order of time
    _known: dict[int, list[Loss]] = field(default_factory=dict)  # by the identity of the journey
    _spoken: dict[str, set[int]] = field(default_factory=dict)  # the UDP ports from which each phone has sent SIP

    def __post_init__(self) -> None:
        """Learn by which ports the phones speak."""
        for seen in self.sightings:
            name = self.topology.name(seen.source[0], seen.tap)
            if seen.is_sip and seen.transport == "udp" and name in self.topology.phones:
                self._spoken.setdefault(name, set()).add(seen.source[1])

    def losses(self, journey: Journey) -> list[Loss]:
        """Return where this message went no further although it should have."""
        if id(journey) not in self._known:
            went_on = [id(leg.before) for leg in journey.legs]
            found = [self.loss(leg) for leg in journey.legs if id(leg) not in went_on]
            self._known[id(journey)] = [loss for loss in found if loss]
        return self._known[id(journey)]

    def loss(self, leg: Leg) -> Loss | None:
        """Return where and why this packet, which nobody made another of, was lost; None where it was not."""
        _, target = ends(leg, self.topology)
        last = leg.sightings[-1]
        address = "%s:%d" % last.destination
        if target == "core":
            return Loss(leg, INTERNET, target, f"{address} is nowhere on the Internet: dropped")
        home = self.topology.behind(target)
        if home is None:
            return self._deaf(leg, target)
        if _comes_from_inside(last, home, self.topology):
            return Loss(leg, INSIDE, target, self._kept_inside(last, home, target))
        if self.topology.is_public_tap(last.tap) and last.tap != home.wan_tap:
            return Loss(leg, INTERNET, target, f"nobody has {address} now: dropped{self._moved(last, home)}")
        if not home.translates:
            return Loss(leg, OUTSIDE, target, f"the router did not pass it on{self._impaired(home, last)}")
        if home.router not in self.histories:
            return Loss(leg, OUTSIDE, target, f"the router has no mapping for {address}: dropped")
        there = [seen for seen in self.sightings if seen.tap == last.tap]
        fate = self.histories[home.router].fate(last, there)
        return Loss(leg, OUTSIDE, target, _refusal(last, fate), fate)

    def _deaf(self, leg: Leg, target: str) -> Loss | None:
        """Phones listen where they speak from, and nowhere else: what is sent to another port they do not hear."""
        address, port = leg.seen.destination
        spoken = self._spoken.get(target, set())
        if not spoken or port in spoken or leg.seen.transport != "udp" or leg.seen.is_media:
            return None
        own = " and ".join(map(str, sorted(spoken)))
        return Loss(leg, DEAF, target, f"nobody listens at {address}:{port}: the phone speaks from {own}")

    def _kept_inside(self, last: Sighting, home: Home, target: str) -> str:
        if last.destination[0] in home.wan:
            return "the router does not bring it back in: no hairpin"
        whose = "the provider's router" if target == home.isp else "the router"
        history = self.histories.get(home.router, History(home.router))
        why = history.bar(last, "out") or history.starvation(last)
        return f"{whose} did not pass it on{f': {why}' if why else self._impaired(home, last)}"

    def _moved(self, last: Sighting, home: Home) -> str:
        history = self.histories.get(home.router, History(home.router))
        done = history.verbs(("change-ip",), until=last.time)
        return f": `change-ip` {last.time - done[-1]['time']:.1f} s before" if done else ""

    def _impaired(self, home: Home, last: Sighting) -> str:
        history = self.histories.get(home.router, History(home.router))
        why = history.muting(last, "in") or history.impairment(last)
        return f": {why}" if why else ""


def ends(leg: Leg, topology: Topology) -> tuple[str, str]:
    """Return the names of the two lanes that a packet went between."""
    first, last = leg.sightings[0], leg.sightings[-1]
    home = topology.home_at(first.tap)
    origin = topology.name(first.source[0], first.tap)
    if home is not None and first.tap == home.lan_tap and origin not in home.phones:
        origin = home.router  # it came through the router, whoever sent it
    elif home is not None and first.tap == home.isp_tap and origin != home.router:
        origin = home.isp
    return origin, _target(leg, last, topology)


def _target(leg: Leg, last: Sighting, topology: Topology) -> str:
    target = topology.name(last.destination[0], last.tap)
    home = topology.home_at(last.tap)
    if home is not None and last.tap == home.lan_tap:
        return target if target in home.phones and not _comes_from_inside(last, home, topology) else home.router
    if home is not None and last.tap == home.isp_tap:
        return home.isp if _comes_from_inside(last, home, topology) else home.router
    if home is not None and target in home.phones:  # a public number of its own, that stands behind the router
        return home.router
    return "core" if topology.is_private(last.destination[0]) and "core" in leg.taps else target


def _comes_from_inside(seen: Sighting, home: Home, topology: Topology) -> bool:
    """Say whether this packet stands before the router on the way out."""
    if seen.tap == home.lan_tap:
        return topology.name(seen.source[0], seen.tap) in home.phones
    return seen.tap == home.isp_tap and topology.name(seen.source[0], seen.tap) == home.router


def _refusal(last: Sighting, fate: Fate) -> str:
    address = "%s:%d" % last.destination
    if fate.code == FILTERED:
        return f"the router lets in at {address} only whom the phone has sent to from there: not %s:%d" % last.source
    if fate.code == DROPPED:
        return f"the router did not pass it on{': ' if fate.text else ''}{fate.text}"
    return f"the router has no mapping for {address}: {fate.text}"
