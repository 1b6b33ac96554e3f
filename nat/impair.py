"""A bad line: delay, loss, exact drops ("the next 200 to an INVITE"), by netem, NFQUEUE or nft: what the kernel has.

Delay and loss are netem's where there is one. A kernel without netem and NFQUEUE loses packets by nft, and no more.

What the kernel cannot do is done here, packet by packet: the router sends what it forwards to queue QUEUE (`RULES`
says how), and gets it back later, or never. Order is kept, whatever the delay. Without a rule, or after this process,
packets pass as if nothing were here (`--queue-bypass`). They are seen as the home sees them: outbound before their
source is translated, inbound after their destination was.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import os
import random
import re
import secrets
import select
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

QUEUE = 0
# The arguments of iptables after -A (or -D), with the router's LAN interface for {lan}: both directions, each packet
# once. Not every forwarded packet: with two layers of NAT it is forwarded twice, but passes the home's LAN once.
RULES = (
    f"FORWARD -i {{lan}} -j NFQUEUE --queue-num {QUEUE} --queue-bypass",
    f"FORWARD ! -i {{lan}} -o {{lan}} -j NFQUEUE --queue-num {QUEUE} --queue-bypass",
)
MOST_HELD = 2000  # packets that wait for their time: 100 a second for 20 s; the kernel holds their bytes
MOST_DELAY_MS = 10_000
LONGEST_HELD_S = MOST_DELAY_MS / 1000 + 1  # and what a busy machine makes of it
MOST_TIMES = 1000
MOST_PENDING = 100  # patterns
MOST_REMEMBERED = 100  # drops that `state` tells
LONGEST_PATTERN = 200  # characters
LONGEST_LINE = 200  # bytes of a first line that are kept
# How a SIP message can begin: RFC 3261 §7, and the methods of RFC 3262, 3265, 3311, 3428, 3515, 3903 and 6086.
BEGINNINGS = (
    "INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER", "MESSAGE", "SUBSCRIBE", "NOTIFY", "PUBLISH", "REFER",
    "INFO", "UPDATE", "PRACK", "SIP/2.0",
)  # fmt: skip
TCP, UDP = socket.IPPROTO_TCP, socket.IPPROTO_UDP
_CSEQ = re.compile(rb"^(?i:CSeq)[ \t]*:[ \t]*[0-9]+[ \t]+([A-Z]+)", re.MULTILINE)
_WITH_METHOD = re.compile(r"(.*?) *\(([^()]*)\)")


class Unsupported(Exception):
    """This kernel or this image cannot do it; one line says what is missing."""


class BadImpairment(ValueError):
    """What was asked for cannot be; one line says what, and the nearest that can."""


@dataclass(slots=True, frozen=True)
class Seen:
    """What a packet shows: its addresses ("198.51.100.20:5060"), its payload's first line, the method of its CSeq."""

    source: str
    destination: str
    first_line: str = ""
    method: str = ""


@dataclass(slots=True)
class Pattern:
    """Which message is dropped, and how many of its kind still."""

    text: str  # as it was asked for
    glob: str  # of the first line
    method: str  # of the CSeq; "" for any
    times: int

    def matches(self, seen: Seen) -> bool:
        """Say whether this packet is one of those."""
        return self.method in ("", seen.method) and fnmatchcase(seen.first_line, self.glob)


def look(packet: bytes) -> Seen:
    """Return what an IPv4 packet shows. No first line: neither UDP nor TCP, a later fragment, or cut short.

    In TCP it is the first of the segment: a message that begins in the middle of one is not seen.
    """
    if len(packet) < 20 or packet[0] >> 4 != 4:
        return Seen("?", "?")
    source, destination = (socket.inet_ntoa(packet[start : start + 4]) for start in (12, 16))
    body = packet[(packet[0] & 0x0F) * 4 :]
    is_later_fragment = int.from_bytes(packet[6:8], "big") & 0x1FFF
    if packet[9] not in (TCP, UDP) or is_later_fragment or len(body) < (20 if packet[9] == TCP else 8):
        return Seen(source, destination)
    ports = int.from_bytes(body[0:2], "big"), int.from_bytes(body[2:4], "big")
    payload = body[(body[12] >> 4) * 4 if packet[9] == TCP else 8 :]
    line = payload.partition(b"\n")[0].rstrip(b"\r")[:LONGEST_LINE]
    cseq = _CSEQ.search(payload)
    return Seen(
        f"{source}:{ports[0]}", f"{destination}:{ports[1]}", line.decode("utf-8", "replace"),
        cseq[1].decode("ascii") if cseq else "",
    )  # fmt: skip


