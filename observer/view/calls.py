"""Calls: how far each came, and how long it took, by its messages as the first tap saw them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from observer.decode import Sighting
from observer.story import Journey
from observer.view import schema

TRYING: Final = "trying"
RINGING: Final = "ringing"
UP: Final = "up"
ENDED: Final = "ended"
FAILED: Final = "failed"
DONE: Final = "done"
ASKS_PASSWORD = frozenset((401, 407))
FINAL, OK_BELOW = 200, 300
CANCELLED = 487  # RFC 3261 §21.4.25: what was asked for happened


def call(journeys: Sequence[Journey], arrows: Sequence[schema.Arrow], nat: str) -> schema.Call:
    """Return a call without its arrows: of all journeys with one Call-ID, in the order of time, and their arrows."""
    seen = [journey.first for journey in journeys]
    first = next((one for one in seen if one.is_request), seen[0])
    caller = arrows[0]["origin"]["lane"]
    lost = {arrow["journey"] for arrow in arrows if arrow["lost"]}
    heard = [journey.first for number, journey in enumerate(journeys, arrows[0]["journey"]) if number not in lost]
    state, status, up, down = progress(heard)
    if first.crlf:
        state = DONE
    if lost and state == TRYING:
        state = FAILED
    start, last = seen[0].time, seen[-1].time
    return {
        "id": first.call_id, "method": first.method, "caller": caller,
        "callee": callee(first) or _reached(arrows), "state": state, "status": status, "start": start,
        "duration": (down or last) - up if up else last - start, "nat": nat, "verdict": "", "arrows": [],
    }  # fmt: skip


def progress(seen: Iterable[Sighting]) -> tuple[schema.State, str, float, float]:
    """Return a call's state, its last final answer, and when it was up and when it ended (0: never).

    A call that asks for a password fails, until its sender tries again.
    """
    state: schema.State = TRYING
    status, method, up, down = "", "", 0.0, 0.0
    for one in seen:
        method = method or one.method
        if one.is_request:
            if one.method == "BYE" and up:
                state, down = ENDED, down or one.time
            elif one.method == method and state == FAILED:
                state = TRYING
        elif one.method == method and state not in (UP, ENDED):
            if one.status >= FINAL:
                status = one.first_line.removeprefix("SIP/2.0 ")
            state, up = _answered(state, method, one, up)
    return state, status, up, down


def _answered(state: schema.State, method: str, answer: Sighting, up: float) -> tuple[schema.State, float]:
    if answer.status < FINAL:
        return (RINGING if answer.status > 100 and method == "INVITE" else state), up
    if answer.status < OK_BELOW:
        return (UP, up or answer.time) if method == "INVITE" else (DONE, up)
    return (ENDED if answer.status == CANCELLED else FAILED), up


def _reached(arrows: Sequence[schema.Arrow]) -> str:
    """Return where the first message came to."""
    return [arrow["target"]["lane"] for arrow in arrows if arrow["journey"] == arrows[0]["journey"]][-1]


def callee(first: Sighting) -> str:
    """Return whom a request is for: the user of its To, else of its Request-URI, else the host."""
    to = next((line for line in first.headers if re.match(r"(?:to|t)\s*:", line, re.IGNORECASE)), "")
    for line in (to, first.request_uri):
        user = re.search(r"sips?:([^@;>\s]+)@", line)
        if user:
            return user[1]
    host = re.search(r"sips?:([^;>\s]+)", first.request_uri or to)
    return host[1] if host else ""
