"""A call each way as the taps see it, made by hand: whole and correct, to be broken in one place by a test."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from observer.case import Case
from observer.checks import judge
from observer.decode import Address, Sighting
from observer.history import History
from observer.story import tell
from observer.topology import Topology, from_environment
from observer.whereabouts import Surroundings

ENVIRONMENT = {
    "ALICE_IP": "10.77.1.100", "ALICE_FACE_IP": "198.51.100.100", "NAT_LAN_IP": "10.77.1.1",
    "NAT_WAN_IP": "198.51.100.20", "NAT_WAN_IP2": "198.51.100.21", "PROXY_IP": "198.51.100.10",
    "BOB_IP": "198.51.100.200", "CORE_IP": "198.51.100.1", "REFLECTOR_IP": "198.51.100.30",
    "REFLECTOR_IP2": "198.51.100.31",
}  # fmt: skip
TWO_HOMES = {
    "NAT_BOB_WAN_IP": "198.51.100.40", "NAT_BOB_WAN_IP2": "198.51.100.41", "BOB_FACE_IP": "198.51.100.140",
}  # fmt: skip
SAME_HOME = {"BOB_HOME_IP": "10.77.1.110", "BOB_FACE_IP": "198.51.100.110"}
HOME = {
    "mapping": "endpoint-independent", "filtering": "address-and-port-dependent", "ports": "changed",
    "peer-first": "kept", "lifetime": 30, "refresh": "both", "alg": "off", "layers": 1,
}  # fmt: skip


def topology(more: dict[str, str] | None = None, /, **profile: Any) -> Topology:
    """Return one home; the homes of `more`; all with the everyday router, but for these axes of Alice's."""
    everywhere = from_environment(ENVIRONMENT | (more or {}))
    return everywhere.with_profiles({"nat": HOME | profile, "nat-bob": HOME})


TOPOLOGY = topology()
ALICE, NAT, PROXY, BOB = (
    ("10.77.1.100", 5060), ("198.51.100.20", 50568), ("198.51.100.10", 5060), ("198.51.100.200", 5060)
)  # fmt: skip

ALICE_CONTACT = "sip:alice@10.77.1.100:5060"
ALICE_PUBLIC = "sip:alice@198.51.100.20:50568;behind=c2lnbmVk"
BOB_CONTACT = "sip:bob@198.51.100.200:5060"
RECORD_ROUTE = "<sip:198.51.100.10:5060;lr;d=c2lnbmVk>"

Where = Callable[[Sighting], bool]
Lines = tuple[str, list[str]]


def sighting(
    tap: str, source: Address, destination: Address, first_line: str, headers: list[str], time: float = 0.0
) -> Sighting:
    """Return a sighting with the fields that tshark would find in these lines."""
    values: dict[str, list[str]] = {}
    for line in headers:
        name, _, value = line.partition(": ")
        values.setdefault(name, []).append(value)
    is_answer = first_line.startswith("SIP/2.0 ")
    number, method = values["CSeq"][0].split()
    vias = [via for line in values["Via"] for via in line.split(", ")]
    return Sighting(
        time=time, tap=tap, transport="udp", source=source, destination=destination,
        first_line=first_line, method=method,
        status=int(first_line.split()[1]) if is_answer else 0,
        request_uri="" if is_answer else first_line.split()[1],
        call_id=values["Call-ID"][0], cseq=int(number), vias=vias,
        branches=[re.findall(r"branch=([^;]+)", via)[0] for via in vias],
        contact=values.get("Contact", [""])[0].strip("<>"), record_routes=values.get("Record-Route", []),
        headers=headers, body="",
    )  # fmt: skip


def lines(first_line: str, vias: list[str], call: str, cseq: str, *more: str) -> Lines:
    """Return a message: first line and header lines."""
    return first_line, [*(f"Via: {via}" for via in vias), f"Call-ID: {call}", f"CSeq: {cseq}", *more]