def read_pattern(text: str, times: int = 1) -> Pattern:
    """Return the pattern that `INVITE *` or `SIP/2.0 200*(INVITE)` means. Raises BadImpairment."""
    text = text.strip()
    if not text or len(text) > LONGEST_PATTERN or not text.isprintable():
        raise BadImpairment(f"pattern {text[:40]!r}: must be one line of 1 to {LONGEST_PATTERN} characters")
    if not 1 <= times <= MOST_TIMES:
        raise BadImpairment(f"{times} times: must be from 1 to {MOST_TIMES}")
    split = _WITH_METHOD.fullmatch(text)
    glob, method = split.groups() if split else (text, "")
    methods = BEGINNINGS[:-1]
    if split and method not in methods:
        raise BadImpairment(f"pattern {text!r}: ({method}) is no method; {_nearest(method, methods)}")
    begins = re.split(r"[*?[]", glob, maxsplit=1)[0]  # up to its first wildcard
    if not any(f"{word} ".startswith(begins) or begins.startswith(f"{word} ") for word in BEGINNINGS):
        raise BadImpairment(f"pattern {text!r}: no SIP message begins so; {_nearest(glob.split()[0], BEGINNINGS)}")
    return Pattern(text, glob or "*", method, times)


def _nearest(word: str, known: Sequence[str]) -> str:
    if word[:3].isdigit():
        return f"nearest: 'SIP/2.0 {word}'"
    close = difflib.get_close_matches(word.strip("*").upper(), known, n=2, cutoff=0.5)
    return f"nearest: {', '.join(repr(f'{word} *') for word in close)}" if close else f"known: {', '.join(known)}"


