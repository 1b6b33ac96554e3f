"""Rows: what the drawings put below one another. What a router passed on stands in the row of what it received."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from observer.view import schema

MOST_CALLS = 4  # calls beside the registrations: fifty ladders on one picture help nobody. The page has them all


_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


def clean(text: str) -> str:
    """Return text of one line in which nothing commands a terminal, breaks XML, or turns the line around."""
    return _UNSEEN.sub(lambda sign: f"\\x{ord(sign[0]):02x}", text)


@dataclass(slots=True)
class Row:
    """One row: arrows of one message through a router or more, or an event, or keep-alives that are folded, or a stream
    of RTP as each tap saw it."""

    time: float
    arrows: list[schema.Arrow] = field(default_factory=list)
    event: schema.Event | None = None
    folded: list[str] = field(default_factory=list)  # the methods of so many keep-alives
    stream: list[schema.Media] = field(default_factory=list)
    tag: int = 0  # which transaction, as they are numbered in this drawing

    @property
    def translation(self) -> str:
        """What routers made of its addresses."""
        changes = [each for arrow in self.arrows if arrow["crossing"] for each in arrow["changes"]]
        return ", ".join(f"{each['before']} → {each['after']}" for each in changes if each["kind"] == "address")

    @property
    def kept(self) -> str:
        """What is folded."""
        return f"{len(self.folded)} keep-alives ({', '.join(sorted(set(self.folded)))})"

    @property
    def heard(self) -> str:
        """What came of a stream at its end."""
        first, last = self.stream[0], self.stream[-1]
        lost = max(first["packets"] - last["packets"], last["lost"])
        return f"RTP {last['payload']}: {last['packets']} packets, {lost} lost, jitter {last['jitter']:.1f} ms"

    @property
    def wrong(self) -> list[str]:
        """What is to be said of it in red."""
        found = [f"✗ {arrow['lost']}" for arrow in self.arrows if arrow["lost"]]
        found += [f"! {each['check']}: {each['text']}" for arrow in self.arrows for each in arrow["failed"]]
        return list(dict.fromkeys(found))


def rows(view: schema.View, calls: Iterable[schema.Call] | None = None) -> list[Row]:
    """Return the rows of these calls, or of those that are worth drawing, in the order of time."""
    chosen = list(worth_drawing(view) if calls is None else calls)
    found = [row for call in chosen for row in _of_call(call)]
    times = [row.time for row in found]
    found += [Row(event["time"], event=event) for event in view["events"] if _is_near(event["time"], times)]
    found += [row for row in streams(view) if times and min(times) <= row.time <= max(times)]
    found.sort(key=lambda row: row.time)
    tags: dict[tuple[str, int], int] = {}
    for row in found:
        if row.arrows:
            first = row.arrows[0]
            row.tag = tags.setdefault((first["call"], first["transaction"]), len(tags))
    return list(_folded(found))


def streams(view: schema.View) -> list[Row]:
    """Return a row for each stream of RTP, from where the first tap saw it to where the last one did.

    A phone may use its SSRC again, and both may use the same: what goes on is the same packets at another tap, or what
    a router or a proxy made of them.
    """
    passing = {lane["name"] for lane in view["lanes"] if lane["kind"] in ("router", "proxy")}
    found: list[Row] = []
    for media in view["media"]:
        row = next((row for row in reversed(found) if _goes_on(row.stream, media, passing)), None)
        if row is None:
            row = Row(media["start"])
            found.append(row)
        row.stream.append(media)
    return found


def _goes_on(stream: list[schema.Media], media: schema.Media, passing: set[str]) -> bool:
    last = stream[-1]
    if last["ssrc"] != media["ssrc"] or media["start"] > last["end"] + 1:
        return False
    same = (last["source"], last["destination"]) == (media["source"], media["destination"])
    by = media["origin"]["lane"]
    returns = media["destination"] in [each["source"] for each in stream]
    return same or (last["target"]["lane"] == by and by in passing and not returns)


def worth_drawing(view: schema.View) -> list[schema.Call]:
    """Return registrations and the like, and the first few calls."""
    invites = [call["id"] for call in view["calls"] if call["method"] == "INVITE"]
    left_out = set(invites[MOST_CALLS:])
    return [call for call in view["calls"] if call["id"] not in left_out]


def _of_call(call: schema.Call) -> list[Row]:
    found: list[Row] = []
    at: dict[str, Row] = {}
    for arrow in call["arrows"]:
        row = at.get(arrow["before"]) if arrow["crossing"] else None
        if row is None:
            row = Row(arrow["time"])
            found.append(row)
        row.arrows.append(arrow)
        at[arrow["id"]] = row
    return found


def _is_near(time: float, times: list[float]) -> bool:
    return not times or min(times) - 1 <= time <= max(times) + 1


def _folded(found: Iterable[Row]) -> Iterator[Row]:
    last: Row | None = None
    for row in found:
        if not row.arrows or not row.arrows[0]["is_keepalive"]:
            last = None
            yield row
        elif last is None:
            last = Row(row.time, folded=[row.arrows[0]["method"]])
            yield last
        else:
            last.folded.append(row.arrows[0]["method"])
