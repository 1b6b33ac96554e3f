"""The reflector: four sockets (2 addresses x 2 ports) on the public side that tell a prober what they see.

Questions and answers are JSON objects, one a datagram. Every question bears `id`, and every answer repeats it. The last
answer to a question bears `seen` and `cookie`: when it has arrived, what has not is not coming.

    {"ask": "where"}              -> {"seen": [address, port]} from the socket that was asked
    {"ask": "others"}             -> one {"from": n} from each of the three other sockets
    {"ask": "speak", "by": n}     -> one {"from": n} from socket n; also `port`: to another port of the same address,
                                     `after`: so many seconds later, `every` and `until`: again and again
    {"ask": "big"}                -> {"big": ...} as large as the question
    {"ask": "bytes", "token": t}  -> {"bytes": base64 or null}: what came to port 5060 with this token in it
    {"ask": "reach", "to": [..], "router": address}
                                  -> in the lab only: {"leak": WAY} to a private address in every way that a public
                                     host has, past this router too

By TCP, on the same ports, one line each way: `where`, `bytes`, `reach`.

Strangers may ask it. Nobody is sent more bytes than his question had, until he repeats the cookie that only he can have
got; nobody but the asking address is sent anything; each address has its share of questions, and all that is kept
is bounded.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import heapq
import hmac
import itertools
import json
import os
import re
import secrets
import select
import signal
import socket
import subprocess
import sys
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any

PORTS = (3478, 3479)
SIP_PORT = 5060
TOKEN = re.compile(rb"probe-[0-9a-f]{16}")

SHARE, SHARE_PER_S = 400.0, 100.0  # questions of one address: a whole measurement has about a hundred
MOST_SOURCES = 4096
MOST_KEPT = 64  # messages of port 5060
MOST_LATER, MOST_LATER_OF_ONE = 10_000, 64  # promises to speak
LONGEST_S, SHORTEST_S = 900.0, 0.5  # of a promise, and between two packets of one
MOST_CONNECTIONS, CONNECTION_S = 64, 5.0
MOST_BYTES = 8192  # of a datagram or a line
COOKIE_S = 120

# What comes of questions that are none.
MISTAKES = (
    ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError, OSError, subprocess.SubprocessError,
)  # fmt: skip

Address = tuple[str, int]
Question = dict[str, Any]
Reach = Callable[[Address, str, str, socket.socket], list[str]]


class Refused(Exception):
    """What was asked for is not to be had: `cookie`, or why not."""


class Reflector:
    """The sockets, and what is kept. One thread: `step` does what is due and what has come."""

    def __init__(
        self, addresses: list[str], reach: Reach | None = None, ports: tuple[int, ...] = PORTS, sip_port: int = SIP_PORT
    ) -> None:
        """Bind. Raises OSError, with `filename` naming the address and port that could not be had."""
        self.sockets: list[socket.socket] = []
        self._listeners: list[socket.socket] = []
        self.sip: list[socket.socket] = []
        self._connections: dict[socket.socket, tuple[Address, bytes]] = {}
        self._reach = reach
        self._secret = secrets.token_bytes(32)
        self._shares: OrderedDict[str, tuple[float, float]] = OrderedDict()  # address: questions left, when
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = itertools.count()
        self._promised: Counter[str] = Counter()
        self.ignored: Counter[str] = Counter()  # by reason
        try:
            for address in addresses:
                for port in ports:
                    self.sockets.append(_bound(socket.SOCK_DGRAM, (address, port)))
                    self._listeners.append(_bound(socket.SOCK_STREAM, self.sockets[-1].getsockname()))
                self.sip.append(_bound(socket.SOCK_DGRAM, (address, sip_port)))
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close all sockets."""
        for one in (*self.sockets, *self._listeners, *self.sip, *self._connections):
            one.close()

    def step(self, seconds: float = 1.0) -> None:
        """Do what is due, wait so long at most for what comes, and answer it."""
        if self._due:
            seconds = min(seconds, max(0.0, self._due[0][0] - time.monotonic()))
        every = (*self.sockets, *self._listeners, *self.sip, *self._connections)
        come = select.select(every, [], [], seconds)[0]
        while self._due and self._due[0][0] <= time.monotonic():  # first: an answer says that nothing is still to come
            heapq.heappop(self._due)[2]()
        for ready in come:
            try:
                if ready in self._listeners:
                    self._accept(ready)
                elif ready in self._connections:
                    self._read(ready)
                else:
                    self._receive(ready)
            except MISTAKES as error:
                self.ignored[type(error).__name__] += 1

    def _receive(self, asked: socket.socket) -> None:
        data, source = asked.recvfrom(MOST_BYTES)
        if not self._has_share(source[0]):
            self.ignored["too many"] += 1
        elif asked in self.sip:
            self._keep(data)
        else:
            self._answer(_question(data), len(data), asked, source)

    def _has_share(self, address: str) -> bool:
        """Take one question of this address's share, which grows with time."""
        now = time.monotonic()
        left, since = self._shares.pop(address, (SHARE, now))
        left = min(SHARE, left + (now - since) * SHARE_PER_S)
        self._shares[address] = (max(0.0, left - 1), now)
        if len(self._shares) > MOST_SOURCES:
            self._shares.popitem(last=False)
        return left >= 1

    def _keep(self, data: bytes) -> None:
        found = TOKEN.search(data)
        if found is None:
            self.ignored["no token"] += 1
            return
        self._kept[found[0].decode()] = data
        if len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)

    def cookie(self, address: str, age: int = 0) -> str:
        """Return what proves that somebody gets what is sent to this address, now or `age` periods ago."""
        text = f"{address} {int(time.monotonic() // COOKIE_S) - age}"
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()[:16]

    def _answer(self, question: Question, size: int, asked: socket.socket, source: Address) -> None:
        """Carry out one question of a datagram of so many bytes."""
        is_proved = str(question.get("cookie")) in (self.cookie(source[0]), self.cookie(source[0], 1))
        final: Question = {"id": str(question["id"])[:32], "seen": source, "cookie": self.cookie(source[0])}

        def refusal(reason: str) -> list[tuple[socket.socket, bytes]]:
            return [(asked, json.dumps({**final, "refused": reason}).encode())]

        def is_allowed(packets: list[tuple[socket.socket, bytes]]) -> bool:
            return is_proved or sum(len(packet) for _, packet in packets) <= size

        try:
            packets = self._packets(question, size, asked, source, is_proved)
            packets.append((asked, json.dumps({**final, **self._facts(question, asked)}).encode()))
        except Refused as refused:
            packets = refusal(str(refused))
        if not is_allowed(packets):
            packets = refusal("cookie")
        if not is_allowed(packets):
            self.ignored["too small"] += 1
            return
        for sender, packet in packets:
            sender.sendto(packet, source)

    def _packets(
        self, question: Question, size: int, asked: socket.socket, source: Address, is_proved: bool
    ) -> list[tuple[socket.socket, bytes]]:
        """Return what goes out at once before the answer; what shall go later is promised. Raises Refused."""
        number = str(question["id"])[:32]
        if question["ask"] == "others":
            return [
                (other, json.dumps({"id": number, "from": place}).encode())
                for place, other in enumerate(self.sockets)
                if other is not asked
            ]
        if question["ask"] == "big":
            empty = len(json.dumps({"id": number, "big": ""}))
            return [(asked, json.dumps({"id": number, "big": "." * (size - empty)}).encode())]
        if question["ask"] == "speak":
            if not is_proved:
                raise Refused("cookie")
            self._speak(question, number, source)
        return []

    def _facts(self, question: Question, asked: socket.socket) -> Question:
        """Return what the final answer says besides `seen`. Raises Refused."""
        if question["ask"] == "bytes":
            kept = self._kept.get(str(question["token"]))
            return {"bytes": None if kept is None else base64.b64encode(kept).decode()}
        if question["ask"] == "reach":
            if self._reach is None:
                raise Refused("it speaks to nobody but who asks")
            address, port = question["to"]
            router, number = str(question["router"]), str(question["id"])[:32]
            return {"ways": self._reach((str(address), int(port)), router, number, asked)}
        if question["ask"] not in ("where", "others", "big", "speak"):
            raise Refused("unknown question")
        return {}

    def _speak(self, question: Question, number: str, source: Address) -> None:
        """Send an unasked-for packet to the asking address, now or later, once or again and again."""
        sender = self.sockets[range(len(self.sockets))[int(question["by"])]]
        target = (source[0], int(question.get("port", source[1])))
        packet = json.dumps({"id": number, "from": int(question["by"])}).encode()
        after, every = float(question.get("after", 0)), float(question.get("every", 0))
        until = float(question.get("until", after))
        if not (0 <= after <= LONGEST_S and 0 <= until <= LONGEST_S):
            raise Refused(f"promises are for at most {LONGEST_S:g} s")
        if not (every == 0 or SHORTEST_S <= every <= LONGEST_S):
            raise Refused(f"packets are at least {SHORTEST_S:g} s apart")
        if not 0 < target[1] < 65_536:
            raise Refused("no such port")
        begun = time.monotonic()

        def speak() -> None:
            with contextlib.suppress(OSError):
                sender.sendto(packet, target)

        def speak_later(delay: float) -> None:
            speak()
            self._promised[source[0]] -= 1
            if every and delay + every <= until:
                promise(delay + every)

        def promise(delay: float) -> None:
            self._promised[source[0]] += 1
            heapq.heappush(self._due, (begun + delay, next(self._serial), lambda: speak_later(delay)))

        if not after and not every:
            speak()
            return
        self._promised += Counter()  # forgets who has nothing left
        if len(self._due) >= MOST_LATER or self._promised[source[0]] >= MOST_LATER_OF_ONE:
            raise Refused("too many promises")
        promise(after or every)

    def _accept(self, listener: socket.socket) -> None:
        connection, source = listener.accept()
        if len(self._connections) >= MOST_CONNECTIONS or not self._has_share(source[0]):
            self.ignored["too many"] += 1
            connection.close()
            return
        connection.setblocking(False)
        self._connections[connection] = (source, b"")
        deadline = time.monotonic() + CONNECTION_S
        heapq.heappush(self._due, (deadline, next(self._serial), lambda: self._hang_up(connection)))

    def _hang_up(self, connection: socket.socket) -> None:
        self._connections.pop(connection, None)
        connection.close()

    def _read(self, connection: socket.socket) -> None:
        """Read on; answer a whole line, and hang up."""
        source, so_far = self._connections[connection]
        data = b""
        try:
            data = connection.recv(MOST_BYTES)
            line, newline, _ = (so_far + data).partition(b"\n")
            if not newline and data and len(line) < MOST_BYTES:
                self._connections[connection] = (source, line)
                return
            if newline:
                question = _question(line)
                final = {"id": str(question["id"])[:32], "seen": source}
                try:
                    final |= self._facts(question, self.sockets[0])
                except Refused as refused:
                    final["refused"] = str(refused)
                connection.sendall(json.dumps(final).encode() + b"\n")
        except BlockingIOError:
            return
        except MISTAKES:
            self._hang_up(connection)
            raise
        self._hang_up(connection)


