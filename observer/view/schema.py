"""The view of a call, as JSON: what page, report and terminal draw, and anybody may read. docs/view.md is made of it.

Whatever a message contains is text here. `VERSION` changes when a field goes or means something else; new fields may
come at any time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypedDict, get_args, get_origin, get_type_hints, is_typeddict

from observer.changes import Kind

VERSION = 1

State = Literal["trying", "ringing", "up", "ended", "failed", "done"]


class Edge(TypedDict):
    """One side of a lane."""

    name: Annotated[str, "`lan`, `isp` or `internet`; empty where a lane has one side"]
    address: Annotated[str, "the address there; empty where it is not known"]


class Lane(TypedDict):
    """Somebody who sends and receives, from left to right."""

    name: Annotated[str, "as `from` and `to` have it"]
    kind: Annotated[Literal["phone", "router", "proxy", "core", "host"], "what it is; `host` where nobody knows"]
    edges: Annotated[list[Edge], "one; of a router two, as they stand from left to right"]


class End(TypedDict):
    """Where an arrow begins or ends."""

    lane: Annotated[str, "its name"]
    edge: Annotated[int, "which of its edges, from 0"]


class Change(TypedDict):
    """One thing that differs from the message's sighting before."""

    kind: Annotated[Kind, "what was done"]
    name: Annotated[str, "the header's name, `source`, `destination`, `first line`, or `c=` and the like of a body"]
    before: Annotated[str, "empty for what was added"]
    after: Annotated[str, "empty for what was removed"]
    by: Annotated[str, "who did it: `router`, `ALG`, `proxy`, or a lane's name"]
    why: Annotated[str, "one sentence; empty where we know none"]
    rfc: Annotated[str, "where it stands, as in `RFC 3581 §4`; empty where in none"]


class Failure(TypedDict):
    """A check that this packet failed."""

    check: Annotated[str, "its name"]
    text: Annotated[str, "its evidence"]


class Sight(TypedDict):
    """A tap that saw this packet."""

    tap: Annotated[str, "its name, as in `<tap>.pcap`"]
    time: Annotated[float, "seconds since the epoch"]


class Arrow(TypedDict):
    """One packet with one message in it, at all taps that it passed."""

    id: Annotated[str, "of this document alone"]
    call: Annotated[str, "the call that it belongs to"]
    journey: Annotated[int, "the same for all packets that carried this message from end to end"]
    time: Annotated[float, "seconds since the epoch"]
    origin: Annotated[End, "who sent it"]
    target: Annotated[End, "whom it came to, or came nearest to"]
    transport: Annotated[str, "udp, tcp or tls"]
    source: Annotated[str, "ADDRESS:PORT"]
    destination: Annotated[str, "ADDRESS:PORT"]
    label: Annotated[str, "method and user, or status and method"]
    method: Annotated[str, "of the request, or of the request that is answered; `CRLF` of line ends alone"]
    status: Annotated[int, "0: a request"]
    transaction: Annotated[int, "the same for a request and its answers; from 0 in each call"]
    copy: Annotated[int, "0; 1 and more for what is sent again"]
    before: Annotated[str, "the id of the packet that this was made of; empty for a first one"]
    by: Annotated[str, "the lane that made it; empty for a first one"]
    crossing: Annotated[bool, "whether it is `before` that a router passed on: one arrow, drawn through the router"]
    sights: Annotated[list[Sight], "where it was seen"]
    text: Annotated[str, "the message, lines ended by \\n; what is no UTF-8 as \\xNN"]
    changes: Annotated[list[Change], "against `before`"]
    lost: Annotated[str, "why it went no further, where it should have"]
    failed: Annotated[list[Failure], "checks that it failed"]
    is_keepalive: Annotated[bool, "whether it only keeps a mapping open"]


class Call(TypedDict):
    """All messages with one Call-ID, or all keep-alives of line ends (RFC 5626 §3.5.1) of one flow."""

    id: Annotated[str, "the Call-ID; of line ends alone, the two ends of their flow"]
    method: Annotated[str, "of its first request, or `CRLF`"]
    caller: Annotated[str, "the lane that sent it"]
    callee: Annotated[str, "whom it is for: a user, or a host"]
    state: Annotated[State, "how far it came; `done` is what is no INVITE and was answered"]
    status: Annotated[str, "the last final answer; empty where there is none"]
    start: Annotated[float, "seconds since the epoch"]
    duration: Annotated[float, "seconds: of a call that was up, from the 200 to the BYE; else all of it"]
    nat: Annotated[str, "the kinds of the routers in its way, from left to right"]
    verdict: Annotated[Literal["pass", "fail", ""], "whether one of its packets failed a check or was lost"]
    arrows: Annotated[list[Arrow], "in the order of time"]


class Event(TypedDict):
    """What happened at a router."""

    time: Annotated[float, "seconds since the epoch"]
    lane: Annotated[str, "the router"]
    event: Annotated[Literal["created", "refreshed", "expired", "forgotten", "rebound", "verb"], "what"]
    text: Annotated[str, "in words"]


