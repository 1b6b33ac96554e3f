"""A tap: captures on interfaces of the namespace it joined, each side by itself, and hands the captures over in cuts.

A cut loses no packet: the next capture runs before the last one ends, and the last one ends when everything that the
kernel saw is in its file. Interfaces come and go while a router is changed: each is captured whenever it is there. The
taps at the ends take what a phone hears and says, and leave SIP to the others: `--media`.
"""

from __future__ import annotations

import contextlib
import fcntl
import re
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from observer.control import ROOM, Request, serve, until_stopped

SIOCGIFFLAGS, SIOCGIFADDR = 0x8913, 0x8915  # netdevice(7)
IFF_UP = 1
LINK_AND_ADDRESS = 0x1 | 0x10  # RTMGRP_LINK, RTMGRP_IPV4_IFADDR: rtnetlink(7)
NOTICE_BYTES = 65_536
SNAP_BYTES = 65_535
# In immediate mode every packet takes a slot of the snap length. 12 calls with sound are 1,200 packets a second on each
# side of the router, and 2,400 at the proxy: those of 0.4 s have to have room, for a tcpdump that has to wait.
BUFFER_MIB = 16
MEDIA_BYTES = 2048  # sound is never longer than a packet
EVERYTHING = "ip"
MEDIA = "udp[8] & 0xc0 = 0x80"  # version 2, in the first two bits of RTP and RTCP (RFC 3550 §5.1); SIP is letters
START_S = 10.0
ANSWER_S = 10.0
STILL_S = 0.5  # a tcpdump with packets before it writes them within microseconds
MOST_BYTES = 256 << 20  # a capture that nobody asked for is thrown away at this size: a lab may stand for weeks


class EndedByItself(RuntimeError):
    """A tcpdump ended unasked: its interface has gone, or has gone down."""