class Wire:
    """Puts messages on the way between Alice and Bob, and notes who sees them."""

    def __init__(self) -> None:
        self.sightings: list[Sighting] = []
        self._clock = itertools.count()

    def alice_says(self, message: Lines, onward: Lines | None) -> None:
        """From Alice through the router to the proxy, and on to Bob as the proxy sends it."""
        self.packet(message, ALICE, PROXY, "nat-lan")
        self.packet(message, NAT, PROXY, "nat-wan", "proxy")
        if onward:
            self.packet(onward, PROXY, BOB, "proxy")

    def bob_says(self, message: Lines, onward: Lines | None) -> None:
        """From Bob to the proxy, and on to Alice through the router as the proxy sends it."""
        self.packet(message, BOB, PROXY, "proxy")
        if onward:
            self.to_alice(onward)

    def to_alice(self, message: Lines) -> None:
        """From the proxy through the router to Alice."""
        self.packet(message, PROXY, NAT, "proxy", "nat-wan")
        self.packet(message, PROXY, ALICE, "nat-lan")

    def packet(self, message: Lines, source: Address, destination: Address, *taps: str) -> None:
        """One packet, at the taps that it passes."""
        for tap in taps:
            self.sightings.append(sighting(tap, source, destination, *message, time=next(self._clock) / 1000))


def via_alice(branch: str) -> str:
    """Return Alice's own Via."""
    return f"SIP/2.0/UDP 10.77.1.100:5060;rport;branch=z9hG4bK{branch}"


def via_alice_received(branch: str) -> str:
    """Return Alice's Via as the proxy has filled it in."""
    return f"SIP/2.0/UDP 10.77.1.100:5060;rport=50568;branch=z9hG4bK{branch};received=198.51.100.20"


def via_bob(branch: str) -> str:
    """Return Bob's own Via."""
    return f"SIP/2.0/UDP 198.51.100.200:5060;rport;branch=z9hG4bK{branch}"


def via_bob_received(branch: str) -> str:
    """Return Bob's Via as the proxy has filled it in."""
    return f"SIP/2.0/UDP 198.51.100.200:5060;rport=5060;branch=z9hG4bK{branch};received=198.51.100.200"


def via_proxy(branch: str) -> str:
    """Return the Via that the proxy puts on top of this one."""
    return f"SIP/2.0/UDP 198.51.100.10:5060;branch=z9hG4bKp{branch}"


def good_story() -> list[Sighting]:
    """Alice registers; she calls Bob, who hangs up; he calls her, and she hangs up."""
    wire = Wire()
    register(wire)
    alice_calls(wire)
    bob_calls(wire)
    return wire.sightings


def carried(story: list[Sighting], alice: str, bob: str) -> list[Sighting]:
    """Return the story as it is when Alice speaks this and Bob that: "udp", "tcp" or "tls"."""

    def by(seen: Sighting) -> Sighting:
        transport = bob if BOB in (seen.source, seen.destination) else alice
        ours = [RECORD_ROUTE.replace(";lr", named(each) + ";lr") for each in dict.fromkeys((transport, alice, bob))]
        return replace(
            seen, transport=transport, contact=told(seen.contact), request_uri=told(seen.request_uri),
            vias=[via.replace("/UDP", f"/{transport.upper()}") for via in seen.vias],
            record_routes=ours if seen.record_routes else [],
        )  # fmt: skip

    def told(uri: str) -> str:
        hers = uri.replace("@10.77.1.100:5060", f"@10.77.1.100:5060{named(alice)}")
        return hers.replace(":50568", f":50568{named(alice)}").replace(BOB_CONTACT, BOB_CONTACT + named(bob))

    return [by(seen) for seen in story]


def named(transport: str) -> str:
    """Return the URI parameter that names a transport; UDP needs none."""
    return "" if transport == "udp" else f";transport={transport}"


def register(wire: Wire) -> None:
    """Alice registers."""
    call, contact = "register", f"Contact: <{ALICE_CONTACT}>"
    wire.alice_says(lines("REGISTER sip:198.51.100.10 SIP/2.0", [via_alice("r")], call, "1 REGISTER", contact), None)
    wire.to_alice(lines("SIP/2.0 200 OK", [via_alice_received("r")], call, "1 REGISTER", contact))


