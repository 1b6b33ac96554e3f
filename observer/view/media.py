"""RTP, as tshark counts it: packets, loss and jitter of each stream at each tap."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from observer.decode import ONLY, captures
from observer.topology import Topology
from observer.view import schema
from observer.view.lanes import CORE, Places
from observer.view.tail import Packet, file

PATIENT = ("nice", "-n", "19")  # a live page counts while calls go on: these come first
# tshark -z rtp,streams: start, end, source, port, destination, port, SSRC, payload, packets, lost (percent), five more
# columns in milliseconds (deltas: min, mean, max; jitter: min, mean, max), problems.
_ROW = re.compile(
    r"^\s*(?P<start>\d+\.\d+)\s+(?P<end>\d+\.\d+)\s+(?P<source>[0-9a-f.:]+)\s+(?P<sport>\d+)\s+(?P<destination>[0-9a-f.:]+)"
    r"\s+(?P<dport>\d+)\s+(?P<ssrc>0x[0-9A-Fa-f]+)\s+(?P<payload>.+?)\s+(?P<packets>\d+)\s+(?P<lost>-?\d+) \("
    r"[-\d.]+%\)\s+[-\d.]+\s+[-\d.]+\s+[-\d.]+\s+[-\d.]+\s+(?P<jitter>[-\d.]+)"
)


def streams(folder: Path, topology: Topology) -> list[schema.Media]:
    """Return the streams in `<tap>.pcap` of a folder, in the order in which they began."""
    found = [each for path in captures(folder) for each in _of(path, topology)]
    return sorted(found, key=lambda media: media["start"])


def of_packets(packets: Iterable[Packet], topology: Topology) -> list[schema.Media]:
    """Return the streams in packets of all taps, in the order in which they began."""
    by_tap: dict[str, list[Packet]] = {}
    for packet in packets:
        by_tap.setdefault(packet.tap, []).append(packet)
    found = [
        each
        for tap, there in by_tap.items()
        for each in read(_table("-", file(there)), tap, topology, there[0].time)
    ]
    return sorted(found, key=lambda media: media["start"])


def _of(path: Path, topology: Topology) -> Iterator[schema.Media]:
    lines = _table(str(path))
    if any("0x" in line for line in lines):
        yield from read(lines, path.stem, topology, began(path))


def _table(source: str, given: bytes = b"") -> list[str]:
    command = [*PATIENT, "tshark", "-q", "-r", source, *ONLY, "-z", "rtp,streams"]
    said = subprocess.run(command, input=given, capture_output=True, check=False).stdout
    return said.decode(errors="backslashreplace").splitlines()


def read(lines: Iterable[str], tap: str, topology: Topology, zero: float) -> Iterator[schema.Media]:
    """Yield what tshark's table says of one tap's capture, which began at `zero` (seconds since the epoch)."""
    places = Places(topology)
    for line in lines:
        row = _ROW.match(line)
        if row is None:
            continue
        ends = [_end(_lane(row[side], tap, topology), tap, places) for side in ("source", "destination")]
        yield {
            "tap": tap, "origin": ends[0], "target": ends[1],
            "source": f"{row['source']}:{row['sport']}", "destination": f"{row['destination']}:{row['dport']}",
            "ssrc": row["ssrc"].lower(), "payload": row["payload"],
            "start": zero + float(row["start"]), "end": zero + float(row["end"]),
            "packets": int(row["packets"]), "lost": int(row["lost"]), "jitter": float(row["jitter"]),
        }  # fmt: skip


def _lane(address: str, tap: str, topology: Topology) -> str:
    """Return who has an address at a tap: at home a phone or its router, and whoever has a private one on the Internet
    is not there: that comes to its core."""
    inside = next((home for home in topology.homes if tap in (home.lan_tap, *home.phones)), None)
    if inside is not None:
        name = topology.name(address, inside.lan_tap)
        return name if name in inside.phones else inside.router
    lost = topology.core and topology.is_public_tap(tap) and topology.is_private(address)
    return CORE if lost else topology.name(address, tap)


def _end(lane: str, tap: str, places: Places) -> schema.End:
    return {"lane": lane, "edge": places.edge(lane, tap)}


def began(path: Path) -> float:
    """Return the time of a capture's first packet, in seconds since the epoch."""
    command = [*PATIENT, "tshark", "-n", "-r", str(path), "-c", "1", "-T", "fields", "-e", "frame.time_epoch"]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return float(said) if re.fullmatch(r"\d+\.\d+", said) else 0.0
