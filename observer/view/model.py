"""The view of a call, made of what was seen: sightings, and what routers and judge say where there are any."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from observer.decode import Sighting
from observer.history import History
from observer.story import Journey, tell
from observer.topology import Topology
from observer.view import calls, routers, schema
from observer.view.arrows import arrows
from observer.view.keepalives import METHOD, Flows
from observer.view.lanes import PROXY, Places
from observer.whereabouts import Surroundings

Judged = Mapping[str, Any]  # verdict.json
WORKS = "works"  # a fact that is none of what went wrong


@dataclass(slots=True)
class Seen:
    """Everything that a view is made of."""

    title: str
    topology: Topology
    sightings: list[Sighting]  # of all taps, in the order of time
    histories: Mapping[str, History] = field(default_factory=dict)  # by the router's name
    kinds: Mapping[str, str] = field(default_factory=dict)  # what each router is called
    judged: Judged = field(default_factory=dict)
    media: list[schema.Media] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    live: bool = False
    settled: float = math.inf  # what was seen later may yet go further: it is not lost
    join: Callable[[list[Journey]], None] = lambda _: None  # what else is known of who made what

    def journeys(self) -> list[Journey]:
        """Return what the sightings tell: messages, and keep-alives after them."""
        told = tell(self.sightings, self.topology)
        self.join(told)
        kept_alive = tell(Flows(self.topology).in_order(told, self.sightings), self.topology)
        self.join(kept_alive)
        return told + kept_alive


def view(seen: Seen) -> schema.View:
    """Return the view of what was seen."""
    around = Surroundings(seen.topology, seen.histories, seen.sightings)
    by_call: dict[str, list[Journey]] = {}
    for journey in seen.journeys():
        by_call.setdefault(journey.first.call_id, []).append(journey)
    found = []
    first = 0
    for journeys in by_call.values():
        found.append(one_call(journeys, seen, around, first))
        first += len(journeys)
    return document(seen, found)


def empty() -> schema.View:
    """Return the view of a lab in which nothing was seen yet."""
    return document(Seen("", Topology((), {}, "", "", ("", "")), [], live=True), [])


def document(seen: Seen, found: list[schema.Call]) -> schema.View:
    """Return the view with these calls in it."""
    remembered, events = _routers(seen)
    every = [arrow for call in found for arrow in call["arrows"]]
    met = [end["lane"] for drawn in (*every, *seen.media) for end in (drawn["origin"], drawn["target"])]
    start = min((arrow["time"] for arrow in every), default=min((event["time"] for event in events), default=0.0))
    judged = seen.judged
    return {
        "version": schema.VERSION, "title": seen.title, "start": start,
        "end": max((arrow["time"] for arrow in every), default=start), "live": seen.live,
        "lanes": Places(seen.topology).lanes(met), "calls": found,
        "events": [event for event in events if event["time"] >= start], "routers": remembered, "media": seen.media,
        "verdict": judged.get("verdict", ""), "without": judged.get("without", []),
        "checks": [
            {"name": check["name"], "result": check["result"], "evidence": check["evidence"]}
            for check in judged.get("checks", [])
        ],
        "facts": _happened(judged),
        "notes": seen.notes,
    }  # fmt: skip


def _happened(judged: Judged) -> list[str]:
    if judged.get("verdict", "pass") == "pass":
        return []
    return [fact["text"] for fact in judged["facts"] if fact["code"] != WORKS]


def one_call(journeys: Sequence[Journey], seen: Seen, around: Surroundings, first: int = 0) -> schema.Call:
    """Return one call with its arrows. Its journeys are numbered from `first`."""
    places = Places(seen.topology)
    drawn = arrows(journeys, around, places, first, seen.settled)
    made = calls.call(journeys, drawn, _nat(drawn, seen))
    made["arrows"] = drawn
    _fail(drawn, seen.judged)
    if _is_keepalive(made, places):
        for arrow in drawn:
            arrow["is_keepalive"] = True
    if any(arrow["failed"] or arrow["lost"] for arrow in drawn) or made["state"] == calls.FAILED:
        made["verdict"] = "fail"
    elif seen.judged or seen.live:
        made["verdict"] = "pass" if made["state"] in (calls.DONE, calls.ENDED, calls.UP) else ""
    return made


def _nat(drawn: Iterable[schema.Arrow], seen: Seen) -> str:
    """Return the kinds of the routers that a call came through, from left to right."""
    met = {end["lane"] for arrow in drawn for end in (arrow["origin"], arrow["target"])}
    return ", ".join(seen.kinds[home.router] for home in seen.topology.homes if home.router in met & seen.kinds.keys())


def _fail(drawn: Iterable[schema.Arrow], judged: Judged) -> None:
    """Put each failed check at the packets that failed it."""
    at: dict[tuple[str, float], list[schema.Failure]] = {}
    for check in judged.get("checks", []):
        for tap, time, text in check.get("packets", []):
            failure: schema.Failure = {"check": check["name"], "text": text}
            if failure not in at.setdefault((tap, time), []):
                at[tap, time].append(failure)
    for arrow in drawn if at else ():
        for sight in arrow["sights"]:
            for failure in at.get((sight["tap"], sight["time"]), ()):
                if failure not in arrow["failed"]:
                    arrow["failed"].append(failure)


def _is_keepalive(made: schema.Call, places: Places) -> bool:
    """Say whether these are line ends, or OPTIONS by which the proxy keeps a phone's mapping open."""
    return made["method"] == METHOD or (made["method"] == "OPTIONS" and places.kind(made["caller"]) == PROXY)


def _routers(seen: Seen) -> tuple[list[schema.Router], list[schema.Event]]:
    found, events = [], []
    for home in seen.topology.homes:
        history = seen.histories.get(home.router)
        if history is not None:
            router, happened = routers.watch(
                home, history, seen.sightings, seen.topology, seen.kinds.get(home.router, "")
            )
            found.append(router)
            events += happened
    return found, sorted(events, key=lambda event: event["time"])
