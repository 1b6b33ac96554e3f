"""A socket behind the router, and how it asks the reflector (`nat/reflector.py` has the questions).

Standard library only, and no rights: the probe runs in a phone's pod and on anybody's machine.
"""

from __future__ import annotations

import contextlib
import json
import random
import secrets
import select
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any, Self

ANSWER_S = 1.0
TRIES = 3
TRIES_TO_SEND = range(2)  # an ICMP error that has come fails the next packet, and only that
PADDED = 400  # bytes of a question: a reflector sends nobody more than it got from him
IP_RECVERR = 11  # Linux, ip(7); `socket` has it from Python 3.14
TIME_EXCEEDED = 11  # RFC 792
SOURCE_PORTS = range(20_000, 30_000)  # below the ephemeral ports of RFC 6335 §6 and of Linux

Address = tuple[str, int]
Answer = dict[str, Any]
Heard = list[tuple[Answer, Address]]  # what a socket got, and from whom


class Silence(Exception):
    """The reflector did not answer: one line."""


class Prober:
    """One socket behind the router: a fresh source port, a fresh mapping."""

    def __init__(self, reflectors: list[Address], address: str = "", port: int = 0) -> None:
        """`reflectors`: (address 1, port 1), (1, 2), (2, 1), (2, 2). Without `address`: the one that the kernel would
        send from. Raises Silence, and OSError for an address or a port that cannot be had."""
        self.reflectors = reflectors
        self.address = address or source_towards(reflectors[0])
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._cookie = ""
        self._tellers: list[str] = []
        try:
            self.port = self._bind(port)
        except OSError:
            self.socket.close()
            raise

    def __enter__(self) -> Self:
        """Return the prober."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the socket."""
        self.socket.close()

    def _bind(self, wanted: int) -> int:
        """Bind to a port that no router would choose by itself: one that lies in its range anyway it may keep, and
        would pass for a router that preserves ports. Returns the port."""
        if wanted:
            self.socket.bind((self.address, wanted))
            return wanted
        self.socket.bind((self.address, 0))  # an address that is not here fails here, and not for ever below
        self.socket.close()
        while True:
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            port = random.choice(SOURCE_PORTS)
            try:
                self.socket.bind((self.address, port))
            except OSError:  # taken
                self.socket.close()
                continue
            return port

    @property
    def own(self) -> Address:
        """Where this socket stands, as it sees itself."""
        return self.address, self.port

    def send(self, reflector: int, size: int = PADDED, **question: Any) -> str:
        """Ask, without waiting; return the question's id. Raises Silence where there is no way there."""
        question |= {"id": secrets.token_hex(8), "cookie": self._cookie, "pad": ""}
        question["pad"] = "." * (size - len(json.dumps(question)))
        for _ in TRIES_TO_SEND:
            try:
                self.socket.sendto(json.dumps(question).encode(), self.reflectors[reflector])
            except OSError as error:
                reason = error.strerror
            else:
                return str(question["id"])
        raise Silence(f"nothing can be sent to {self.reflectors[reflector][0]}: {reason}")

    def ask(self, reflector: int, size: int = PADDED, **question: Any) -> tuple[Answer, Heard]:
        """Return the answer, and everything else that came before it. Raises Silence."""
        before: Heard = []
        for _ in range(TRIES):
            answer = self.wait(self.send(reflector, size, **question), before)
            if answer is not None and answer.get("refused") == "cookie":  # now we have one
                answer = self.wait(self.send(reflector, size, **question), before)
            if answer is not None and "refused" in answer:
                raise Silence(f"the reflector refuses {question['ask']}: {answer['refused']}")
            if answer is not None:
                return answer, before
        raise Silence(f"no answer from {self.reflectors[reflector][0]} port {self.reflectors[reflector][1]}")

    def wait(self, number: str, before: Heard, seconds: float = ANSWER_S) -> Answer | None:
        """Return the final answer to a question; None after so many seconds. All else goes to `before`."""
        for answer, source in self._listen(seconds):
            if answer.get("id") == number and "seen" in answer:
                self._cookie = str(answer.get("cookie", self._cookie))
                return answer
            before.append((answer, source))
        return None

    def hear(self, seconds: float = 0.0) -> Heard:
        """Return what came, waiting for the first so long."""
        heard: Heard = []
        for item in self._listen(seconds):
            heard.append(item)
            break
        return heard + list(self._listen(0.0)) if heard else heard

    def seen_by(self, reflector: int) -> Address:
        """Return the address and port that this reflector sees us at. Raises Silence."""
        address, port = self.ask(reflector, ask="where")[0]["seen"]
        return str(address), int(port)

    def tell(self, target: Address, text: Answer) -> None:
        """Send something to anybody."""
        with contextlib.suppress(OSError):  # no way there: then it does not arrive
            self.socket.sendto(json.dumps(text).encode(), target)

    def reach(self, hops: int) -> None:
        """Send only so far from now on. Who says that this was not far enough, `tellers` tells. Linux only."""
        self.socket.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)

    def tellers(self) -> list[str]:
        """Return who said "time exceeded" since the last time."""
        self._note_tellers()
        tellers, self._tellers = self._tellers, []
        return tellers

    def _note_tellers(self) -> None:
        """Empty the socket's queue of ICMP errors."""
        while True:
            try:
                errors = self.socket.recvmsg(1024, 512, socket.MSG_ERRQUEUE | socket.MSG_DONTWAIT)[1]
            except BlockingIOError:
                return
            for level, kind, data in errors:  # struct sock_extended_err, then the sockaddr_in of who said it
                if (level, kind) == (socket.IPPROTO_IP, IP_RECVERR) and len(data) >= 24 and data[5] == TIME_EXCEEDED:
                    self._tellers.append(socket.inet_ntoa(struct.unpack_from("4s", data, 20)[0]))

    def _listen(self, seconds: float) -> Iterator[tuple[Answer, Address]]:
        """Yield what comes within so many seconds, of all that is JSON: anybody may send here."""
        deadline = time.monotonic() + seconds
        while select.select([self.socket], [], [], max(0.0, deadline - time.monotonic()))[0]:
            try:
                data, source = self.socket.recvfrom(65_535, socket.MSG_DONTWAIT)
            except OSError:  # an ICMP error, for whoever asked to hear of them
                self._note_tellers()
                continue
            with contextlib.suppress(ValueError, RecursionError):
                answer = json.loads(data)
                if isinstance(answer, dict):
                    yield answer, source


def source_towards(target: Address) -> str:
    """Return the address of this machine that the kernel would send from. Raises Silence where there is no way."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect(target)
        except OSError as error:
            raise Silence(f"nothing can be sent to {target[0]}: {error.strerror}") from None
        return str(asked.getsockname()[0])


def ask_tcp(target: Address, source: str = "", seconds: float = ANSWER_S, **question: Any) -> Answer:
    """Ask the reflector by TCP, one line each way. Raises Silence."""
    question |= {"id": secrets.token_hex(8)}
    try:
        with socket.create_connection(target, seconds, (source, 0) if source else None) as connection:
            # Ends with RST: what lingers at the reflector (TIME_WAIT) would refuse the next one from this public port,
            # which a router with few ports gives soon.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(json.dumps(question).encode() + b"\n")
            with connection.makefile("rb") as lines:
                answer = json.loads(lines.readline(65_536) or b"{}")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise Silence(f"no answer from {target[0]} port {target[1]} by UDP or TCP: {reason}") from None
    if not isinstance(answer, dict) or answer.get("id") != question["id"]:
        raise Silence(f"what answers at {target[0]} port {target[1]} by TCP is no reflector")
    return answer
