"""Arrows: the packets of a story between the lanes, with what was changed in each, by whom, and why."""

from __future__ import annotations

import re
from collections.abc import Iterable

from observer.changes import ADDRESS, Change, differences
from observer.decode import Sighting
from observer.story import Journey, Leg
from observer.topology import Home
from observer.view import explain, schema
from observer.view.keepalives import METHOD
from observer.view.lanes import PROXY, ROUTER, Places
from observer.whereabouts import Surroundings, ends

MOST_TEXT = 100_000  # characters of a message


def arrows(
    journeys: Iterable[Journey], around: Surroundings, places: Places, first: int, settled: float
) -> list[schema.Arrow]:  # fmt: skip
    """Return the arrows of one call's journeys, in the order of time. Their journeys are numbered from `first`.

    What was seen after `settled` may yet go further, and is not lost.
    """
    transactions: dict[tuple[object, ...], int] = {}
    copies: dict[tuple[object, ...], int] = {}
    found = []
    for number, journey in enumerate(journeys, first):
        seen = journey.first
        of = (seen.cseq, "INVITE" if seen.method == "ACK" else seen.method, *seen.branches[-1:])
        copy = (*of, seen.method, seen.status, seen.source if seen.status == 100 else "")
        copies[copy] = copies.get(copy, -1) + 1 if seen.is_sip else 0  # a keep-alive is never sent again
        # Whether line ends were passed on nobody can say: by a new port of the router they are any flow's.
        losses = around.losses(journey) if seen.time <= settled and not seen.crlf else []
        lost = {id(loss.leg): loss.text for loss in losses}
        names = {id(leg): f"{number}.{place}" for place, leg in enumerate(journey.legs)}
        for leg in journey.legs:
            arrow = _arrow(leg, places, around)
            arrow["id"], arrow["journey"] = names[id(leg)], number
            arrow["before"] = names[id(leg.before)] if leg.before else ""
            arrow["transaction"] = transactions.setdefault(of, len(transactions))
            arrow["copy"] = copies[copy]
            arrow["lost"] = lost.get(id(leg), "")
            found.append(arrow)
    return sorted(found, key=lambda arrow: arrow["time"])


def _arrow(leg: Leg, places: Places, around: Surroundings) -> schema.Arrow:
    seen = leg.seen
    home = around.topology.behind(leg.by) if leg.by else None
    origin, target = ends(leg, around.topology)
    return {
        "id": "", "call": seen.call_id, "journey": 0, "time": seen.time,
        "origin": places.end(origin, leg), "target": places.end(target, leg),
        "transport": seen.transport, "source": "%s:%d" % seen.source, "destination": "%s:%d" % seen.destination,
        "label": label(seen), "method": seen.method, "status": seen.status, "transaction": 0, "copy": 0,
        "before": "", "by": leg.by, "crossing": leg.before is not None and _is_router(leg, places, home),
        "sights": [{"tap": each.tap, "time": each.time} for each in leg.sightings],
        "text": text(seen), "changes": [_explained(each, leg, places, home) for each in _changes(leg)],
        "lost": "", "failed": [], "is_keepalive": False,
    }  # fmt: skip


def _is_router(leg: Leg, places: Places, home: Home | None) -> bool:
    return home is not None or places.kind(leg.by) == ROUTER


def _changes(leg: Leg) -> list[Change]:
    return differences(leg.before.seen, leg.seen) if leg.before else []


def _explained(change: Change, leg: Leg, places: Places, home: Home | None) -> schema.Change:
    if _is_router(leg, places, home):
        who = explain.ROUTER if change.kind == ADDRESS else explain.ALG
        by = who
    else:
        who = explain.PROXY  # whoever forwards SIP does what a proxy does
        by = who if places.kind(leg.by) == PROXY else leg.by
    of = explain.RESPONSE if leg.seen.status else explain.REQUEST
    why, rfc = explain.explain(change, who, of)
    return {
        "kind": change.kind, "name": change.name, "before": change.before, "after": change.after, "by": by,
        "why": why, "rfc": rfc,
    }  # fmt: skip


def label(seen: Sighting) -> str:
    """Return what stands on an arrow: INVITE bob; 180 Ringing (INVITE); CRLF CRLF."""
    if seen.crlf:
        return " ".join([METHOD] * seen.crlf)
    if seen.is_request:
        user = re.match(r"sips?:([^@;]+)@", seen.request_uri)
        return f"{seen.method} {user[1]}" if user else seen.method
    return f"{seen.first_line.removeprefix('SIP/2.0 ')} ({seen.method})"


def text(seen: Sighting) -> str:
    """Return the message as it was on the wire, each line ended by one character; a very long one is cut."""
    if seen.crlf:
        return label(seen)
    whole = "\n".join([seen.first_line, *seen.headers, "", seen.body.replace("\r\n", "\n")])
    if len(whole) > MOST_TEXT:
        whole = f"{whole[:MOST_TEXT]}\n… and {len(whole) - MOST_TEXT} characters more"
    return whole