def alice_calls(wire: Wire) -> None:
    """Alice calls, Bob hangs up."""
    call, hers, his = "alice-calls", f"Contact: <{ALICE_CONTACT}>", f"Contact: <{BOB_CONTACT}>"
    rewritten, recorded = f"Contact: <{ALICE_PUBLIC}>", f"Record-Route: {RECORD_ROUTE}"
    route = f"Route: {RECORD_ROUTE}"
    wire.alice_says(
        lines("INVITE sip:bob@198.51.100.10 SIP/2.0", [via_alice("i")], call, "1 INVITE", hers),
        lines(f"INVITE {BOB_CONTACT} SIP/2.0", [via_proxy("i"), via_alice_received("i")], call, "1 INVITE",
              recorded, rewritten),
    )  # fmt: skip
    for status in ("180 Ringing", "200 OK"):
        wire.bob_says(
            lines(f"SIP/2.0 {status}", [via_proxy("i"), via_alice_received("i")], call, "1 INVITE", recorded, his),
            lines(f"SIP/2.0 {status}", [via_alice_received("i")], call, "1 INVITE", recorded, his),
        )
    wire.alice_says(
        lines(f"ACK {BOB_CONTACT} SIP/2.0", [via_alice("a")], call, "1 ACK", route),
        lines(f"ACK {BOB_CONTACT} SIP/2.0", [via_proxy("a"), via_alice_received("a")], call, "1 ACK"),
    )
    wire.bob_says(
        lines(f"BYE {ALICE_PUBLIC} SIP/2.0", [via_bob("b")], call, "1 BYE", route),
        lines(f"BYE {ALICE_CONTACT} SIP/2.0", [via_proxy("b"), via_bob_received("b")], call, "1 BYE"),
    )
    wire.alice_says(
        lines("SIP/2.0 200 OK", [via_proxy("b"), via_bob_received("b")], call, "1 BYE"),
        lines("SIP/2.0 200 OK", [via_bob_received("b")], call, "1 BYE"),
    )


def bob_calls(wire: Wire) -> None:
    """Bob calls, Alice hangs up."""
    call, hers, his = "bob-calls", f"Contact: <{ALICE_CONTACT}>", f"Contact: <{BOB_CONTACT}>"
    rewritten, recorded = f"Contact: <{ALICE_PUBLIC}>", f"Record-Route: {RECORD_ROUTE}"
    route = f"Route: {RECORD_ROUTE}"
    wire.bob_says(
        lines("INVITE sip:alice@198.51.100.10 SIP/2.0", [via_bob("j")], call, "1 INVITE", his),
        lines(f"INVITE {ALICE_CONTACT} SIP/2.0", [via_proxy("j"), via_bob_received("j")], call, "1 INVITE",
              recorded, his),
    )  # fmt: skip
    for status in ("180 Ringing", "200 OK"):
        wire.alice_says(
            lines(f"SIP/2.0 {status}", [via_proxy("j"), via_bob_received("j")], call, "1 INVITE", recorded, hers),
            lines(f"SIP/2.0 {status}", [via_bob_received("j")], call, "1 INVITE", recorded, rewritten),
        )
    wire.bob_says(
        lines(f"ACK {ALICE_PUBLIC} SIP/2.0", [via_bob("c")], call, "1 ACK", route),
        lines(f"ACK {ALICE_CONTACT} SIP/2.0", [via_proxy("c"), via_bob_received("c")], call, "1 ACK"),
    )
    wire.alice_says(
        lines(f"BYE {BOB_CONTACT} SIP/2.0", [via_alice("d")], call, "2 BYE", route),
        lines(f"BYE {BOB_CONTACT} SIP/2.0", [via_proxy("d"), via_alice_received("d")], call, "2 BYE"),
    )
    wire.bob_says(
        lines("SIP/2.0 200 OK", [via_proxy("d"), via_alice_received("d")], call, "2 BYE"),
        lines("SIP/2.0 200 OK", [via_alice_received("d")], call, "2 BYE"),
    )


def counts(successful: int = 1, failed: int = 0, retransmissions: int = 0) -> dict[str, int]:
    """Return what SIPp says of a run."""
    return {"successful": successful, "failed": failed, "retransmissions": retransmissions, "exit_code": 0}


def leg(caller: str, callee: str, hangup: str = "callee", count: int = 1) -> dict[str, Any]:
    """Return a leg that went well."""
    done = {"alice": counts(count), "bob": counts(count)}
    return {"from": caller, "to": callee, "count": count, "at_once": False, "hangup": hangup, **done}


def both_legs() -> list[dict[str, Any]]:
    """Return the legs of the good story."""
    return [leg("alice", "bob"), leg("bob", "alice")]


def good_probe() -> dict[str, Any]:
    """Return what the start probe leaves when the router is what it claims to be."""
    axes = {axis: HOME[axis] for axis in HOME if axis not in ("lifetime", "refresh")}
    rest = dict.fromkeys(("lifetime", "refresh"), "would take 30 s")
    return {"kind": "home", "declared": dict(HOME), "measured": axes, "unmeasured": rest, "wrong": [], "leaks": []}


