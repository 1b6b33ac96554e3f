"""A port for media: who is heard at it, what is passed on, what is counted (RFC 3550, 4961, 7362).

A port learns where its party is from the first packet of a host that the engine named, and is connected to it then:
from there on the kernel itself keeps strangers away, and a second socket on the same port hears them. The invariant:
what a stranger sends is never passed on, costs a bounded share of our time, and holds up no packet of the party.
"""

from __future__ import annotations

import errno
import math
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from proxy.core.flow import Address

if TYPE_CHECKING:
    from proxy.net.relay import Relay

UNLEARNT_DRAIN = 32  # packets a turn, at a port that has not heard its party yet: strangers may be many
MOST_LATE = 1 << 31  # in units of the RTP clock: the timestamp has begun anew
STRANGER_DRAIN = 8  # packets a turn from strangers; whoever sends more has to wait
STRANGER_BUFFER_BYTES = 4096
QUIET_S = 0.1  # a party that moves is silent at its old place
AHEAD = 3000  # a packet that continues a sequence is not so much further (RFC 3550 §A.1, MAX_DROPOUT)
BEHIND = 0x10000 - 100  # nor so much behind (MAX_MISORDER)

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
        self.first, self.highest = 0, -1  # sequence numbers, the highest with the rounds it has made
        self.apart = 0  # packets that are not numbered, or were awaited in an earlier sequence
        self.transit = self.jitter = 0.0  # in units of the RTP clock

    @property
    def lost(self) -> int:
        """How many packets are missing."""
        return max(self.apart + self.highest - self.first + 1 - self.packets, 0)

    @property
    def jitter_ms(self) -> float:
        """How much the packets' times vary, in milliseconds; our own turns add up to 2."""
        return 1000 * self.jitter / self.rate

    def set_rate(self, rate: int) -> None:
        """Take another clock, which knows nothing of the old one's jitter."""
        if rate != self.rate:
            self.rate, self.jitter, self.transit = rate, 0.0, math.inf

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
        ahead = (sequence - self.highest) & 0xFFFF
        if ssrc == self.ssrc and (ahead < AHEAD or ahead > BEHIND):
            if ahead < AHEAD:
                self.highest += ahead
            late = abs(transit - self.transit)
            if late < MOST_LATE:
                self.jitter += (late - self.jitter) / 16
        else:
            self.apart = max(self.apart + self.highest - self.first + 1, self.packets - 1)  # lost before is lost
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
        self.own = bound(here)
        self.strays: socket.socket | None = None  # the second socket on the port
        self.receive = self.own.recv_into
        self.forward: Callable[[memoryview], object] = self._find_other
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
            except BlockingIOError:
                if self.source is not None:
                    self.relay.known(self)
                return
            except OSError:  # nobody was there when we sent something; the queue is not empty for that
                continue
            if self.source is None and source[0] in self.hosts and not self._learn(source[:2]):
                continue
            if source[:2] == self.source:
                self._pass(size)
            else:
                self._refuse(source)

    def _learn(self, source: Address) -> bool:
        """The party is there: hear it alone, and the strangers by themselves.

        Returns False where that cannot be, for want of descriptors or of a route: its next packet may find a way. From
        port 0 comes nobody, and who is connected to it hears every port.
        """
        try:
            if not source[1]:
                raise OSError(errno.EINVAL, "port 0")
            strays = self.strays or self.relay.twin(self)
            self.own.connect(source)
        except OSError:
            self.relay.unsent += 1
            return False
        self.strays = strays
        self.source = source
        self.may_relearn = False
        self._send_to(self.wanted if self.is_fixed and self.wanted is not None else source)
        return True

    def pass_on(self) -> None:
        """A packet has come from the party: this happens thousands of times a second."""
        try:
            size = self.receive(_BUFFER)
        except OSError:
            return
        self._pass(size)

    def _pass(self, size: int) -> None:
        self.direction.count(size, self.relay.now)
        packet = _VIEWS[size] if size <= USUAL_BYTES else _VIEW[:size]
        try:
            try:
                self.forward(packet)
            except ConnectionRefusedError:  # nobody took an earlier packet: to be told so kept this one from leaving
                self.forward(packet)
        except OSError:
            self.relay.unsent += 1

    def _find_other(self, packet: memoryview) -> None:
        """Where the other party is has not been heard: it may have spoken too, and wait for its turn in its queue.

        Whoever really speaks first waits for nobody.
        """
        held = packet.tobytes()
        self.other.listen()
        packet[:] = held  # the other's packets took the buffer
        if self.other.source is not None:
            self.forward(packet)

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
                is_expected = self.may_relearn and address[0] in self.hosts
                if not self._is_quiet() or not (is_expected or self._continues(size)):
                    self._refuse(source)
                    continue
                if not self._learn(address):
                    continue
                self.relay.moved(self)
            self._pass(size)
        self.relay.rest(self)

    def _is_quiet(self) -> bool:
        """Say whether the party has stopped to speak from where it was; neighbours may try whenever they like."""
        return self.relay.now - self.direction.seen >= QUIET_S

    def _continues(self, size: int) -> bool:
        """Say whether the packet is the party's next one, from another place: its router gave it another port."""
        direction = self.direction
        if self.is_rtcp or size < _RTP_BYTES:
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
                self.relay.parties.pop(each.fileno(), None)
                each.close()
        del self.other, self.companion, self.forward


def bound(here: Address, buffer_bytes: int = 0) -> socket.socket:
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


def can_bind(here: Address) -> bool:
    """Say whether a port is free, for us alone."""
    family = socket.AF_INET6 if ":" in here[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe, suppress(OSError):
        probe.bind(here)
        return True
    return False
