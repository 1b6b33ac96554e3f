"""The ladder: one lane for everybody, one arrow a packet, under it what was changed by whoever sent it on, and between
the arrows what the routers did. Sound is one arrow from hop to hop.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from observer.decode import Address, Sighting
from observer.history import Event, History
from observer.story import Journey, Leg
from observer.topology import ISP_INSIDE, ISP_OUTSIDE, Topology
from observer.unheard import Hop
from observer.whereabouts import Surroundings, ends

LANE_WIDTH = 28
TIME_WIDTH = 9
MARGIN = " " * (TIME_WIDTH + 2)


def draw(journeys: list[Journey], around: Surroundings, sound: Sequence[Hop] = ()) -> str:
    """Return the ladder of these journeys as text, with the hops of what was said in these calls."""
    legs = [leg for journey in journeys for leg in journey.legs]
    if not legs:
        return "no SIP message was seen at any tap\n"
    start = min(leg.seen.time for leg in legs)
    lanes = _lanes([*legs, *(hop.leg for hop in sound)], around.topology)
    lost = {id(loss.leg): loss.text for journey in journeys for loss in around.losses(journey)}
    rows = [(leg.seen.time, _packet(leg.seen.time - start, leg, lanes, lost, around.topology)) for leg in legs]
    rows += [(hop.leg.seen.time, _hop(hop.leg.seen.time - start, hop, lanes, around.topology)) for hop in sound]
    rows += [
        (event["time"], [f"{event['time'] - start:{TIME_WIDTH}.4f}  · {text}"])
        for event, text in _events(journeys, around)
        if event["time"] >= start
    ]
    rows.sort(key=lambda row: row[0])
    lines = _head(lanes, around.topology) + [line for _, row in rows for line in row]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _packet(moment: float, leg: Leg, lanes: list[str], lost: Mapping[int, str], topology: Topology) -> list[str]:
    arrow = _arrow(lanes, *ends(leg, topology), _label(leg.seen))
    cross = [f"{MARGIN}✗ {lost[id(leg)]}"] if id(leg) in lost else []
    return [f"{moment:{TIME_WIDTH}.4f}  {arrow}", *_explain(leg), *cross]


def _hop(moment: float, hop: Hop, lanes: list[str], topology: Topology) -> list[str]:
    arrow = _arrow(lanes, *ends(hop.leg, topology), f"audio: {hop.count} packets")
    lost = f"{hop.lost} of them lost" if hop.loss is None else hop.loss.text
    return [f"{moment:{TIME_WIDTH}.4f}  {arrow}", *_explain(hop.leg), *([f"{MARGIN}✗ {lost}"] if hop.lost else [])]


def _events(journeys: list[Journey], around: Surroundings) -> list[tuple[Event, str]]:
    """Return what was done to the routers, and what became of the mappings of the phones' SIP ports, in words."""
    found = []
    for home in around.topology.homes:
        history = around.histories.get(home.router, History(home.router))
        whose = "router" if len(around.topology.homes) == 1 else f"router {home.router}"
        ports = {
            leg.seen.source
            for journey in journeys
            for leg in journey.legs
            if leg.seen.tap == home.lan_tap and around.topology.name(leg.seen.source[0], home.lan_tap) in home.phones
        }
        found += [(event, f"{whose}: {text}") for event, text in _of_router(history, ports)]
    return found


def _of_router(history: History, ports: set[Address]) -> Iterable[tuple[Event, str]]:
    for event in history.events:
        if event["event"] == "verb":
            yield event, f"{event['verb']}: {event['text']}"
            continue
        private, public = (tuple(event[side]) for side in ("private", "public"))
        if private in ports:
            ports = ports | {public}  # what the home's router sends, its provider's translates once more
            what = "is made" if event["event"] == "mapping-created" else "is forgotten"
            yield event, f"mapping %s:%d → %s:%d {what} ({event['transport']})" % (*private, *public)


def _lanes(legs: Iterable[Leg], topology: Topology) -> list[str]:
    met = {name for leg in legs for name in ends(leg, topology)}
    usual = [lane for lane in topology.lanes if lane in met or lane != "core"]
    return usual + sorted(met - set(topology.lanes))


def _head(lanes: list[str], topology: Topology) -> list[str]:
    addresses = {**topology.public, "proxy": topology.proxy, "core": topology.core}
    for home in topology.homes:
        addresses |= {name: home.own(name) for name in home.phones}
        outer = ISP_OUTSIDE if home.layers > 1 else home.wan[0]
        addresses |= {home.router: f"{home.lan} | {outer}", home.isp: f"{ISP_INSIDE} | {home.wan[0]}"}
    names = "".join(f"{lane:<{LANE_WIDTH}}" for lane in lanes)
    return [MARGIN + names, MARGIN + "".join(f"{addresses.get(lane, ''):<{LANE_WIDTH}}" for lane in lanes)]


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
        lines.append(f"{MARGIN}    {who:<{max(6, len(leg.by) + 1)}} {shorten(change)}")
    return lines


def shorten(text: str) -> str:
    """Cut signatures and branches: in the ladder they would hide what they sign. story.json has them whole."""
    return re.sub(r"([=.][A-Za-z0-9_-]{8})[A-Za-z0-9_-]{8,}(?:[.-][A-Za-z0-9_-]+)*", r"\1…", text)