class Capture:
    """One tcpdump into one file."""

    def __init__(self, interface: str, path: Path, wanted: str, buffer_mib: int) -> None:
        """Start it, and return when it listens. `wanted`: the packets, as pcap-filter(7) names them."""
        self.path = path
        # --immediate-mode: packets reach the file at once. -Z root: with NET_RAW alone it cannot become another user.
        self._process = subprocess.Popen(
            ["tcpdump", "-i", interface, "-n", "-s", str(MEDIA_BYTES if wanted == MEDIA else SNAP_BYTES),
             "-B", str(buffer_mib << 10), "-U", "--immediate-mode", "-Z", "root", "-w", str(path), wanted],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._said = threading.Condition()
        self._listening = self._silent = False
        self._captured = self._received = self._dropped = -1
        threading.Thread(target=self._read, daemon=True).start()
        self._await(lambda: self._listening, START_S)

    @property
    def is_running(self) -> bool:
        """Say whether it still captures: it does not when its interface has gone, or has gone down."""
        return self._process.poll() is None

    def end(self) -> int:
        """End it when its file holds all that the kernel saw; return how many packets the kernel dropped."""
        if self.is_running:
            with contextlib.suppress(EndedByItself):
                return self._end()
        self._process.wait()
        return max(self._dropped, 0)  # its last words

    def _end(self) -> int:
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
        with self._said:
            self._silent = True
            self._said.notify_all()

    def _await(self, predicate: Callable[[], bool], seconds: float) -> None:
        with self._said:
            answered = self._said.wait_for(lambda: predicate() or self._silent, seconds)
            if self._silent:
                raise EndedByItself(f"tcpdump for {self.path.name} has ended: exit {self._process.wait()}")
            if not answered:
                raise RuntimeError(f"tcpdump for {self.path.name} does not answer")


class Tap:
    """The captures of one namespace, by label."""

    def __init__(
        self, sides: dict[str, list[str]], wanted: str = EVERYTHING, buffer_mib: int = BUFFER_MIB
    ) -> None:  # fmt: skip
        """Capture at the interfaces that bear one of these addresses now. One that was found once is known by its name:
        it may be given another address."""
        self._sides = sides
        self._wanted = wanted
        self._buffer_mib = buffer_mib
        self._interfaces: dict[str, str] = {}
        self._number = 0
        self._since = 0.0  # what was before has been thrown away
        self._lock = threading.Lock()
        self._captures: dict[str, list[Capture]] = {label: [] for label in sides}  # the last one may be running
        self.look()

    def look(self) -> None:
        """Capture at every interface that is there and was not captured yet, or not any more."""
        with self._lock:
            for label, addresses in self._sides.items():
                if not any(capture.is_running for capture in self._captures[label]):
                    self._look_for(label, addresses)

    def _look_for(self, label: str, addresses: list[str]) -> None:
        known = self._interfaces.get(label)
        name = known if known and is_up(known) else next(filter(None, map(interface_of, addresses)), "")
        if name and is_up(name):
            self._interfaces[label] = name
            self._captures[label] += self._start(label)

    def watch(self) -> None:
        """Look whenever the kernel says that an interface or an address has changed; for ever."""
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as changes:
            changes.bind((0, LINK_AND_ADDRESS))
            while True:
                with contextlib.suppress(OSError):  # ENOBUFS: too many at once; to look once is enough for all
                    changes.recv(NOTICE_BYTES)
                try:
                    self.look()
                except (OSError, RuntimeError) as error:  # an interface that went while its capture began
                    print(f"tap: {error}", flush=True)

    def cut(self, request: Request) -> Request:
        """Put everything since the last cut into `folder`, and go on. Returns the kernel's drops by label, and since
        when (Unix seconds) everything is there: 0 unless something had to be thrown away."""
        folder = Path(request["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        self.look()
        drops = {}
        with self._lock:
            for label, old in self._captures.items():
                if not old:
                    continue
                self._captures[label] = self._start(label)
                drops[label] = sum(capture.end() for capture in old)
                _join([capture.path for capture in old], folder / f"{label}.pcap")
        return {"drops": drops, "since": self._since}

    def stay_small(self) -> None:
        """Throw captures away that nobody asked for, before they fill the disk; for ever."""
        while True:
            threading.Event().wait(30)
            try:
                self._throw_away()
            except (OSError, RuntimeError) as error:
                print(f"tap: {error}", flush=True)

    def _throw_away(self) -> None:
        with self._lock:
            for label, captures in self._captures.items():
                if sum(capture.path.stat().st_size for capture in captures) > MOST_BYTES:
                    print(f"tap: {label}: {MOST_BYTES >> 20} MiB that nobody asked for: thrown away", flush=True)
                    self._captures[label] = self._start(label)
                    self._since = time.time()
                    for capture in captures:
                        capture.end()
                        capture.path.unlink()

    def end(self) -> None:
        """End all captures."""
        with self._lock:
            for captures in self._captures.values():
                for capture in captures:
                    capture.end()

    def _start(self, label: str) -> list[Capture]:
        """Return a capture that listens; none when its interface is away."""
        self._number += 1
        folder = ROOM / "captures"
        folder.mkdir(exist_ok=True)
        try:
            path = folder / f"{label}-{self._number}.pcap"
            return [Capture(self._interfaces[label], path, self._wanted, self._buffer_mib)]
        except EndedByItself:
            if is_up(self._interfaces[label]):
                raise
            return []


def _join(pieces: list[Path], whole: Path) -> None:
    """Make one capture of several, and leave nothing of them."""
    if len(pieces) > 1:
        subprocess.run(["mergecap", "-F", "pcap", "-w", str(whole), *map(str, pieces)], check=True, capture_output=True)
        for piece in pieces:
            piece.unlink()
    else:
        shutil.move(pieces[0], whole)


def interface_of(address: str) -> str:
    """Return the interface that bears this IPv4 address; nothing when none does."""
    for _, name in socket.if_nameindex():
        found = _ask_of(name, SIOCGIFADDR)
        if found and socket.inet_ntoa(found[20:24]) == address:
            return name
    return ""


def is_up(name: str) -> bool:
    """Say whether there is such an interface, and it is up."""
    found = _ask_of(name, SIOCGIFFLAGS)
    return bool(found) and bool(struct.unpack_from("<H", found, 16)[0] & IFF_UP)


def _ask_of(name: str, what: int) -> bytes:
    """Return what the kernel says of an interface; nothing of one that is not there or has no such thing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        try:
            return fcntl.ioctl(asker, what, struct.pack("256s", name.encode()[:15]))
        except OSError:
            return b""


def main(arguments: list[str]) -> int:
    """`[--media] [--buffer=MIB] NAME LABEL=ADDRESS[,ADDRESS]...`: capture until SIGTERM, cut when asked on
    tap-NAME.sock."""
    options = dict(word.partition("=")[::2] for word in arguments if word.startswith("--"))
    name, *sides = (word for word in arguments if not word.startswith("--"))
    labelled = {label: found.split(",") for label, _, found in (side.partition("=") for side in sides)}
    wanted = MEDIA if "--media" in options else EVERYTHING
    tap = Tap(labelled, wanted, int(options.get("--buffer", BUFFER_MIB)))
    threading.Thread(target=tap.stay_small, daemon=True).start()
    threading.Thread(target=tap.watch, daemon=True).start()
    threading.Thread(target=serve, args=(f"tap-{name}", tap.cut), daemon=True).start()
    until_stopped()
    tap.end()
    return 0