class Impairments:
    """What is done to the packets of one router, and the thread that does it.

    `interfaces` are the router's own, the LAN's first, for netem: what leaves by any of them is impaired. Without
    them, or without netem, the queue does all of it. `seed` is that of its losses, and logged: a run can be repeated.
    `when_idle` is called, in a thread of its own, when the last drop that was asked for has come.
    """

    def __init__(
        self, interfaces: Sequence[str] = (), seed: int | None = None, log: Callable[[str], object] = print,
        when_idle: Callable[[], object] = lambda: None,
    ) -> None:  # fmt: skip
        self.seed = secrets.randbits(32) if seed is None else seed
        self._random = random.Random(self.seed)
        self._log = log
        self._when_idle = when_idle
        self._nft_percent = 0.0
        self._interfaces = interfaces
        self._netem = interfaces if interfaces and all(map(has_netem, interfaces)) else ()
        self._queue: _Queue | None = None
        self._lock = threading.Lock()  # of what follows: the router sets it, the queue's thread reads it
        self._delay_ms = 0.0
        self._loss_percent = 0.0
        self._patterns: list[Pattern] = []
        self._dropped: deque[dict[str, str | float]] = deque(maxlen=MOST_REMEMBERED)
        self._lost = 0

    def set_delay(self, ms: float) -> None:
        """Hold every packet back for so many milliseconds, in each direction; 0: none. Raises the two errors."""
        if not 0 <= ms <= MOST_DELAY_MS:
            raise BadImpairment(f"delay {ms:g} ms: must be from 0 to {MOST_DELAY_MS}")
        if ms:
            self._open()
        with self._lock:
            self._delay_ms = ms
        self._use_netem()
        if self._queue:
            self._queue.hurry(ms == 0)

    def set_loss(self, percent: float) -> None:
        """Lose so many of a hundred packets, at random; 0: none. Raises BadImpairment and Unsupported."""
        if not 0 <= percent <= 100:
            raise BadImpairment(f"loss {percent:g} %: must be from 0 to 100")
        if percent:
            try:
                self._open()
            except Unsupported as error:
                if not self._interfaces:
                    raise
                self._lose_by_nft(percent, error)
                self._log(f"impair: loss {percent:g} %, by nft")
                return
        with self._lock:
            self._loss_percent = percent
        self._lose_by_nft(0)
        self._use_netem()
        self._log(f"impair: loss {percent:g} %, seed {self.seed}")

    def drop_next(self, text: str, times: int = 1) -> None:
        """Drop the next packets whose payload begins with such a line. Raises BadImpairment and Unsupported.

        `text` is a glob, with the method of the CSeq behind it where that counts: `SIP/2.0 200*(INVITE)`. By TCP the
        sender's kernel sends a dropped packet again.
        """
        pattern = read_pattern(text, times)
        self._open(is_exact=True)
        with self._lock:
            if len(self._patterns) >= MOST_PENDING:
                raise BadImpairment(f"pattern {text!r}: {MOST_PENDING} are pending already; nearest: clear")
            self._patterns.append(pattern)

    def clear(self) -> None:
        """Impair nothing any more; what is held back goes at once. What was dropped is still told."""
        with self._lock:
            self._patterns.clear()
            self._delay_ms = self._loss_percent = 0.0
        self._lose_by_nft(0)
        self._use_netem()
        if self._queue:
            self._queue.hurry(True)

    def is_needed(self) -> bool:
        """Say whether the router must send its packets to the queue (`RULES`)."""
        with self._lock:
            return bool(self._patterns or (not self._netem and (self._delay_ms or self._loss_percent)))

    def state(self) -> dict[str, Any]:
        """Return what is on and what it did, for JSON."""
        netem = [_tc("-s", "qdisc", "show", "dev", name).stdout.strip() for name in self._netem]
        with self._lock:
            return {
                "delay_ms": self._delay_ms,
                "loss_percent": self._loss_percent or self._nft_percent,
                "seed": self.seed if self._lost or self._loss_percent else None,
                "lost": self._lost,
                "held": len(self._queue.held) if self._queue else 0,
                "overflowed": self._queue.overflowed if self._queue else 0,
                "pending": [{"pattern": each.text, "times": each.times} for each in self._patterns],
                "dropped": list(self._dropped),
                "netem": netem,
            }

    def judge(self, packet: bytes) -> float | None:
        """Return for how many seconds this packet is held back; None: it is dropped."""
        with self._lock:
            if self._patterns:
                seen = look(packet)
                pattern = next((each for each in self._patterns if each.matches(seen)), None)
                if pattern:
                    self._count(pattern, seen)
                    return None
            if self._netem:
                return 0.0
            if self._loss_percent and self._random.random() * 100 < self._loss_percent:
                self._lost += 1
                return None
            return self._delay_ms / 1000

    def settle(self) -> bool:
        """Return when what is held back now has gone, and whether anything was."""
        with self._lock:
            netem_s = self._delay_ms / 1000 if self._netem else 0.0
        if netem_s:
            threading.Event().wait(netem_s)  # the kernel does not tell what it holds; for longer it holds nothing
        return (self._queue is not None and self._queue.settle()) or netem_s > 0

    def close(self) -> None:
        """Impair nothing any more, and end the thread."""
        self.clear()
        if self._queue:
            self._queue.close()
            self._queue = None

    def _count(self, pattern: Pattern, seen: Seen) -> None:
        pattern.times -= 1
        if not pattern.times:
            self._patterns.remove(pattern)
            if not self._patterns:
                threading.Thread(target=self._when_idle, daemon=True).start()  # packets wait for this one
        self._dropped.append({
            "time": time.time(), "first_line": seen.first_line, "from": seen.source, "to": seen.destination,
            "pattern": pattern.text,
        })  # fmt: skip
        self._log(f"impair: dropped {seen.first_line!r} from {seen.source} to {seen.destination} ({pattern.text})")

    def _open(self, is_exact: bool = False) -> None:
        """Open the queue where it is what does the work. Raises Unsupported."""
        if self._queue is None and (is_exact or not self._netem):
            self._queue = _Queue(self.judge)

    def _lose_by_nft(self, percent: float, otherwise: Unsupported | None = None) -> None:
        """Have nft lose packets, or no more. Raises `otherwise` where it cannot either."""
        if percent or self._nft_percent:
            _run("nft", "destroy table ip lab_loss")
        if percent:
            lose = f"numgen random mod 10000 <= {max(round(100 * percent), 1) - 1} drop;"
            lan = self._interfaces[0]  # where each packet passes once, as with RULES
            rules = (f"table ip lab_loss {{ chain lose {{ type filter hook forward priority -9; "
                     f'iifname "{lan}" {lose} iifname != "{lan}" oifname "{lan}" {lose} }}; }}')  # fmt: skip
            if _run("nft", rules).returncode != 0 and otherwise:
                raise otherwise
        self._nft_percent = percent

    def _use_netem(self) -> None:
        for name in self._netem:
            _tc("qdisc", "replace", "dev", name, "root", "netem", "limit", str(MOST_HELD),
                "delay", f"{self._delay_ms:g}ms", "loss", f"{self._loss_percent:g}%")  # fmt: skip


