"""A tshark that is fed packets and tells what SIP is in them, while somebody looks.

When more comes than it can take, whole calls are left out, so that those which are shown are whole; what is left out is
counted, and said.
"""

from __future__ import annotations

import queue
import re
import subprocess
import threading
import time
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from observer.decode import DISSECT, Sighting, read
from observer.view.tail import Packet, block, interface, section

MOST_A_SECOND = 400  # packets with a message in them, in the long run: a quarter of what a core dissects
BURST = 2000
MOST_FED = 30_000  # packets: then another one takes its place, for it remembers what it was fed, 2 kB of each
_CALL_ID = re.compile(rb"\r\n(?:Call-ID|i)[ \t]*:[ \t]*([^\r\n]+)", re.IGNORECASE)
_SPARSE = 64  # at the worst one call of so many is shown


class Tshark:
    """One process: pcapng in, sightings out."""

    def __init__(self, keys: Path) -> None:
        command = ["tshark", "-l", "-r", "-", *DISSECT]
        if keys.exists():
            command += ["-o", f"tls.keylog_file:{keys}"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert self._process.stdin is not None
        self._into = self._process.stdin
        self._taps: list[str] = []
        self.fed = 0
        self.found: queue.SimpleQueue[Sighting] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()
        self._into.write(section())

    def feed(self, packets: Iterable[Packet]) -> None:
        """Give it packets. Raises OSError when it has ended."""
        for packet in packets:
            if packet.tap not in self._taps:
                self._taps.append(packet.tap)
                self._into.write(interface())
            self._into.write(block(packet, self._taps.index(packet.tap)))
            self.fed += 1
        self._into.flush()

    def end(self) -> None:
        """End it; what it has not told yet, nobody will hear."""
        self._process.kill()
        self._process.wait()

    def _read(self) -> None:
        output: IO[bytes] | None = self._process.stdout
        assert output is not None
        lines = (line.decode("utf-8", "backslashreplace") for line in output)
        for seen in read(lines, self._taps):
            if seen.is_sip or seen.crlf:
                self.found.put(seen)


class Feed:
    """Packets in, sightings out, within bounds."""

    def __init__(self, keys: Path) -> None:
        self._keys = keys
        self._tshark: Tshark | None = None
        self._credit, self._counted = float(BURST), time.monotonic()
        self._share = 1  # one call of so many is shown
        self.left_out = 0  # packets
        self.has_forgotten = False  # the beginnings of TLS connections: what is said in those cannot be read any more

    def feed(self, packets: list[Packet]) -> None:
        """Take packets, as many as there is room for."""
        chosen = self._choose(packets)
        if self._tshark is None or self._tshark.fed > MOST_FED:
            self.has_forgotten |= self._tshark is not None and self._keys.exists()
            self._renew()
        assert self._tshark is not None
        try:
            self._tshark.feed(chosen)
        except OSError:  # it died of something that it was fed: another one goes on after that
            self._renew()

    def sightings(self) -> list[Sighting]:
        """Return what has been found since."""
        found: list[Sighting] = []
        while self._tshark is not None and not self._tshark.found.empty():
            found.append(self._tshark.found.get())
        return found

    def end(self) -> None:
        """End what runs."""
        if self._tshark is not None:
            self._tshark.end()
            self._tshark = None

    def _renew(self) -> None:
        self.end()
        self._tshark = Tshark(self._keys)

    def _choose(self, packets: list[Packet]) -> list[Packet]:
        """Return those that there is room for: of what has a Call-ID in clear, the calls that are followed."""
        now = time.monotonic()
        self._credit = min(self._credit + (now - self._counted) * MOST_A_SECOND, BURST)
        self._counted = now
        if len(packets) > self._credit:
            self._share = min(self._share * 2, _SPARSE)
        elif self._credit >= BURST - 1:
            self._share = 1
        if self._share == 1:
            self._credit -= len(packets)
            return packets
        chosen = [packet for packet in packets if self._is_followed(packet)]
        chosen = chosen[: max(0, int(self._credit))]
        self._credit -= len(chosen)
        self.left_out += len(packets) - len(chosen)
        return chosen

    def _is_followed(self, packet: Packet) -> bool:
        found = _CALL_ID.search(packet.data)
        return found is None or zlib.crc32(found[1]) % self._share == 0
