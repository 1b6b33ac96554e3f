"""Of captures that are too large to be judged, the newest part: of all of them from the same moment on.

A lab may have carried calls for long that nobody asked for: the next run is not to take the machine's memory.
"""

from __future__ import annotations

import math
import mmap
import shutil
import struct
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

MOST_BYTES = 64 << 20  # of all taps together: three thousand calls, which take the judge a minute
_HEADER, _RECORD = 24, struct.Struct("<IIII")  # pcap: the file's, and that of each packet


@dataclass(slots=True)
class _Index:
    """When each packet of a capture came, and where it is in the file."""

    path: Path
    times: array[float] = field(default_factory=lambda: array("d"))
    places: array[int] = field(default_factory=lambda: array("Q"))
    size: int = 0

    def __post_init__(self) -> None:
        if self.path.stat().st_size < _HEADER:  # nothing can be mapped of an empty file
            return
        with self.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
            self.size, at = len(whole), _HEADER
            while at + _RECORD.size <= self.size:
                seconds, micros, length, _ = _RECORD.unpack_from(whole, at)
                self.times.append(seconds + micros / 1e6)
                self.places.append(at)
                at += _RECORD.size + length

    def place(self, since: float) -> int:
        """Return where what is as new as that begins."""
        number = bisect_left(self.times, since)
        return self.places[number] if number < len(self.places) else self.size

    def shorten(self, since: float) -> None:
        """Leave what is as new as that."""
        if not self.size:
            return
        newer = self.path.with_suffix(".newer")
        with self.path.open("rb") as old, newer.open("wb") as new:
            new.write(old.read(_HEADER))
            old.seek(self.place(since))
            shutil.copyfileobj(old, new)
        newer.replace(self.path)


def keep(captures: Sequence[Path], wanted: float = math.inf, most_bytes: int = MOST_BYTES) -> float:
    """Shorten captures until they fit, all together, but never by what is `wanted`: what is as new as that.

    Times are in seconds since the epoch. Returns when the captures begin now; 0 where they fitted.
    """
    if sum(path.stat().st_size for path in captures) <= most_bytes:
        return 0.0
    found = [_Index(path) for path in captures]
    moments = sorted({round(time, 1) for index in found for time in index.times})
    fits = bisect_left(moments, 1, key=lambda since: sum(each.size - each.place(since) for each in found) <= most_bytes)
    since = moments[fits] if fits < len(moments) else moments[-1] + 1.0
    since = min(since, wanted)
    for index in found:
        index.shorten(since)
    return since
