"""A TLS connection outlives a run, and without its beginning no key opens it: what was said in it is put before."""

from __future__ import annotations

import math
import struct
import subprocess
from pathlib import Path

from observer.decode import captures

TLS_PORT = 5061
_HEADER = 24  # bytes before a capture's first packet, whose time follows (pcap: seconds, microseconds)


def prepend(folder: Path, before: Path) -> float:
    """Put what `before` has of each tap's TLS connections in front of `<tap>.pcap`, and keep it all for the next time.

    Returns when the captures themselves began, in seconds since the epoch: what is older has been judged.
    """
    before.mkdir(exist_ok=True)
    pairs = [(capture, before / capture.name) for capture in captures(folder)]
    began = min((_began(capture) for capture, _ in pairs), default=0.0)
    for capture, kept in pairs:
        if kept.exists():
            new = capture.rename(capture.with_suffix(".new"))
            _run("mergecap", "-F", "pcap", "-w", str(capture), str(kept), str(new))
            new.unlink()
        # -Z root: else tcpdump would become another user, and may not
        _run("tcpdump", "-n", "-Z", "root", "-r", str(capture), "-w", str(kept), f"tcp port {TLS_PORT}")
    return began


def _began(capture: Path) -> float:
    with capture.open("rb") as packets:
        head = packets.read(_HEADER + 8)
    if len(head) < _HEADER + 8:
        return math.inf
    seconds, micros = struct.unpack_from("<II", head, _HEADER)
    return float(seconds + micros / 1e6)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