def _question(data: bytes) -> Question:
    """Return what was asked. Raises one of MISTAKES."""
    question = json.loads(data)
    if not isinstance(question, dict):
        raise ValueError("no question")
    return question


def _bound(kind: socket.SocketKind, address: Address) -> socket.socket:
    one = socket.socket(socket.AF_INET, kind)
    try:
        if kind is socket.SOCK_STREAM:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(address)
        if kind is socket.SOCK_STREAM:
            one.listen(MOST_CONNECTIONS)
        one.setblocking(False)
    except OSError as error:
        one.close()
        raise OSError(error.errno, error.strerror, "%s:%d" % address) from None
    return one


def reach_of(interface: str, gateway: str) -> Reach:
    """Return what tries to reach a private address as a public host of the lab would, by this interface.

    A way is a route: the ones that it has, on the wire itself, by the host's bridge (`gateway`), by the router that is
    not asked to translate.
    """

    def reach(target: Address, router: str, number: str, sender: socket.socket) -> list[str]:
        def send(way: str) -> None:
            sender.sendto(json.dumps({"id": number, "leak": way}).encode(), target)

        private = f"{target[0]}/32"
        with contextlib.suppress(OSError):  # unreachable, as it should be
            send("by its own routes")
        ways = {
            "on-link": ["dev", interface, "scope", "link"],
            "by the host": ["via", gateway, "dev", interface],
            "by the router": ["via", router, "dev", interface],
        }
        for way, route in ways.items():
            subprocess.run(["ip", "route", "replace", private, *route], check=True)
            try:
                for _ in range(2):  # the first may wait for ARP
                    send(way)
            finally:
                subprocess.run(["ip", "route", "del", private], check=True)
        return ["by its own routes", *ways]

    return reach


def main(interface: str) -> None:
    """Answer in the lab's core for ever; SIGTERM ends it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    addresses = [os.environ["REFLECTOR_IP"], os.environ["REFLECTOR_IP2"]]
    reflector = Reflector(addresses, reach_of(interface, os.environ["INTERNET_GATEWAY"]))
    print(f"core: reflecting on {' and '.join(addresses)}, ports {', '.join(map(str, (*PORTS, SIP_PORT)))}", flush=True)
    with open("/run/reflecting", "w", encoding="ascii"):
        pass
    while True:
        reflector.step()


if __name__ == "__main__":
    main(sys.argv[1])
