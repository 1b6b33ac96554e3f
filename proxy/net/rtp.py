"""Media passed on: packet by packet, from one side of a session to the other (RFC 3550, 4961, 7362).

A port learns where its party is from the first packet of a host that the engine named, and is connected to it then:
from there on the kernel itself keeps strangers away, and a second socket on the same port hears them. The invariant:
what a stranger sends is never passed on, costs a bounded share of our time, and holds up no packet of the party.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from proxy.core.effects import CloseRelay, OpenRelay, SteerRelay
from proxy.core.flow import Address

# After packets have come we look again 2 ms later, and not at the next one: a packet more or less late by that is not
# heard, and to be woken costs more than to pass one on.
PACE_S = 0.002
EVENTS = 1024  # ports with packets that are looked at in one turn
UNLEARNT_DRAIN = 32  # packets a turn, at a port that has not heard its party yet: strangers may be many
MOST_LATE = 1 << 31  # in units of the RTP clock: the timestamp has begun anew
STRANGER_DRAIN = 8  # packets a turn from strangers; whoever sends more is not heard for REST_S
REST_S = 0.1
STRANGER_BUFFER_BYTES = 4096
QUIET_S = 0.1  # a party that moves is silent at its old place
AHEAD = 3000  # a packet that continues a sequence is not so much further (RFC 3550 §A.1, MAX_DROPOUT)
LOOK_S = 1.0  # how often silence is looked for

_BUFFER = bytearray(65_536)
_VIEW = memoryview(_BUFFER)
_HEADER = struct.Struct(">BBHII")  # version and flags, marker and type, sequence, timestamp, SSRC
_RTP_HEADER = _HEADER.unpack_from
_RTP_BYTES = 12
USUAL_BYTES = 2048
_VIEWS = [_VIEW[:size] for size in range(USUAL_BYTES + 1)]  # no slice is made while packets pass


class Direction:
    """What one party has sent: counted in packets, bytes, and by RFC 3550 §A.3 and §A.8."""

    __slots__ = ("apart", "bytes", "first", "highest", "jitter", "packets", "rate", "seen", "ssrc", "transit")

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.packets = self.bytes = 0
        self.seen = 0.0  # when the last packet came, on the monotonic clock; 0: none has
        self.ssrc = -1
        self.first = self.highest = -1  # sequence numbers, the highest with the rounds it has made
        self.apart = 0  # packets that are not numbered, or were by an earlier SSRC
        self.transit = self.jitter = 0.0  # in units of the RTP clock

    @property
    def lost(self) -> int:
        """How many packets are missing."""
        return max(self.apart + self.highest - self.first + 1 - self.packets, 0) if self.ssrc >= 0 else 0

    @property
    def jitter_ms(self) -> float:
        """How much the packets' times vary, in milliseconds; our own turns add up to 2."""
        return 1000 * self.jitter / self.rate

    def count(self, size: int, now: float) -> None:
        """Count the packet in the buffer. RTCP by the same port has no number of RTP's (RFC 5761 §4)."""
        self.packets += 1
        self.bytes += size
        self.seen = now
        first, kind, sequence, timestamp, ssrc = _RTP_HEADER(_BUFFER)
        if size < _RTP_BYTES or first & 0xC0 != 0x80 or 192 <= kind <= 223:
            self.apart += 1
            return
        transit = now * self.rate - timestamp
        if ssrc == self.ssrc:
            ahead = (sequence - self.highest) & 0xFFFF
            if ahead < 0x8000:
                self.highest += ahead
            late = abs(transit - self.transit)
            if late < MOST_LATE:
                self.jitter += (late - self.jitter) / 16
        else:
            self.apart = self.packets - 1  # what was lost before is not known any more
            self.ssrc, self.first, self.highest = ssrc, sequence, sequence
        self.transit = transit


