"""The probe: measures the router on every axis, before any SIP flows (RFC 4787, RFC 5780).

It asks the reflector's four sockets what they see. In a phone's pod it also tries every way by which the private
address could be reached without the router's leave; `lab measure` runs it from anybody's machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nat import axes, lifetimes
from nat.prober import ANSWER_S, TRIES, Address, Prober, Silence, ask_tcp, source_towards

PORTS = (3478, 3479)  # of the reflector
SIP_PORT = 5060
REACH_S = 10.0  # the reflector starts six programs before it answers
ALL_PORTS = 1000  # what kinds.py calls a block that is larger than anybody counts
# The axes besides udp and block.
REST = (
    "mapping", "filtering", "ports", "peer-first", "hairpin", "alg", "fragments", "layers", "lifetime", "refresh",
)  # fmt: skip

Value = str | int


@dataclass(slots=True)
class Measurement:
    """What is known of a router."""

    measured: dict[str, Value] = field(default_factory=dict)  # by axis, in the words of kinds.py
    unmeasured: dict[str, str] = field(default_factory=dict)  # the other axes, and why
    notes: list[str] = field(default_factory=list)  # what else was seen
    faults: list[str] = field(default_factory=list)  # what no router of any kind does
    public: str = ""  # the address that the reflector sees


def sockets_of(addresses: Sequence[str]) -> list[Address]:
    """Return the four sockets of a reflector at two addresses, in the order in which it numbers them."""
    return [(address, port) for address in addresses for port in PORTS]


def measure(
    reflectors: list[Address], sources: Sequence[str] = (), silences: Sequence[float] = (), declared: float = 0,
    sip_port: int = SIP_PORT,
) -> Measurement:  # fmt: skip
    """Measure the router between here and the reflector.

    `sources`: one address of this machine or two, which count as two hosts; none: the one that the kernel sends from.
    `silences`: seconds to be tried for the lifetime (`lifetimes.silences`), ascending; none: it is not measured.
    `declared`: the lifetime, in seconds, that counts as measured when nothing speaks against it.
    Takes less than a second, besides the silences. Raises Silence when nothing is answered at all, and OSError for an
    address that this machine does not have.
    """  # fmt: skip
    result = Measurement()
    hosts = list(sources) or [source_towards(reflectors[0])]
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(Prober(reflectors, hosts[0]))
        if not _passes_udp(first, reflectors[0]):
            result.measured["udp"] = "blocked"
            result.unmeasured = dict.fromkeys((*REST, "block"), "no UDP passes")
            return result
        result.measured["udp"] = "passed"
        second, other = _pair(reflectors, hosts) if len(hosts) > 1 else (Prober(reflectors, hosts[0]), first)
        stack.enter_context(second)
        stack.enter_context(other)
        if not axes.is_answered(second, first):  # one port for each host: the other host's serves as well
            result.measured["block"] = 1
            second = other
        if second is first:
            result.unmeasured = dict.fromkeys(REST, "takes two ports, and there is one")
            return result
        _translation(result, first, second)
        _shape(result, first, second, other)
        _messages(result, second, sip_port)
        _way(result, second)
    _silences(result, reflectors, hosts[0], silences, declared)
    return result


def _passes_udp(fresh: Prober, reflector: Address) -> bool:
    """Say whether UDP is answered. An answer by TCP says how long to wait for it. Raises Silence."""
    number = fresh.send(0, ask="where")
    if fresh.wait(number, [], 0.1) is not None:
        return True
    begun, patience = time.monotonic(), ANSWER_S
    neither: Silence | None = None
    try:
        ask_tcp(reflector, fresh.address, ask="where")
        patience = 2 * (time.monotonic() - begun) + 0.05
    except Silence as silence:
        neither = silence
    if any(fresh.wait(fresh.send(0, ask="where"), [], patience) is not None for _ in range(TRIES)):
        return True
    if neither is not None:
        raise neither
    return False


def _pair(reflectors: list[Address], hosts: Sequence[str]) -> tuple[Prober, Prober]:
    """Return sockets of two hosts with one source port. Raises OSError for an address that is not of this machine."""
    while True:
        one = Prober(reflectors, hosts[0])
        try:
            return one, Prober(reflectors, hosts[1], one.port)
        except OSError:  # taken there, or no such address: this says so
            one.socket.close()
            Prober(reflectors, hosts[1]).socket.close()


def _translation(result: Measurement, first: Prober, second: Prober) -> None:
    """Mapping, filtering, ports, peer-first. The first socket hears strangers, and the second does not."""
    filtering = axes.filtering(first)
    seen = [second.seen_by(number) for number in range(len(second.reflectors))]
    mapped = axes.mapping(seen, second.own)
    result.public = seen[0][0]
    kept = [first.seen_by(0)[1] == first.port, seen[0][1] == second.port]
    result.measured |= {"mapping": mapped, "filtering": filtering, "ports": "preserved" if all(kept) else "changed"}
    if len({address for address, _ in seen}) > 1:
        result.notes.append("one socket was seen at several public addresses")
    peer_first = axes.peer_first(first, mapped)
    if peer_first is None:
        result.unmeasured["peer-first"] = "every peer has a mapping of his own"
    else:
        result.measured["peer-first"] = peer_first


def _shape(result: Measurement, first: Prober, second: Prober, other: Prober) -> None:
    """Two hosts, hairpin, block."""
    if other is not first and other is not second and not axes.same_port(second, other):
        result.faults.append("two hosts with one source port are mistaken for each other")
    translates = result.measured["mapping"] != "none"
    result.measured["hairpin"] = axes.hairpin(second, first if other is second else other) if translates else "none"
    if "block" not in result.measured:
        block = axes.block([first, second] if other is first else [other])
        result.measured["block"] = ALL_PORTS if block is None else block


def _messages(result: Measurement, prober: Prober, sip_port: int) -> None:
    """Fragments and ALG."""
    result.measured["fragments"], way = axes.fragments(prober)
    if way:
        result.notes.append(f"{axes.BIG} bytes do not pass {way}")
    rewrites, changed = axes.alg(prober, sip_port)
    if any(line and not came for line, came in changed) and not any(came for _, came in changed):
        result.unmeasured["alg"] = f"nothing that is sent to port {sip_port} of the reflector arrives"
        return
    result.measured["alg"] = rewrites
    result.notes += [f"the router changed {sent!r} to {came!r}" for sent, came in changed]


def _way(result: Measurement, prober: Prober) -> None:
    """Layers."""
    try:
        hops = axes.hops(prober)
    except OSError as error:
        result.unmeasured["layers"] = str(error)
        return
    result.measured["layers"] = axes.layers(hops)
    told = ", ".join(hop or "one that does not tell" for hop in hops)
    result.notes.append(f"routers on the way: {told or 'none'}")


def _silences(
    result: Measurement, reflectors: list[Address], source: str, silences: Sequence[float], declared: float
) -> None:
    """Lifetime and refresh."""
    if result.measured["filtering"] == "none":
        result.measured["lifetime"] = 0
        result.unmeasured["refresh"] = "nothing is remembered"
        return
    if not silences:
        result.unmeasured |= dict.fromkeys(("lifetime", "refresh"), f"would take {1.4 * declared:g} s" if declared
                                           else "was not asked for")  # fmt: skip
        return
    if result.measured["block"] != ALL_PORTS:
        result.unmeasured |= dict.fromkeys(("lifetime", "refresh"), "there are too few ports to try")
        return
    try:
        found = lifetimes.measure(reflectors, source, silences)
    except Silence as silence:
        result.unmeasured |= dict.fromkeys(("lifetime", "refresh"), f"not every socket was answered: {silence}")
        return
    result.measured["lifetime"] = int(declared) if declared and found.holds(declared) else found.usual()
    result.notes.append(str(found))
    if found.refresh is None:
        result.unmeasured["refresh"] = "no mapping was forgotten"
    else:
        result.measured["refresh"] = found.refresh


def leaks(reflector: Address, source: str, router: str) -> list[str]:
    """Return every way by which somebody outside reached the phone's private address; there must be none.

    In a pod: asks the lab's own reflector, from `source`, by TCP. `router` is the router's public address now. Raises
    Silence.
    """
    found = set()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
        ear.bind((os.environ["PHONE_IP"], 0))
        host = (os.environ["HOME_GATEWAY"], 9)
        ear.sendto(b"", host)  # makes the kernel ask by ARP whether the host stands in this network
        for _ in range(2):  # the first round may wait for ARP; the answer to the second comes after both
            ask_tcp(reflector, source, REACH_S, ask="reach", to=ear.getsockname(), router=router)
            with contextlib.suppress(BlockingIOError):
                while True:
                    heard = json.loads(ear.recv(2048, socket.MSG_DONTWAIT))
                    found.add(f"a public host, {heard['leak']}")
    neighbours = subprocess.run(
        ["ip", "-json", "neighbour", "show", "to", host[0]], capture_output=True, text=True, check=True
    )
    if any("lladdr" in entry for entry in json.loads(neighbours.stdout or "[]")):
        found.add("the machine itself, which has a foot in the home network")
    return sorted(found)


def examine(
    kind: str, declared: Mapping[str, Value], sources: Sequence[str], router: str, is_quick: bool = False
) -> dict[str, Any]:  # fmt: skip
    """Measure, in a pod, a router that claims to be of this kind; return what the observer judges.

    `router` is its public address now. With `is_quick` all but the lifetime, which takes longer than it lasts.
    {"kind", "declared", "measured", "unmeasured", "notes", "wrong": [one line each], "leaks": [one line each]}, and
    "silence" when the router passes nothing.
    """
    reflectors = sockets_of([os.environ["REFLECTOR_IP"], os.environ["REFLECTOR_IP2"]])
    result: dict[str, Any] = {"kind": kind, "declared": dict(declared), "measured": {}, "unmeasured": {}, "notes": [],
                              "wrong": [], "leaks": []}  # fmt: skip
    lifetime = int(declared["lifetime"])
    silences = lifetimes.silences_around(lifetime) if 0 < lifetime <= lifetimes.SHORT_S and not is_quick else []
    try:
        found = measure(reflectors, sources, silences, lifetime)
        result |= {"measured": found.measured, "unmeasured": found.unmeasured, "notes": found.notes}
        result["wrong"] = found.faults + contradictions(declared, found.measured)
        result["leaks"] = leaks(reflectors[0], sources[0], router)
    except Silence as silence:
        result |= {"silence": str(silence), "wrong": [f"the router passes nothing: {silence}"]}
    return result


def contradictions(declared: Mapping[str, Value], measured: Mapping[str, Value]) -> list[str]:
    """Return a line for every axis that was measured and is not what the router claims."""
    return [
        f"{axis}: declared {declared[axis]}, measured {value}"
        for axis, value in measured.items()
        if value != declared[axis] and not (axis == "block" and axes.BLOCK_UP_TO <= int(declared[axis]) <= int(value))
    ]
