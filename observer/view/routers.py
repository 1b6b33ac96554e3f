"""Routers on the time line: the mappings of the phones' ports for SIP, what kept them open, and what was done."""

from __future__ import annotations

from collections.abc import Iterable

from observer.decode import Address, Sighting
from observer.history import FORGETTING, TOGETHER_S, Event, History
from observer.topology import Home, Topology
from observer.view import schema

CREATED, REFRESHED, EXPIRED, FORGOTTEN, REBOUND, VERB = (
    "created", "refreshed", "expired", "forgotten", "rebound", "verb"
)  # fmt: skip
NEARLY = 0.5  # of its lifetime: a packet that comes later has kept the mapping alive


def watch(
    home: Home, history: History, sightings: Iterable[Sighting], topology: Topology, kind: str
) -> tuple[schema.Router, list[schema.Event]]:
    """Return what a router remembers of the phones' SIP, and what happened to it, in the order of time."""
    there = [seen for seen in sightings if topology.home_at(seen.tap) is home]
    lifetime = float(history.profile.get("lifetime", 0))
    events: list[schema.Event] = []
    mappings: list[schema.Mapping] = []
    public: dict[tuple[str, Address], Address] = {}  # what a private port was last seen as
    ports = {seen.source for seen in there if seen.is_sip and _is_inside(seen, home, topology)}
    for event in history.events:
        if event["event"] == "verb":
            events.append(_event(home, event, VERB, f"{event['verb']}: {event['text']}"))
            continue
        private, outer = ((str(event[side][0]), int(event[side][1])) for side in ("private", "public"))
        if private not in ports:
            continue
        ports.add(outer)  # what the home's router sends, its provider's translates once more
        pair = f"{_text(private)} → {_text(outer)} ({event['transport']})"
        key = (event["transport"], private)
        if event["event"] == "mapping-created":
            moved = key in public and public[key] != outer
            what, words = (REBOUND, "is made anew, with another port") if moved else (CREATED, "is made")
            events.append(_event(home, event, what, f"mapping {pair} {words}"))
            public[key] = outer
            mappings.append(_mapping(event, private, outer))
        else:
            _end(mappings, event, private, outer)
            events.append(_event(home, event, *_how(history, event, pair)))
    events += _keep(mappings, there, home, lifetime)
    events.sort(key=lambda event: event["time"])
    return {"lane": home.router, "kind": kind, "lifetime": lifetime, "mappings": mappings}, events


def _is_inside(seen: Sighting, home: Home, topology: Topology) -> bool:
    return seen.tap == home.lan_tap and topology.name(seen.source[0], seen.tap) in home.phones


def _event(home: Home, event: Event, what: str, text: str) -> schema.Event:
    return {"time": event["time"], "lane": home.router, "event": what, "text": text}  # type: ignore[typeddict-item]


def _mapping(event: Event, private: Address, public: Address) -> schema.Mapping:
    return {
        "transport": event["transport"], "private": _text(private), "public": _text(public), "made": event["time"],
        "used": event["time"], "ended": 0.0,
    }  # fmt: skip


def _end(mappings: list[schema.Mapping], event: Event, private: Address, public: Address) -> None:
    for mapping in reversed(mappings):
        if (mapping["private"], mapping["public"]) == (_text(private), _text(public)) and not mapping["ended"]:
            mapping["ended"] = event["time"]
            return


def _how(history: History, event: Event, pair: str) -> tuple[str, str]:
    near = history.verbs(FORGETTING, event["time"] - TOGETHER_S, event["time"] + TOGETHER_S)
    if near:
        return FORGOTTEN, f"mapping {pair} is forgotten: `{near[-1]['verb']}`"
    return EXPIRED, f"mapping {pair} has expired"


def _keep(
    mappings: list[schema.Mapping], there: list[Sighting], home: Home, lifetime: float
) -> list[schema.Event]:  # fmt: skip
    """Note when each mapping was last used; return when one was that had lost half of its life or more."""
    found: list[schema.Event] = []
    for mapping in mappings:
        ends = (mapping["private"], mapping["public"])
        for seen in there:
            if seen.time < mapping["made"] or (mapping["ended"] and seen.time > mapping["ended"]):
                continue
            if _text(seen.source) not in ends and _text(seen.destination) not in ends:
                continue
            left = lifetime - (seen.time - mapping["used"])
            if mapping["transport"] == "udp" and 0 < left <= lifetime * NEARLY:
                words = f"mapping {' → '.join(ends)} (udp) is refreshed: {left:.1f} of {lifetime:.0f} s were left"
                found.append({"time": seen.time, "lane": home.router, "event": "refreshed", "text": words})
            mapping["used"] = max(mapping["used"], seen.time)
    return found


def _text(address: Address) -> str:
    return "%s:%d" % address