class End:
    """One port of ours, and the party that it faces. `forward` sends to the party of the other end.

    `companion` is the end for RTCP of the same party; an end for RTCP is its own.
    """

    __slots__ = (
        "call_id", "companion", "direction", "forward", "hosts", "is_fixed", "may_relearn", "other", "own", "receive",
        "relay", "source", "strangers", "strays", "wanted",
    )  # fmt: skip

    def __init__(self, relay: Relay, call_id: bytes, here: Address, rate: int) -> None:
        """Bind. Raises OSError."""
        self.relay = relay
        self.call_id = call_id
        self.direction = Direction(rate)
        self.own = _bound(here)
        self.strays: socket.socket | None = None  # the second socket on the port
        self.receive = self.own.recv_into
        self.forward: Callable[[memoryview], object] = _nowhere
        self.other = self.companion = self
        self.hosts: frozenset[str] = frozenset()
        self.wanted: Address | None = None
        self.is_fixed = self.may_relearn = False
        self.source: Address | None = None
        self.strangers = 0

    @property
    def is_rtcp(self) -> bool:
        """Say whether this end is for RTCP."""
        return self.companion is self

    def steer(self, hosts: frozenset[str], wanted: Address | None, is_fixed: bool) -> None:
        """Take what the party says of itself; what was learnt stays until something else comes."""
        self.hosts, self.wanted, self.is_fixed = hosts, wanted, is_fixed
        self.may_relearn = self.source is not None
        if wanted is not None and (self.source is None or is_fixed):
            self._send_to(wanted)

    def _send_to(self, address: Address) -> None:
        """Have what the other party sends go there."""
        if address == self.source:
            self.other.forward = self.own.send
            return
        sendto = (self.strays or self.own).sendto  # one that is connected sends to nobody else
        self.other.forward = lambda packet: sendto(packet, address)

    def listen(self) -> None:
        """Packets have come, and where the party is was not known before.

        When it is, packets of others may still wait in the queue, so we go on asking who sent them until it is empty.
        """
        for _ in range(UNLEARNT_DRAIN):
            try:
                size, source = self.own.recvfrom_into(_BUFFER)
            except OSError:
                if self.source is not None:
                    self.relay.readers[self.own.fileno()] = self.pass_on
                return
            if self.source is None and source[0] in self.hosts:
                self._learn(source[:2])
            if source[:2] == self.source:
                self._pass(size)
            else:
                self._refuse(source)

    def _learn(self, source: Address) -> None:
        """The party is there: hear it alone, and the strangers by themselves."""
        self.own.connect(source)
        self.source = source
        self.may_relearn = False
        if self.strays is None:
            self.strays = self.relay.twin(self)
        self._send_to(self.wanted if self.is_fixed and self.wanted is not None else source)

    def pass_on(self) -> None:
        """A packet has come from the party: this happens thousands of times a second."""
        try:
            size = self.receive(_BUFFER)
        except OSError:
            return
        self._pass(size)

    def _pass(self, size: int) -> None:
        self.direction.count(size, self.relay.now)
        try:
            self.forward(_VIEWS[size] if size <= USUAL_BYTES else _VIEW[:size])
        except OSError:
            self.relay.unsent += 1

    def hear_strangers(self) -> None:
        """Packets have come from elsewhere: the party itself, if it has moved, or may have; else they are refused."""
        assert self.strays is not None
        for _ in range(STRANGER_DRAIN):
            try:
                size, source = self.strays.recvfrom_into(_BUFFER)
            except OSError:
                return
            address = source[:2]
            if address != self.source:
                if not ((self.may_relearn and address[0] in self.hosts) or self._continues(size)):
                    self._refuse(source)
                    continue
                self._learn(address)
                self.relay.moved(self)
            self._pass(size)
        self.relay.rest(self)

    def _continues(self, size: int) -> bool:
        """Say whether the packet is the party's next one, from another place: its router gave it another port."""
        direction = self.direction
        if self.is_rtcp or size < _RTP_BYTES or self.relay.now - direction.seen < QUIET_S:
            return False
        first, _, sequence, _, ssrc = _RTP_HEADER(_BUFFER)
        ahead = (sequence - direction.highest) & 0xFFFF
        return bool(first & 0xC0 == 0x80 and ssrc == direction.ssrc and 0 < ahead < AHEAD)

    def _refuse(self, source: Any) -> None:
        self.strangers += 1
        self.relay.strangers += 1
        if self.strangers == 1:
            self.relay.report(self, source)

    def close(self) -> None:
        """Close both sockets, and let go of what refers to us."""
        for each in (self.own, self.strays):
            if each is not None:
                self.relay.readers.pop(each.fileno(), None)
                each.close()
        del self.other, self.companion, self.forward


class Section:
    """One media section of a session: ends for RTP and RTCP that face each side."""

    __slots__ = ("kind", "rtcp", "rtp")

    def __init__(self, kind: bytes, rtp: tuple[End, End], rtcp: tuple[End, End]) -> None:
        self.kind = kind
        self.rtp, self.rtcp = rtp, rtcp
        for one, other in (rtp, rtcp):
            one.other, other.other = other, one
        for one, other in zip(rtp, rtcp, strict=True):
            one.companion = other

    @property
    def ends(self) -> tuple[End, ...]:
        """All four."""
        return *self.rtp, *self.rtcp


