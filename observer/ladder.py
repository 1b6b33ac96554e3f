"""The ladder: one lane for everybody, one arrow a packet, and under it what was changed by whoever sent it on."""

from __future__ import annotations

import re
from collections.abc import Iterable

from observer.decode import Sighting
from observer.story import Journey, Leg
from observer.topology import LANES, Topology

LANE_WIDTH = 28
TIME_WIDTH = 9
MARGIN = " " * (TIME_WIDTH + 2)


def draw(journeys: list[Journey], topology: Topology) -> str:
    """Return the ladder of these journeys as text."""
    arrows = [(leg.seen.time, journey, leg) for journey in journeys for leg in journey.legs]
    if not arrows:
        return "no SIP message was seen at any tap\n"
    arrows.sort(key=lambda arrow: arrow[0])
    start = arrows[0][0]
    lanes = _lanes((leg for _, _, leg in arrows), topology)
    lines = _head(lanes, topology)
    for time, journey, leg in arrows:
        origin, target = ends(leg, topology)
        label = _label(leg.seen)
        lines.append(f"{time - start:{TIME_WIDTH}.4f}  {_arrow(lanes, origin, target, label)}")
        lines += _explain(leg)
        if leg is journey.legs[-1]:
            lost = whereabouts(journey, topology)
            if lost:
                lines.append(f"{MARGIN}✗ {lost}")
    return "\n".join(line.rstrip() for line in lines) + "\n"


def ends(leg: Leg, topology: Topology) -> tuple[str, str]:
    """Return the names of the two lanes that a packet went between."""
    seen = leg.seen
    if "nat-lan" in leg.taps:
        outbound = topology.name(seen.source[0]) == "alice"
        return ("alice", "nat") if outbound else ("nat", topology.name(seen.destination[0]))
    target = topology.name(seen.destination[0])
    if topology.is_private(seen.destination[0]) and "core" in leg.taps:
        target = "core"
    return topology.name(seen.source[0]), target


def whereabouts(journey: Journey, topology: Topology) -> str:
    """Return where a message went no further although it should have, or an empty string."""
    last = journey.legs[-1].seen
    origin, target = ends(journey.legs[-1], topology)
    address = "%s:%d" % last.destination
    if target == "core":
        return f"{address} is nowhere on the Internet: dropped"
    if target == "nat" and origin != "alice":
        return f"the router has no mapping for {address} from {last.source[0]}: dropped"
    if target == "nat":
        return "the router did not pass it on"
    return ""


def _lanes(legs: Iterable[Leg], topology: Topology) -> list[str]:
    met = {name for leg in legs for name in ends(leg, topology)}
    usual = [lane for lane in LANES if lane in met or lane in ("alice", "nat", "proxy", "bob")]
    return usual + sorted(met - set(LANES))


def _head(lanes: list[str], topology: Topology) -> list[str]:
    addresses = {
        "alice": topology.alice,
        "nat": f"{topology.nat_lan} | {topology.nat_wan}",
        "proxy": topology.proxy,
        "bob": topology.bob,
        "core": topology.core,
    }
    indent = " " * (TIME_WIDTH + 2)
    names = "".join(f"{lane:<{LANE_WIDTH}}" for lane in lanes)
    return [indent + names, indent + "".join(f"{addresses.get(lane, ''):<{LANE_WIDTH}}" for lane in lanes)]


def _arrow(lanes: list[str], origin: str, target: str, label: str) -> str:
    start, end = lanes.index(origin), lanes.index(target)
    cells = []
    low, high = min(start, end), max(start, end)
    width = (high - low) * LANE_WIDTH - 1
    text = f" {label[: width - 6]} " if width > 6 else ""
    bar = f"──{text}".ljust(width - 1, "─") + "▶" if start < end else "◀" + f"──{text}".ljust(width - 1, "─")
    for number in range(len(lanes)):
        if number < low or number >= high:
            cells.append("│".ljust(LANE_WIDTH))
        elif number == low:
            cells.append("│" + bar)
    return "".join(cells)


def _label(seen: Sighting) -> str:
    if seen.is_request:
        user = re.match(r"sips?:([^@;]+)@", seen.request_uri)
        return f"{seen.method} {user[1]}" if user else seen.method
    return f"{seen.first_line.removeprefix('SIP/2.0 ')} ({seen.method})"


def _explain(leg: Leg) -> list[str]:
    lines: list[str] = []
    for change in leg.changes:
        if leg.by == "proxy" and change.startswith("source "):
            continue  # a proxy sends from its own address: no news
        who = f"{leg.by}:" if not lines else ""
        lines.append(f"{MARGIN}    {who:<6} {shorten(change)}")
    return lines


def shorten(text: str) -> str:
    """Cut signatures and branches: in the ladder they would hide what they sign. story.json has them whole."""
    return re.sub(r"([=.][A-Za-z0-9_-]{8})[A-Za-z0-9_-]{8,}(?:[.-][A-Za-z0-9_-]+)*", r"\1…", text)