class Mapping(TypedDict):
    """A private address and port, and the public ones that stand for it."""

    transport: Annotated[str, "udp or tcp"]
    private: Annotated[str, "ADDRESS:PORT"]
    public: Annotated[str, "ADDRESS:PORT"]
    made: Annotated[float, "seconds since the epoch"]
    used: Annotated[float, "when a packet was last seen to keep it open"]
    ended: Annotated[float, "seconds since the epoch; 0: it has not"]


class Router(TypedDict):
    """A router and what it remembers."""

    lane: Annotated[str, "its name"]
    kind: Annotated[str, "`./lab nats` lists them"]
    lifetime: Annotated[float, "seconds that a mapping of UDP lives when nothing passes"]
    mappings: Annotated[list[Mapping], "of the phones' ports for SIP, oldest first"]


class Media(TypedDict):
    """One stream of RTP at one tap."""

    tap: Annotated[str, "who saw it"]
    origin: Annotated[End, "who sent it"]
    target: Annotated[End, "who got it"]
    source: Annotated[str, "ADDRESS:PORT"]
    destination: Annotated[str, "ADDRESS:PORT"]
    ssrc: Annotated[str, "as RFC 3550 has it"]
    payload: Annotated[str, "the codec"]
    start: Annotated[float, "seconds since the epoch"]
    end: Annotated[float, "seconds since the epoch"]
    packets: Annotated[int, "seen"]
    lost: Annotated[int, "missing between the first and the last"]
    jitter: Annotated[float, "milliseconds, the mean of RFC 3550 §6.4.1"]


class Check(TypedDict):
    """A check of the verdict."""

    name: Annotated[str, "its name"]
    result: Annotated[str, "pass, fail or not-seen"]
    evidence: Annotated[str, "in words"]


class View(TypedDict):
    """Everything."""

    version: Annotated[int, "of this schema"]
    title: Annotated[str, "the run's folder, or the names of the captures"]
    start: Annotated[float, "time of the first message, in seconds since the epoch: zero on the ladder"]
    end: Annotated[float, "time of the last"]
    live: Annotated[bool, "whether more may come"]
    lanes: Annotated[list[Lane], "from left to right"]
    calls: Annotated[list[Call], "in the order in which they began"]
    events: Annotated[list[Event], "of the routers, in the order of time"]
    routers: Annotated[list[Router], "from left to right"]
    media: Annotated[list[Media], "in the order in which they began"]
    verdict: Annotated[str, "pass, fail or lab-broken; empty where nobody judged"]
    without: Annotated[list[str], "remedies that were switched off"]
    checks: Annotated[list[Check], "the judge's"]
    facts: Annotated[list[str], "what happened, in sentences, where it is not a pass"]
    notes: Annotated[list[str], "what a reader should know of how this was made"]


TABLES = (View, Lane, Edge, Call, Arrow, End, Sight, Change, Failure, Event, Router, Mapping, Media, Check)


def fields(table: type) -> dict[str, tuple[Any, str]]:
    """Return {field: (its type, what it means)} of one of the tables."""
    return {name: get_args(hint) for name, hint in get_type_hints(table, include_extras=True).items()}


def breaches(value: Any, wanted: Any = View, place: str = "view") -> Iterator[str]:
    """Yield where a value, as JSON has it, is not what the schema says."""
    if is_typeddict(wanted):
        known = fields(wanted)
        if not isinstance(value, dict) or value.keys() != known.keys():
            yield f"{place}: has not the fields of {wanted.__name__}"
            return
        for name, (kind, _) in known.items():
            yield from breaches(value[name], kind, f"{place}.{name}")
    elif get_origin(wanted) is list:
        for number, each in enumerate(value if isinstance(value, list) else [None]):
            yield from breaches(each, get_args(wanted)[0], f"{place}[{number}]")
    elif get_origin(wanted) is Literal:
        if value not in get_args(wanted):
            yield f"{place}: {value!r} is none of {', '.join(map(repr, get_args(wanted)))}"
    elif not isinstance(value, (int, float) if wanted is float else wanted) or (wanted is int and value is True):
        yield f"{place}: {value!r} is no {wanted.__name__}"


def words(kind: Any) -> str:
    """Return a type as docs/view.md names it."""
    if is_typeddict(kind):
        return f"[{kind.__name__}](#{kind.__name__.lower()})"
    if get_origin(kind) is list:
        return f"list of {words(get_args(kind)[0])}"
    if get_origin(kind) is Literal:
        return ", ".join(f"`{each}`" if each else "empty" for each in get_args(kind))
    return {"str": "text", "int": "integer", "float": "number", "bool": "true or false"}[kind.__name__]


def document() -> str:
    """Return docs/view.md."""
    lines = [
        "# The view of a call, as JSON", "",
        "<!-- Written by `python -m docs.view` from observer/view/schema.py: edit that, not this. -->", "",
        f"Version {VERSION}. `./lab report` writes it as `view.json`; page, SVG, PNG, Mermaid, and the ladder in the",
        "terminal are drawn from it. Fields may be added at any time; the version changes when one goes or means",
        "something else.",
    ]  # fmt: skip
    for table in TABLES:
        lines += ["", f"## {table.__name__}", "", table.__doc__ or ""]
        lines += ["", "| field | type | meaning |", "|---|---|---|"]
        lines += [f"| `{name}` | {words(kind)} | {meaning} |" for name, (kind, meaning) in fields(table).items()]
    return "\n".join(lines) + "\n"