class Call:
    """One session: its sections, by their number."""

    __slots__ = ("call_id", "opened", "sections")

    def __init__(self, call_id: bytes, now: float) -> None:
        self.call_id = call_id
        self.opened = now
        self.sections: dict[int, Section] = {}

    def summary(self) -> dict[str, object]:
        """Return what has passed in a session: for each side what it sent, over all its sections."""
        now = time.monotonic()
        told: dict[str, object] = {"seconds": round(now - self.opened, 1)}
        for who, name in enumerate(("caller", "callee")):
            sent = [section.rtp[who].direction for section in self.sections.values()]
            seen = max((each.seen for each in sent), default=0)
            told |= {
                f"{name}_packets": sum(each.packets for each in sent),
                f"{name}_bytes": sum(each.bytes for each in sent),
                f"{name}_lost": sum(each.lost for each in sent),
                f"{name}_jitter_ms": round(max((each.jitter_ms for each in sent), default=0), 1),
                f"{name}_last_s": round(now - seen, 1) if seen else "never",
            }
        told["strangers"] = sum(end.strangers for section in self.sections.values() for end in section.ends)
        return told

    def last_seen(self) -> float:
        """Return when the last packet came, or when the session began."""
        return max((end.direction.seen for section in self.sections.values() for end in section.ends), default=0)


