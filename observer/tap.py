"""A tap: captures on interfaces of the namespace it joined, each side by itself, and hands the captures over in cuts.

A cut loses no packet: the next capture runs before the last one ends, and the last one ends when everything that the
kernel saw is in its file.
"""

from __future__ import annotations

import fcntl
import re
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

from observer.control import ROOM, Request, serve, until_stopped

SIOCGIFADDR = 0x8915
SNAP_BYTES = 65_535
BUFFER_KIB = 4_096  # in immediate mode every packet takes a slot of SNAP_BYTES: room for a burst of 500
START_S = 10.0
ANSWER_S = 10.0
STILL_S = 0.5  # a tcpdump with packets before it writes them within microseconds
MOST_BYTES = 256 << 20  # a capture that nobody asked for is thrown away at this size: a lab may stand for weeks


class Capture:
    """One tcpdump into one file."""

    def __init__(self, interface: str, path: Path) -> None:
        """Start it, and return when it listens."""
        self.path = path
        # --immediate-mode: packets reach the file at once. -Z root: with NET_RAW alone it cannot become another user.
        self._process = subprocess.Popen(
            ["tcpdump", "-i", interface, "-n", "-s", str(SNAP_BYTES), "-B", str(BUFFER_KIB), "-U", "--immediate-mode",
             "-Z", "root", "-w", str(path), "ip"],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._said = threading.Condition()
        self._listening = False
        self._captured = self._received = self._dropped = -1
        threading.Thread(target=self._read, daemon=True).start()
        self._await(lambda: self._listening, START_S)

    def end(self) -> int:
        """End it when its file holds all that the kernel saw; return how many packets the kernel dropped."""
        moved, before = time.monotonic(), -1
        while True:
            with self._said:
                self._dropped = -1
            self._process.send_signal(signal.SIGUSR1)  # it says what it has captured and what the kernel has seen
            self._await(lambda: self._dropped >= 0, ANSWER_S)
            if self._captured + self._dropped >= self._received:
                break
            if self._captured != before:
                moved, before = time.monotonic(), self._captured
            elif time.monotonic() - moved > STILL_S:
                break  # the kernel also counts what came between its socket and its filter, which nobody will deliver
        self._process.send_signal(signal.SIGINT)
        self._process.wait()
        return self._dropped

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            with self._said:
                self._listening |= "listening on" in line
                for pattern, name in (
                    (r"(\d+) packets? captured", "_captured"),
                    (r"(\d+) packets? received by filter", "_received"),
                    (r"(\d+) packets? dropped by kernel", "_dropped"),
                ):
                    found = re.search(pattern, line)
                    if found:
                        setattr(self, name, int(found[1]))
                self._said.notify_all()

    def _await(self, predicate: object, seconds: float) -> None:
        with self._said:
            if not self._said.wait_for(predicate, seconds) or self._process.poll() is not None:  # type: ignore[arg-type]
                raise RuntimeError(f"tcpdump for {self.path.name} does not answer (exit {self._process.poll()})")


class Tap:
    """The captures of one namespace, by label."""

    def __init__(self, interfaces: dict[str, str]) -> None:
        self._interfaces = interfaces
        self._number = 0
        self._lock = threading.Lock()
        self._captures = {label: self._start(label) for label in interfaces}

    def cut(self, request: Request) -> Request:
        """Put everything since the last cut into `folder`, and go on. Returns the kernel's drops by label."""
        folder = Path(request["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        drops = {}
        with self._lock:
            for label in self._interfaces:
                old = self._captures[label]
                self._captures[label] = self._start(label)
                drops[label] = old.end()
                shutil.move(old.path, folder / f"{label}.pcap")
        return {"drops": drops}

    def stay_small(self) -> None:
        """Throw captures away that nobody asked for, before they fill the disk; for ever."""
        while True:
            threading.Event().wait(30)
            with self._lock:
                for label, capture in self._captures.items():
                    if capture.path.stat().st_size > MOST_BYTES:
                        print(f"tap: {label}: {MOST_BYTES >> 20} MiB that nobody asked for: thrown away", flush=True)
                        self._captures[label] = self._start(label)
                        capture.end()
                        capture.path.unlink()

    def end(self) -> None:
        """End all captures."""
        with self._lock:
            for capture in self._captures.values():
                capture.end()

    def _start(self, label: str) -> Capture:
        self._number += 1
        folder = ROOM / "captures"
        folder.mkdir(exist_ok=True)
        return Capture(self._interfaces[label], folder / f"{label}-{self._number}.pcap")


def interface_of(address: str) -> str:
    """Return the interface that bears this IPv4 address. Raises LookupError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        for _, name in socket.if_nameindex():
            try:
                found = fcntl.ioctl(asker, SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:  # an interface without an address
                continue
            if socket.inet_ntoa(found[20:24]) == address:
                return name
    raise LookupError(f"no interface bears {address}")


def main(arguments: list[str]) -> int:
    """`NAME LABEL=ADDRESS...`: capture until SIGTERM, cut when asked on tap-NAME.sock."""
    name, *sides = arguments
    tap = Tap({label: interface_of(address) for label, _, address in (side.partition("=") for side in sides)})
    threading.Thread(target=tap.stay_small, daemon=True).start()
    threading.Thread(target=serve, args=(f"tap-{name}", tap.cut), daemon=True).start()
    until_stopped()
    tap.end()
    return 0


