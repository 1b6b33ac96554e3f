"""Sound while it is heard: the newest packets of all taps, counted by tshark now and then, as those of a run are."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence

from observer.topology import Topology
from observer.view import media, schema
from observer.view.tail import Packet

MOST = 20_000  # packets that are kept: eight seconds of ten calls at all taps
EVERY_S, SHARE = 1.0, 5  # how often they are counted; when that takes long, so many times as long passes in between
SETTLED_S = 1.0  # what is younger may be on its way to the next tap, and would look lost
TOO_MANY = "there is more sound than can be counted while it is heard: of its last {:.0f} s each stream has what it had"


class Heard:
    """What is heard just now."""

    def __init__(self, topology: Topology, since: float) -> None:
        """Count what comes after `since` (Unix seconds)."""
        self.streams: list[schema.Media] = []
        self.news = threading.Event()  # they were counted anew
        self.note = ""
        self._topology = topology
        self._since = since
        self._packets: list[Packet] = []
        self._lock = threading.Lock()  # of what is above: a count takes a thread of its own
        self._due = 0.0
        self._has_more = False

    def add(self, packets: Iterable[Packet]) -> None:
        """Take what the taps have seen."""
        new = [packet for packet in packets if packet.time > self._since]
        if not new:
            return
        self._has_more = True
        with self._lock:
            self._packets += new
            if len(self._packets) > MOST:
                self._packets = newer(self._packets, sorted(each.time for each in self._packets)[MOST // 2])
                times = [each.time for each in self._packets]
                self.note = TOO_MANY.format(max(times, default=0.0) - min(times, default=0.0))

    def forget(self, until: float) -> None:
        """A run was judged, and its sound will be counted whole: what comes later is of the next one."""
        with self._lock:
            self._since, self._packets, self.note = until, [], ""
        self._has_more = False

    def count(self, now: float) -> None:
        """Count, if it is time to and something has come; `streams` and `news` tell of it later."""
        if self._has_more and now >= self._due:
            self._due = now + 3600.0  # not while this one goes on
            with self._lock:
                packets, since = older(self._packets, now - SETTLED_S), self._since
                self._has_more = len(packets) < len(self._packets)
            threading.Thread(target=self._count, args=(packets, since), daemon=True).start()

    def _count(self, packets: Sequence[Packet], since: float) -> None:
        began = time.monotonic()
        try:
            found = media.of_packets(packets, self._topology) if packets else []
            with self._lock:
                if self._since == since and found:
                    self.streams = found
                    self.news.set()
        finally:
            self._due = time.time() + max(EVERY_S, SHARE * (time.monotonic() - began))


def older(packets: Sequence[Packet], until: float) -> list[Packet]:
    """Return the packets that had been seen by then at some tap, as all taps saw them."""
    seen = {packet.payload for packet in packets if packet.time <= until}
    return [packet for packet in packets if packet.payload in seen]


def newer(packets: Sequence[Packet], since: float) -> list[Packet]:
    """Return the packets that no tap had seen by then."""
    seen = {packet.payload for packet in packets if packet.time < since}
    return [packet for packet in packets if packet.payload not in seen]
