"""The reflector: four sockets (2 addresses x 2 ports) on the public side that tell a prober what they see.

Requests and answers are JSON objects, one a datagram. Every request bears `id`, and every answer repeats it.

    {"ask": "where"}                        -> {"seen": [address, port]} from the socket that was asked
    {"ask": "others"}                       -> one answer {"from": n} from each of the three other sockets, then one
                                               {"seen": ...} from the socket that was asked: when that has arrived,
                                               what has not is not coming
    {"ask": "speak", "from": n, "to": [..]} -> socket n sends an unasked-for packet there; then {"seen": ...}
    {"ask": "reach", "to": [address, port]} -> sends {"leak": WAY} to a private address in every way a public host
                                               has; then {"seen": ..., "ways": [...]}
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from typing import Any

PORTS = (3478, 3479)
Address = tuple[str, int]


def main(interface: str) -> None:
    """Answer for ever; SIGTERM ends it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    sockets = []
    for address in (os.environ["REFLECTOR_IP"], os.environ["REFLECTOR_IP2"]):
        for port in PORTS:
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            one.bind((address, port))
            sockets.append(one)
    print(f"core: reflecting on {', '.join('%s:%d' % one.getsockname() for one in sockets)}", flush=True)
    with open("/run/reflecting", "w", encoding="ascii"):
        pass
    while True:
        for asked in select.select(sockets, [], [])[0]:
            data, source = asked.recvfrom(2048)
            try:
                answer(json.loads(data), asked, source, sockets, interface)
            except (ValueError, KeyError, TypeError, OSError, IndexError) as error:
                print(f"core: ignored a request from {source[0]}:{source[1]}: {error!r}", flush=True)


def answer(
    request: dict[str, Any], asked: socket.socket, source: Address, sockets: list[socket.socket], interface: str
) -> None:
    """Carry out one request."""
    reply: dict[str, Any] = {"id": request["id"], "seen": source}
    if request["ask"] == "others":
        for number, other in enumerate(sockets):
            if other is not asked:
                send(other, {"id": request["id"], "from": number}, source)
    elif request["ask"] == "speak":
        send(sockets[request["from"]], {"id": request["id"], "from": request["from"]}, tuple(request["to"]))
    elif request["ask"] == "reach":
        reply["ways"] = reach(tuple(request["to"]), request["id"], asked, interface)
    send(asked, reply, source)


def reach(target: Address, number: str, sender: socket.socket, interface: str) -> list[str]:
    """Try to reach a private address as a public host would; return the ways that were tried.

    A way is a route: the ones that it has, on the wire itself, by the host's bridge, by the router that is not asked
    to translate.
    """
    private = f"{target[0]}/32"
    with contextlib.suppress(OSError):  # unreachable, as it should be
        send(sender, {"id": number, "leak": "by its own routes"}, target)
    ways = {
        "on-link": ["dev", interface, "scope", "link"],
        "by the host": ["via", os.environ["INTERNET_GATEWAY"], "dev", interface],
        "by the router": ["via", os.environ["NAT_WAN_IP"], "dev", interface],
    }
    for way, route in ways.items():
        subprocess.run(["ip", "route", "replace", private, *route], check=True)
        for _ in range(2):  # the first may wait for ARP
            send(sender, {"id": number, "leak": way}, target)
        subprocess.run(["ip", "route", "del", private], check=True)
    return ["by its own routes", *ways]


def send(sender: socket.socket, answer: dict[str, Any], target: Address) -> None:
    """Send one JSON datagram."""
    sender.sendto(json.dumps(answer).encode(), target)


if __name__ == "__main__":
    main(sys.argv[1])
