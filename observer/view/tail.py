"""What the taps write, as they write it: the packets of all captures as one stream of pcapng, for a tshark to read.

Only the containers are read here, records and blocks; what is in a packet is tshark's business.
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_FILE = re.compile(r"(?P<tap>[a-z-]+)-\d+\.pcap")
_HEADER, _RECORD = struct.Struct("<IHHiIII"), struct.Struct("<IIII")  # pcap: the file's, and that of each packet
_MAGIC = 0xA1B2C3D4  # little-endian, microseconds: what tcpdump writes on every machine that the lab runs on
_SECTION, _INTERFACE, _PACKET = 0x0A0D0D0A, 1, 6  # blocks of pcapng
ETHERNET = 1  # a tap that has none yet; what tcpdump captures here is Ethernet
AT_FIRST_BYTES = 4 << 20  # of a capture that has been growing for long, what is read when somebody begins to look
AT_ONCE_BYTES = 1 << 20
REMEMBERED = 2000  # packets that may come twice, when one capture takes over from another
TWICE_S = 0.05


@dataclass(slots=True, frozen=True)
class Packet:
    """One packet as a tap has it."""

    tap: str
    seconds: int
    micros: int
    size: int  # bytes on the wire
    data: bytes

    @property
    def is_media(self) -> bool:
        """Say whether it is RTP or RTCP by UDP and IPv4: version 2, in the first two bits (RFC 3550 §5.1)."""
        data = self.data
        if data[12:14] != b"\x08\x00" or data[23:24] != b"\x11":
            return False
        payload = self.payload
        return bool(payload) and payload[0] >> 6 == 2

    @property
    def payload(self) -> bytes:
        """What UDP carries, by IPv4: the same at all taps."""
        return self.data[14 + (self.data[14] & 15) * 4 + 8 :]

    @property
    def time(self) -> float:
        """Seconds since the epoch."""
        return self.seconds + self.micros / 1e6


class Capture:
    """One capture that grows: what has been written since it was last asked."""

    def __init__(self, tap: str, path: Path) -> None:
        """Open it; of a large one only the end is read. Raises FileNotFoundError."""
        self.tap = tap
        self._file: BinaryIO = path.open("rb")
        self._rest = b""
        self._is_begun = False

    def packets(self) -> Iterator[Packet]:
        """Yield the packets that are whole by now."""
        self._rest += self._file.read(AT_ONCE_BYTES)
        if not self._is_begun:
            if len(self._rest) < _HEADER.size:
                return
            self._rest = self._rest[_HEADER.size :]
            self._is_begun = True
            self._skip()
        at, rest = 0, self._rest
        while len(rest) - at >= _RECORD.size:
            seconds, micros, length, size = _RECORD.unpack_from(rest, at)
            if len(rest) - at < _RECORD.size + length:
                break
            at += _RECORD.size
            yield Packet(self.tap, seconds, micros, size, rest[at : at + length])
            at += length
        self._rest = rest[at:]

    def _skip(self) -> None:
        """Go to where the last of a large file begins, from packet to packet."""
        whole = os.fstat(self._file.fileno()).st_size
        if whole <= AT_FIRST_BYTES + AT_ONCE_BYTES:
            return
        at = _HEADER.size
        while at < whole - AT_FIRST_BYTES:
            self._file.seek(at)
            head = self._file.read(_RECORD.size)
            if len(head) < _RECORD.size:
                break
            at += _RECORD.size + _RECORD.unpack(head)[2]
        self._file.seek(at)
        self._rest = b""

    def close(self) -> None:
        """Let go of it."""
        self._file.close()


class Tail:
    """All captures of a folder, whichever come and go."""

    def __init__(self, folder: Path, before: Iterable[Path] = ()) -> None:
        """Follow a folder's captures; `before` are finished ones, read first: `<tap>.pcap`."""
        self._folder = folder
        self._open: dict[tuple[str, int], Capture] = {}  # by tap and inode: a cut moves the file
        self._seen: OrderedDict[tuple[str, bytes], tuple[Capture, float]] = OrderedDict()
        for path in before:
            with contextlib.suppress(OSError):
                self._add(path.stem, path)

    def packets(self) -> list[Packet]:
        """Return what has come since, in the order of time as far as it came together."""
        there = self._look()
        found = []
        for key, capture in list(self._open.items()):
            new = [packet for packet in capture.packets() if self._is_new(capture, packet)]
            found += new
            if not new and key not in there:
                capture.close()
                del self._open[key]
        return found

    def close(self) -> None:
        """Let go of everything."""
        for capture in self._open.values():
            capture.close()
        self._open.clear()

    def _look(self) -> set[tuple[str, int]]:
        """Open what is new; return what is there."""
        there = set()
        with contextlib.suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                found = _FILE.fullmatch(entry.name)
                if found:
                    with contextlib.suppress(OSError):  # it was moved away meanwhile
                        there.add(self._add(found["tap"], Path(entry.path)))
        return there

    def _add(self, tap: str, path: Path) -> tuple[str, int]:
        key = tap, path.stat().st_ino
        if key not in self._open:
            self._open[key] = Capture(tap, path)
        return key

    def _is_new(self, capture: Capture, packet: Packet) -> bool:
        """Say whether no other capture of this tap had it: one is started before the last one ends."""
        key = packet.tap, packet.data
        known = self._seen.get(key)
        self._seen[key] = capture, packet.time
        self._seen.move_to_end(key)
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return known is None or known[0] is capture or abs(known[1] - packet.time) > TWICE_S


def has_media(path: Path) -> bool:
    """Say whether there is RTP near the beginning of a finished capture, without a program that would look for it."""
    capture = Capture("", path)
    try:
        return any(packet.is_media for packet in capture.packets())
    finally:
        capture.close()


def section() -> bytes:
    """Return the block by which a stream of pcapng begins."""
    return _block(_SECTION, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))


def interface() -> bytes:
    """Return the block that announces one more interface: they are numbered as they come."""
    return _block(_INTERFACE, struct.pack("<HHI", ETHERNET, 0, 0))


def file(packets: Iterable[Packet]) -> bytes:
    """Return a capture of one tap's packets."""
    return b"".join([section(), interface(), *(block(packet, 0) for packet in packets)])


def block(packet: Packet, number: int) -> bytes:
    """Return a packet that came by this interface."""
    time = packet.seconds * 1_000_000 + packet.micros
    head = struct.pack("<IIIII", number, time >> 32, time & 0xFFFFFFFF, len(packet.data), packet.size)
    return _block(_PACKET, head + packet.data)


def _block(kind: int, body: bytes) -> bytes:
    padded = body + b"\0" * (-len(body) % 4)
    size = len(padded) + 12
    return struct.pack("<II", kind, size) + padded + struct.pack("<I", size)
