"""A TLS connection outlives a run, and without its beginning no key opens it: what was said in it is put before."""

from __future__ import annotations

import math
import re
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path

from observer.decode import Address, captures

Connection = tuple[Address, Address]  # its two ends, the lower first

TLS_PORT = 5061
# What is kept of one tap: tshark reads all of it again with every run, and a filter's time grows with its square.
MOST_BYTES, MOST_OPEN = 32 << 20, 100
_BOUNDS = f"tcp port {TLS_PORT} and tcp[tcpflags] & (tcp-syn|tcp-fin|tcp-rst) != 0"
_BOUND = re.compile(r"IP ([0-9.]+)\.([0-9]+) > ([0-9.]+)\.([0-9]+): Flags \[([^]]*)\]")
_HEADER = 24  # bytes before a capture's first packet, whose time follows (pcap: seconds, microseconds)


def prepend(folder: Path, before: Path) -> float:
    """Put what `before` has of each tap's TLS connections in front of `<tap>.pcap`; keep those that are open still.

    Returns when the captures themselves began, in seconds since the epoch: what is older has been judged. Of a tap's
    open connections at most MOST_OPEN are kept, the newest, and none where they have more than MOST_BYTES: what is
    forgotten is said in a line.
    """
    before.mkdir(exist_ok=True)
    pairs = [(capture, before / capture.name) for capture in captures(folder)]
    began = min((_began(capture) for capture, _ in pairs), default=0.0)
    for capture, kept in pairs:
        if kept.exists():
            new = capture.rename(capture.with_suffix(".new"))
            _run("mergecap", "-F", "pcap", "-w", str(capture), str(kept), str(new))
            new.unlink()
            kept.unlink()
        _keep(capture, kept, open_connections(_tcpdump(capture, "-t", _BOUNDS).splitlines()))
    return began


def open_connections(lines: Iterable[str]) -> list[Connection]:
    """Return the connections whose beginning was seen, and not their end; the oldest first.

    `lines` are tcpdump's (-n) of packets that have SYN, FIN or RST, in the order of time. The same two ends may meet
    again: the last of it counts.
    """
    still: dict[Connection, None] = {}
    for line in lines:
        found = _BOUND.search(line)
        if found:
            one, its_port, other, other_port, flags = found.groups()
            first, second = sorted(((one, int(its_port)), (other, int(other_port))))
            if "S" in flags:
                still[first, second] = None
            else:
                still.pop((first, second), None)
    return list(still)


def _keep(capture: Path, kept: Path, still: list[Connection]) -> None:
    """Keep what a capture has of these connections. One that is forgotten has lost its beginning, and is said once."""
    newest = still[-MOST_OPEN:]
    if newest:
        _tcpdump(capture, "-w", str(kept), " or ".join(map(_packets_of, newest)))
        if kept.stat().st_size > MOST_BYTES:
            kept.unlink()
            newest = []
    if len(newest) < len(still):
        print(
            f"connections: {kept.stem}: {len(still) - len(newest)} of {len(still)} open TLS connections are forgotten, "
            "for they have become too many or too large: what is said in them from now on cannot be read", flush=True,
        )  # fmt: skip


def _packets_of(connection: Connection) -> str:
    """Return the filter that passes both directions of a connection."""
    return "({})".format(" and ".join(f"host {address} and tcp port {port}" for address, port in connection))


def _began(capture: Path) -> float:
    with capture.open("rb") as packets:
        head = packets.read(_HEADER + 8)
    if len(head) < _HEADER + 8:
        return math.inf
    seconds, micros = struct.unpack_from("<II", head, _HEADER)
    return float(seconds + micros / 1e6)


def _tcpdump(capture: Path, *more: str) -> str:
    # -Z root: else tcpdump would become another user, and may not
    return _run("tcpdump", "-n", "-Z", "root", "-r", str(capture), *more)


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, errors="backslashreplace").stdout