class _Queue:
    """The kernel's queue, and a thread that gives each packet its verdict when the time has come, in order."""

    def __init__(self, judge: Callable[[bytes], float | None]) -> None:
        try:
            library = importlib.import_module("netfilterqueue")  # of the image; no Python at hand need have it
        except ImportError as error:
            raise Unsupported(f"impairments need python3-netfilterqueue: {error}") from error
        self.held: deque[tuple[float, Any]] = deque()  # (deadline on the monotonic clock, packet), the next one first
        self.overflowed = 0
        self._came = self._went = 0  # packets that were ever held, and those of them that have gone
        self._going = threading.Condition()
        self._judge = judge
        self._is_hurried = self._is_closing = False
        self._wake_up = os.eventfd(0, os.EFD_NONBLOCK)
        try:
            self._kernel = library.NetfilterQueue()
            # Those that are held count there too: ours is the limit that is met first, and counts.
            self._kernel.bind(QUEUE, self._take, max_len=2 * MOST_HELD)
        except OSError as error:
            os.close(self._wake_up)
            raise Unsupported(f"impairments need NFQUEUE in the kernel, and NET_ADMIN: {error}") from error
        self._thread = threading.Thread(target=self._serve, name="impair", daemon=True)
        self._thread.start()

    def hurry(self, is_all: bool) -> None:
        """Look again; with `is_all`, let all that is held go now."""
        self._is_hurried |= is_all
        os.eventfd_write(self._wake_up, 1)

    def settle(self) -> bool:
        """Return when what is held now has gone, and whether anything was."""
        came = self._came
        if self._went >= came:
            return False
        with self._going:
            self._going.wait_for(lambda: self._went >= came, LONGEST_HELD_S)
        return True

    def close(self) -> None:
        """Let go of all, and give the queue back to the kernel."""
        self._is_closing = True
        self.hurry(True)
        self._thread.join()
        self._kernel.unbind()
        os.close(self._wake_up)

    def _take(self, packet: Any) -> None:
        """Judge one packet that the kernel has just handed over."""
        self._release()  # in a flood the kernel's hand-over has no end
        delay = self._judge(packet.get_payload())
        if delay is None:
            packet.drop()
        elif not delay and not self.held:
            packet.accept()
        elif len(self.held) >= MOST_HELD:
            self.overflowed += 1
            packet.drop()
        else:
            last = self.held[-1][0] if self.held else 0.0
            self._came += 1
            self.held.append((max(time.monotonic() + delay, last), packet))

    def _serve(self) -> None:
        number = self._kernel.get_fd()
        while not self._is_closing:
            wait = max(0.0, self.held[0][0] - time.monotonic()) if self.held else None
            ready, _, _ = select.select([number, self._wake_up], [], [], wait)
            if self._wake_up in ready:
                os.eventfd_read(self._wake_up)
            if number in ready:
                self._kernel.run(False)
            self._release()

    def _release(self) -> None:
        """Let those go whose time has come; all, when that was asked for."""
        is_all, self._is_hurried = self._is_hurried, False
        went = self._went
        while self.held and (is_all or self.held[0][0] <= time.monotonic()):
            self.held.popleft()[1].accept()
            self._went += 1
        if self._went > went:
            with self._going:
                self._going.notify_all()


def has_netem(interface: str) -> bool:
    """Try `tc netem` on an interface, and say whether this kernel has it. Needs NET_ADMIN.

    The kernels that this was written on have none: what is set by it was never seen to work.
    """
    if _tc("qdisc", "add", "dev", interface, "root", "netem", "delay", "0ms").returncode != 0:
        return False
    _tc("qdisc", "del", "dev", interface, "root")
    return True


def _tc(*arguments: str) -> subprocess.CompletedProcess[str]:
    return _run("tc", *arguments)


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    with contextlib.suppress(FileNotFoundError):
        return subprocess.run(command, capture_output=True, text=True, check=False)
    return subprocess.CompletedProcess(command, 127, "", f"no {command[0]} here")