class Relay:
    """All sessions, on one event loop.

    `bind` says on which address of this machine an advertised one is bound. `silent(session)` is called when nothing
    has come for `timeout_s`; `log(name, fields)` gets events, `strange` those that strangers cause.
    """

    def __init__(
        self, loop: AbstractEventLoop, bind: Callable[[str], str], timeout_s: float, silent: Callable[[int], None],
        log: Callable[[str, dict[str, object]], None], strange: Callable[[str, dict[str, object]], None],
    ) -> None:  # fmt: skip
        self.calls: dict[int, Call] = {}
        self.readers: dict[int, Callable[[], None]] = {}  # by file descriptor
        self.now = time.monotonic()  # as of this turn
        self.unsent = self.strangers = 0
        self.ended: dict[str, int] = {}  # what the parties of sessions that are over have sent
        self._loop = loop
        self._bind = bind
        self._timeout_s = timeout_s
        self._silent = silent
        self._log, self._strange = log, strange
        self._epoll = select.epoll()
        self._resting: list[End] = []
        self._timer: TimerHandle | None = None
        self._look: TimerHandle | None = None
        loop.add_reader(self._epoll, self._turn)

    # What the engine wants

    def open(self, wanted: OpenRelay) -> list[int]:
        """Open the ports of a section. Returns those that could not be bound; then none is open."""
        made: list[End] = []
        refused: list[int] = []
        for host, port in wanted.here:
            for number in (port, port + 1):
                try:
                    made.append(End(self, wanted.call_id, (self._bind(host), number), wanted.rate))
                except OSError:
                    refused.append(port)
        if refused:
            for end in made:
                end.close()
            return refused
        call = self.calls.get(wanted.session)
        if call is None:
            call = self.calls[wanted.session] = Call(wanted.call_id, time.monotonic())
        call.sections[wanted.section] = Section(wanted.kind, (made[0], made[2]), (made[1], made[3]))
        for end in made:
            self._watch(end.own, end.listen)
        if self._look is None:
            self._look = self._loop.call_later(LOOK_S, self._look_around)
        return []

    def steer(self, told: SteerRelay) -> None:
        """Take where the media of one side comes from and is wanted."""
        call = self.calls.get(told.session)
        section = None if call is None else call.sections.get(told.section)
        if section is not None:  # else its ports were somebody else's
            section.rtp[told.side].steer(told.hosts, told.rtp, told.is_fixed)
            section.rtcp[told.side].steer(told.hosts, told.rtcp, told.is_fixed)

    def close(self, wanted: CloseRelay) -> None:
        """Close a session, and log what passed."""
        call = self.calls.pop(wanted.session, None)
        if call is None:
            return
        for name, count in _totals([call]).items():
            self.ended[name] = self.ended.get(name, 0) + count
        self._log("media-ended", {"call_id": call.call_id, "why": wanted.why, **call.summary()})
        for section in call.sections.values():
            for end in section.ends:
                end.close()

    def close_all(self) -> None:
        """Close everything: the proxy stops."""
        for session in list(self.calls):
            self.close(CloseRelay(session, "stopped"))
        for timer in (self._timer, self._look):
            if timer is not None:
                timer.cancel()
        self._loop.remove_reader(self._epoll)
        self._epoll.close()

    # What ends need

    def twin(self, end: End) -> socket.socket:
        """Return a second socket on the port of an end, which hears whomever the first one is not connected to."""
        strays = _bound(end.own.getsockname()[:2], STRANGER_BUFFER_BYTES)
        self._watch(strays, end.hear_strangers)
        return strays

    def rest(self, end: End) -> None:
        """Strangers send more than we want to hear: what comes in the next while is dropped by the kernel."""
        assert end.strays is not None
        self._epoll.unregister(end.strays)
        self._resting.append(end)
        if len(self._resting) == 1:
            self._loop.call_later(REST_S, self._rested)

    def _rested(self) -> None:
        resting, self._resting = self._resting, []
        for end in resting:
            if end.strays is not None and end.strays.fileno() >= 0:
                self._epoll.register(end.strays, select.EPOLLIN)

    def moved(self, end: End) -> None:
        """A party is heard from another place: its RTCP may come from there too."""
        assert end.source is not None
        rtcp = end.companion
        rtcp.hosts |= {end.source[0]}
        rtcp.may_relearn = rtcp.source is not None
        self._log("media-moved", {"call_id": end.call_id, "to": "%s:%d" % end.source})

    def report(self, end: End, source: Sequence[Any]) -> None:
        """Say once of each port that strangers send to it."""
        port = end.own.getsockname()[1]
        self._strange("media-refused", {"call_id": end.call_id, "port": port, "source": "%s:%d" % tuple(source[:2])})

    def _watch(self, own: socket.socket, reader: Callable[[], None]) -> None:
        self.readers[own.fileno()] = reader
        self._epoll.register(own, select.EPOLLIN)

    # Turns

    def _turn(self) -> None:
        """Packets have come: pass them on, and look again in a while, as long as there are any."""
        self.now = time.monotonic()
        readers = self.readers
        ready = self._epoll.poll(0, EVENTS)
        for number, _ in ready:
            reader = readers.get(number)
            if reader is not None:  # else it was closed within this turn
                reader()
        if ready:
            if self._timer is None:
                self._loop.remove_reader(self._epoll)
            self._timer = self._loop.call_later(PACE_S, self._turn)
        elif self._timer is not None:
            self._timer = None
            self._loop.add_reader(self._epoll, self._turn)

    def _look_around(self) -> None:
        """Find sessions that nobody uses any more."""
        self._look = self._loop.call_later(LOOK_S, self._look_around) if self.calls else None
        now = time.monotonic()
        for session, call in list(self.calls.items()):
            if now - max(call.last_seen(), call.opened) > self._timeout_s:
                self._silent(session)

    # What is told

    def counts(self) -> dict[str, float]:
        """Return what /metrics shows."""
        totals = _totals(self.calls.values())
        sections = [section for call in self.calls.values() for section in call.sections.values()]
        jitters = [end.direction.jitter_ms / 1000 for section in sections for end in section.rtp]
        return {
            **{name: totals.get(name, 0) + self.ended.get(name, 0) for name in (*totals, *self.ended)},
            "relay-strangers": self.strangers,
            "relay-unsent": self.unsent,
            "relay-sessions": len(self.calls),
            "relay-jitter-seconds": max(jitters, default=0.0),
        }


def _totals(calls: Any) -> dict[str, int]:
    totals: dict[str, int] = {}
    for call in calls:
        for section in call.sections.values():
            for name, end in zip(("caller", "callee"), section.rtp, strict=True):
                sent = end.direction
                for what, count in (("packets", sent.packets), ("bytes", sent.bytes), ("lost", sent.lost)):
                    key = f"relay-{name}-{what}"
                    totals[key] = totals.get(key, 0) + count
    return totals


def _bound(here: Address, buffer_bytes: int = 0) -> socket.socket:
    """Return a socket there, beside others of ours on the same port. Raises OSError."""
    family = socket.AF_INET6 if ":" in here[0] else socket.AF_INET
    made = socket.socket(family, socket.SOCK_DGRAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if buffer_bytes:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        made.bind(here)
    except OSError:
        made.close()
        raise
    return made


def _nowhere(packet: memoryview) -> None:
    """Where the other party is has not been heard yet: whoever speaks first waits for nobody."""


def can_bind(here: Address) -> bool:
    """Say whether a port is free, for us alone."""
    family = socket.AF_INET6 if ":" in here[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe, suppress(OSError):
        probe.bind(here)
        return True
    return False
