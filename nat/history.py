"""What became of the router's mappings: made, forgotten; read from connection tracking's own events.

A mapping is one private address and port with its public ones. It is made with the first entry of connection tracking
that uses it, and ended with the last, whoever is spoken to.
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import subprocess
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable
from typing import Any, NamedTuple

MOST_EVENTS = 5_000  # older ones are forgotten
# How often entries that have expired are looked for: so many times in a lifetime, but within these seconds. A look goes
# through the machine's whole table of connections, which takes 12 ms where that is large.
SWEEPS, OFTEN_S, SELDOM_S = 20, 0.25, 2.0
ANSWER_BYTES = 65_536
# netlink(7), linux/netfilter/nfnetlink_conntrack.h: all entries of IPv4 connection tracking.
NETLINK_NETFILTER, IPCTNL_MSG_CT_GET, REQUEST_DUMP = 12, 0x0101, 0x0301
NLMSG_ERROR, NLMSG_DONE = 2, 3
HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence number, port
LIST_ENTRIES = HEADER.pack(HEADER.size + 4, IPCTNL_MSG_CT_GET, REQUEST_DUMP, 0, 0) + bytes((socket.AF_INET, 0, 0, 0))
_EVENT = re.compile(
    r"\[(?P<time>[\d.]+)\]\s+\[(?P<what>NEW|DESTROY)\]\s+(?P<transport>udp|tcp)\s.*?"
    r"src=(?P<osrc>\S+) dst=(?P<odst>\S+) sport=(?P<osport>\d+) dport=(?P<odport>\d+).*?"
    r"src=(?P<rsrc>\S+) dst=(?P<rdst>\S+) sport=(?P<rsport>\d+) dport=(?P<rdport>\d+)"
)

Event = dict[str, Any]


class Mapping(NamedTuple):
    """One socket of the home, and how the Internet sees it."""

    transport: str
    private: tuple[str, int]
    public: tuple[str, int]


def _is_last(answer: bytes) -> bool:
    """Say whether a datagram of netlink messages has the end of a dump in it, or an error."""
    while len(answer) >= HEADER.size:
        length, kind, *_ = HEADER.unpack_from(answer)
        if kind in (NLMSG_ERROR, NLMSG_DONE):
            return True
        answer = answer[(length + 3) // 4 * 4 :]
    return False


def translation(line: str) -> tuple[float, str, Mapping] | None:
    """Return (time, "NEW" or "DESTROY", mapping) of a line of `conntrack -E -o timestamp`; None where it translates
    nothing. What came from outside first belongs to the mapping that let it in."""
    found = _EVENT.search(line)
    if found is None:
        return None
    original = (found["osrc"], int(found["osport"]))
    reached = (found["odst"], int(found["odport"]))
    answering = (found["rsrc"], int(found["rsport"]))
    answered = (found["rdst"], int(found["rdport"]))
    if answered != original:
        mapping = Mapping(found["transport"], original, answered)
    elif answering != reached:
        mapping = Mapping(found["transport"], answering, reached)
    else:
        return None
    return float(found["time"]), found["what"], mapping


class History:
    """The router's events, newest last."""

    def __init__(self) -> None:
        self._entries: Counter[Mapping] = Counter()
        self._made: dict[Mapping, float] = {}
        self._events: deque[Event] = deque(maxlen=MOST_EVENTS)
        self._lock = threading.Lock()
        self.lifetime = 0.0  # of a mapping, in seconds

    def follow(self) -> None:
        """Start to read connection tracking's events, for as long as this process lives."""
        command = ["conntrack", "-E", "-e", "NEW,DESTROY", "-o", "timestamp", "-b", "8388608"]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert process.stdout is not None
        threading.Thread(target=self.read, args=(process.stdout,), daemon=True).start()
        threading.Thread(target=self._sweep, daemon=True).start()

    def _sweep(self) -> None:
        """Have what has expired taken out, for ever: by itself the kernel does so up to a minute later, and only then
        says so. To list the entries is to look through them."""
        while True:
            threading.Event().wait(min(max(self.lifetime / SWEEPS, OFTEN_S), SELDOM_S))
            if self._entries:
                with contextlib.suppress(OSError):  # too much at once (ENOBUFS): the next time comes soon
                    self._look_through()

    def _look_through(self) -> None:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as kernel:
            kernel.send(LIST_ENTRIES)
            while not _is_last(kernel.recv(ANSWER_BYTES)):
                pass

    def read(self, lines: Iterable[str]) -> None:
        """Take lines of `conntrack -E -o timestamp`, to their end."""
        for line in lines:
            found = translation(line)
            if found is not None:
                self._count(*found)

    def tell(self, verb: str, text: str) -> None:
        """Add what somebody did to the router."""
        with self._lock:
            self._events.append({"time": time.time(), "event": "verb", "verb": verb, "text": text})

    def events(self, since: float = 0.0) -> list[Event]:
        """Return all events since then (seconds since the epoch), oldest first."""
        with self._lock:
            return sorted((event for event in self._events if event["time"] >= since), key=lambda event: event["time"])

    def made(self, mapping: Mapping) -> float | None:
        """Return when this mapping was made, in seconds since the epoch; None for one that is not there."""
        with self._lock:
            return self._made.get(mapping)

    def _count(self, moment: float, what: str, mapping: Mapping) -> None:
        with self._lock:
            self._entries[mapping] += 1 if what == "NEW" else -1
            if what == "NEW" and self._entries[mapping] == 1:
                self._made[mapping] = moment
                self._add(moment, "mapping-created", mapping)
            elif what == "DESTROY" and self._entries[mapping] <= 0:
                del self._entries[mapping]
                if self._made.pop(mapping, None) is not None:
                    self._add(moment, "mapping-ended", mapping)

    def _add(self, moment: float, event: str, mapping: Mapping) -> None:
        self._events.append({"time": moment, "event": event, **mapping._asdict()})