def case(
    sightings: list[Sighting] | None = None, legs: list[dict[str, Any]] | None = None, probe: Any = None,
    where: Topology = TOPOLOGY, events: list[dict[str, Any]] | None = None,
) -> Case:
    """Return a case: the good one, but for what is given."""
    seen = good_story() if sightings is None else sightings
    left = good_probe() if probe is None else probe
    return Case(
        where, tell(seen, where), seen, both_legs() if legs is None else legs,
        {name: left for home in where.homes for name in home.phones if left}, histories(where, events or []),
    )  # fmt: skip


def histories(where: Topology, events: list[dict[str, Any]]) -> dict[str, History]:
    """Return what the routers say: Alice's has these events, Bob's none."""
    return {home.router: History(home.router, home.profile, events if home.router == "nat" else [])
            for home in where.homes}  # fmt: skip


def around(sightings: list[Sighting], events: list[dict[str, Any]] | None = None) -> Surroundings:
    """Return what a ladder is drawn with; without events the router has no history."""
    return Surroundings(TOPOLOGY, {} if events is None else histories(TOPOLOGY, events), sightings)


def made(time: float, public: Address = NAT, private: Address = ALICE, transport: str = "udp") -> dict[str, Any]:
    """Return the event of a mapping that is made, as the router tells it."""
    there = {"transport": transport, "private": list(private), "public": list(public)}
    return {"time": time, "event": "mapping-created", **there}


def ended(time: float, public: Address = NAT, private: Address = ALICE, transport: str = "udp") -> dict[str, Any]:
    """Return the event of a mapping that is forgotten."""
    return made(time, public, private, transport) | {"event": "mapping-ended"}


def did(time: float, verb: str, text: str = "") -> dict[str, Any]:
    """Return the event of something that somebody did to the router."""
    return {"time": time, "event": "verb", "verb": verb, "text": text}


def results(judged: Case) -> dict[str, str]:
    """Return {check: result}."""
    return {check["name"]: check["result"] for check in judge(judged)["checks"]}


def broken(where: Where, **fields: Any) -> list[Sighting]:
    """Return the good story with these fields in every sighting that fits. Raises ValueError when none does."""
    return list(_edited(where, lambda seen: replace(seen, **fields)))


def without(where: Where) -> list[Sighting]:
    """Return the good story without the sightings that fit. Raises ValueError when none does."""
    return [seen for seen in _edited(where, lambda _: None) if seen]


def _edited(where: Where, edit: Callable[[Sighting], Any]) -> Iterator[Any]:
    story = good_story()
    if not any(where(seen) for seen in story):
        raise ValueError("no sighting fits")
    return (edit(seen) if where(seen) else seen for seen in story)


NAT_BOB = ("198.51.100.40", 50777)
BOB_OWN, BOB_PUBLIC = "sip:bob@10.77.1.100:5060", "sip:bob@198.51.100.40:50777;behind=eWV0IG1vcmU"


def in_two_homes(story: list[Sighting]) -> list[Sighting]:
    """Return the story as it is when Bob too has a router, and the same private address as Alice."""
    told: list[Sighting] = []
    for seen in story:
        if BOB not in (seen.source, seen.destination):
            told.append(_with_bob_at(seen, BOB_PUBLIC))
            continue
        own = _with_bob_at(seen, BOB_OWN)
        outside = {"source": NAT_BOB} if seen.source == BOB else {"destination": NAT_BOB}
        inside = {"source": ALICE} if seen.source == BOB else {"destination": ALICE}
        way = [("nat-bob-lan", inside), ("nat-bob-wan", outside), (seen.tap, outside)]
        for number, (tap, ends) in enumerate(way if seen.source == BOB else reversed(way)):
            told.append(replace(own, tap=tap, time=seen.time + number / 10_000, **ends))  # type: ignore[arg-type]
    return told


def _with_bob_at(seen: Sighting, contact: str) -> Sighting:
    def his(text: str) -> str:
        for old, new in (
            (BOB_CONTACT, contact), ("198.51.100.200:5060;rport=5060", "10.77.1.100:5060;rport=50777"),
            ("UDP 198.51.100.200:", "UDP 10.77.1.100:"), (";received=198.51.100.200", ";received=198.51.100.40"),
        ):  # fmt: skip
            text = text.replace(old, new)
        return text

    return replace(
        seen, first_line=his(seen.first_line), request_uri=his(seen.request_uri), contact=his(seen.contact),
        vias=[his(via) for via in seen.vias], headers=[his(line) for line in seen.headers],
    )  # fmt: skip
