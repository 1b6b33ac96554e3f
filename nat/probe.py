"""The start probe: measures the router from a phone's pod, before any SIP flows (RFC 4787, RFC 5780).

It asks the reflector's four sockets what they see, and writes `probe.json`: what the kind declares, what was measured,
and every way by which the private address was reached without the router's leave.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import socket
import subprocess
import tomllib
from pathlib import Path
from typing import Any, Self

ANSWER_S = 1.0  # the network is a bridge on this machine: an answer takes far less
TRIES = 3
LEAK_PORT = 40000
SOURCE_PORTS = range(20_000, 30_000)  # below the ephemeral ports of RFC 6335 §6 and of Linux

Address = tuple[str, int]


class Silence(Exception):
    """The reflector did not answer: the router passes nothing."""


class Prober:
    """One socket behind the router: a fresh source port, a fresh mapping."""

    def __init__(self, reflectors: list[Address], port: int | None = None) -> None:
        self.reflectors = reflectors
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.port = port or self._bind_outside_router_ranges()
        if port:
            self.socket.bind((os.environ["ALICE_IP"], port))
        self.socket.settimeout(ANSWER_S)

    def __enter__(self) -> Self:
        """Return the prober."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the socket."""
        self.socket.close()

    def _bind_outside_router_ranges(self) -> int:
        """Bind to a port that no router would choose by itself: one that lies in its range anyway it may keep, and
        would pass for a router that preserves ports. Returns the port."""
        while True:
            port = random.choice(SOURCE_PORTS)
            try:
                self.socket.bind((os.environ["ALICE_IP"], port))
            except OSError:  # taken
                continue
            return port

    def ask(self, reflector: int, **request: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Return the final answer (it bears `seen`) and the answers that came before it. Raises Silence."""
        for _ in range(TRIES):
            request["id"] = secrets.token_hex(8)
            self.socket.sendto(json.dumps(request).encode(), self.reflectors[reflector])
            before: list[dict[str, Any]] = []
            try:
                while True:
                    answer = json.loads(self.socket.recv(2048))
                    if answer["id"] != request["id"] and "leak" not in answer:
                        continue
                    if "seen" in answer:
                        return answer, before
                    before.append(answer)
            except TimeoutError:
                continue
        raise Silence(f"no answer from {self.reflectors[reflector]}")

    def seen_by(self, reflector: int) -> Address:
        """Return the address and port that this reflector sees us at."""
        address, port = self.ask(reflector, ask="where")[0]["seen"]
        return address, port


def measure(reflectors: list[Address]) -> dict[str, str]:
    """Return the measured axes, in the words of kinds.toml. Raises Silence."""
    with Prober(reflectors) as first, Prober(reflectors) as second, Prober(reflectors) as third:
        seen = [first.seen_by(number) for number in range(4)]
        return {
            "mapping": mapping(seen),
            "filtering": filtering(second),
            "ports": "preserved" if seen[0][1] == first.port else "changed",
            "peer-speaks-first": peer_speaks_first(third),
        }


def mapping(seen: list[Address]) -> str:
    """Name the mapping from what sockets (A1 p1, A1 p2, A2 p1, A2 p2) saw of one socket of ours."""
    if len(set(seen)) == 1:
        return "endpoint-independent"
    if seen[0] == seen[1] and seen[2] == seen[3]:
        return "address-dependent"
    return "address-and-port-dependent"


def filtering(fresh: Prober) -> str:
    """Name the filtering: we speak to socket 0 only, who else gets through?"""
    heard = {answer["from"] for answer in fresh.ask(0, ask="others")[1]}
    if heard & {2, 3}:
        return "endpoint-independent"
    return "address-dependent" if 1 in heard else "address-and-port-dependent"


def peer_speaks_first(fresh: Prober) -> str:
    """Does the mapping survive a stranger's packet that arrives before ours to him? RFC 5780 does not ask this."""
    before = fresh.seen_by(0)
    fresh.ask(0, ask="speak", **{"from": 3, "to": before})
    return "kept" if fresh.seen_by(3) == before else "lost"


def leaks(reflectors: list[Address]) -> list[str]:
    """Return every way by which somebody outside reached this private address; there must be none."""
    found = set()
    open_ear = Prober(reflectors, LEAK_PORT)
    host = (os.environ["HOME_GATEWAY"], 9)
    open_ear.socket.sendto(b"", host)  # makes the kernel ask by ARP whether the host stands in this network
    for _ in range(2):  # the first round may wait for ARP; the answer to the second comes after both
        before = open_ear.ask(0, ask="reach", to=[os.environ["ALICE_IP"], LEAK_PORT])[1]
        found |= {f"a public host, {answer['leak']}" for answer in before}
    neighbours = subprocess.run(
        ["ip", "-json", "neighbour", "show", "to", host[0]], capture_output=True, text=True, check=True
    )
    if any("lladdr" in entry for entry in json.loads(neighbours.stdout or "[]")):
        found.add("the machine itself, which has a foot in the home network")
    return sorted(found)


def main() -> None:
    """Measure, compare, write."""
    reflectors = [(os.environ[name], port) for name in ("REFLECTOR_IP", "REFLECTOR_IP2") for port in (3478, 3479)]
    kind = os.environ["NAT_TYPE"]
    declared = tomllib.loads(Path(__file__).with_name("kinds.toml").read_text(encoding="utf-8"))[kind]
    declared.pop("what")
    result: dict[str, Any] = {"kind": kind, "declared": declared, "measured": {}, "leaks": []}
    try:
        result["measured"] = measure(reflectors)
        result["leaks"] = leaks(reflectors)
    except Silence as silence:
        result["silence"] = str(silence)
    Path("/lab/probe.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    print(f"probe: {json.dumps(result)}", flush=True)


if __name__ == "__main__":
    main()
