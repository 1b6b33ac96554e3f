"""One TCP or TLS connection, the listener that accepted it, and the limits it meets (RFC 3261 §18, RFC 5626 §3.5.1).

One object per connection, driven by the event loop without a task. A connection is known by its number, which no other
has had since the start. Whoever can make us keep something meets a limit.
"""

from __future__ import annotations

import asyncio
import errno
import itertools
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

from proxy.core.effects import Send
from proxy.core.flow import Address, Flow
from proxy.sip.framing import PING, StreamError, StreamReader

if TYPE_CHECKING:
    from proxy.net.stream import Streams

BACKLOG = 1024  # connections that the kernel completes while we are busy
ACCEPT = 64  # connections a wake-up
ACCEPT_AGAIN_S = 1.0  # when file descriptors or memory have run out
LINGER_S = 5.0  # for a peer to take what is queued and to close its side, before the connection is cut
CRLF = b"\r\n"
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


@dataclass(slots=True)
class Limits:
    """What a peer may cost us."""

    max_connections: int = 1000  # accepted; as many again may be opened by us, so that strangers leave us some
    max_per_source: int = 100  # accepted from one address
    max_head: int = 16_384  # bytes of a message up to its blank line
    max_message: int = 65_535  # bytes
    max_unsent: int = 1 << 20  # bytes queued for one peer; from half of it on nothing is read from that peer
    idle_s: float = 900  # without a byte either way; RFC 5626 §4.4.1 has clients ping every 120 s
    first_message_s: float = 30  # from accepting a connection to its first whole message
    message_s: float = 30  # from the first byte of a message to its last; also for a peer to read what is queued
    connect_s: float = 5
    numbers: tuple[int, int] = (1, 1)  # the first connection's, and the step to the next one's
    is_shared: bool = False  # other workers listen at the same ports
    handshake_s: float = 10  # TLS, either way


class Places:
    """Numbers for connections, as long as there is room."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._next = itertools.count(*limits.numbers)
        self._taken: dict[int, str] = {}  # number -> the address that it was accepted from; "": opened by us

    def take(self, source: str) -> int | None:
        """Return a number that was never given before; None where there are too many."""
        limits, sources = self._limits, list(self._taken.values())
        opened = sources.count("")
        total = len(sources) - opened if source else opened
        if total >= limits.max_connections or (source and sources.count(source) >= limits.max_per_source):
            return None
        number = next(self._next)
        self._taken[number] = source
        return number

    def give_back(self, number: int) -> None:
        """Make room; once is enough."""
        self._taken.pop(number, None)


@dataclass(slots=True)
class Opening:
    """What waits for a connection that is being opened."""

    sends: list[Send] = field(default_factory=list)
    size: int = 0  # bytes


class Connection(asyncio.BufferedProtocol):
    """One connection. `name` is whom we wanted, over TLS checked in the certificate; None where the peer opened it."""

    __slots__ = (
        "_active_at", "_begun_at", "_choked_since", "_ending_at", "_reader", "_silent_since", "_streams", "_transport",
        "flow", "name", "opening",
    )  # fmt: skip

    def __init__(self, streams: Streams, flow: Flow, name: str | None, opening: Opening | None = None) -> None:
        self.flow = flow
        self.name = name
        self.opening = opening
        self._streams = streams
        self._transport: asyncio.Transport | None = None
        self._reader = StreamReader(streams.limits.max_head, streams.limits.max_message)
        # Seconds of the monotonic clock; 0 where there is no such thing.
        self._active_at = 0.0  # the last byte, either way
        self._silent_since = 0.0  # accepted, and no whole message since
        self._begun_at = 0.0  # the message that is not whole
        self._ending_at = 0.0  # we want to be rid of it
        self._choked_since = 0.0  # the peer does not read

    @property
    def is_made(self) -> bool:
        """Say whether the connection, its handshake included, has come about."""
        return self._transport is not None

    @property
    def is_usable(self) -> bool:
        """Say whether something may be written."""
        return self._transport is not None and not self._ending_at and not self._transport.is_closing()

    def write(self, data: bytes) -> bool:
        """Send, or queue what the kernel does not take; return False where the connection is or goes down."""
        transport = self._transport
        if transport is None or self._ending_at or transport.is_closing():
            return False
        transport.write(data)
        self._active_at = monotonic()
        if self._choked_since and transport.get_write_buffer_size() > self._streams.limits.max_unsent:
            self._streams.count("connections-choked")
            transport.abort()
        return not transport.is_closing()

    def end(self) -> None:
        """Take no more, and close when what is queued has been sent."""
        if not self.is_usable or self._transport is None:
            return
        self._ending_at = monotonic()
        if self._transport.can_write_eof():
            # What still arrives is read and dropped: the kernel answers unread bytes with a reset at the close, and a
            # reset makes the peer forget what it had not read, such as our 400.
            self._transport.write_eof()
        else:  # TLS has no half-closed state here: a peer that sends on and on may miss the answer
            self._transport.close()

    def close(self) -> None:
        """Close when what is queued has been sent."""
        if self._transport is not None:
            self._ending_at = self._ending_at or monotonic()
            self._transport.close()

    def reap(self, now: float) -> str | None:
        """End or cut the connection if something takes too long; return the name to count it under."""
        limits = self._streams.limits
        if self._transport is None:
            return None
        if self._ending_at:
            if now - self._ending_at < LINGER_S:
                return None
            self._transport.abort()
            return "connections-cut"
        if self._silent_since and now - self._silent_since > limits.first_message_s:
            reason = "connections-silent"
        elif self._begun_at and now - self._begun_at > limits.message_s:
            reason = "connections-slow"
        elif self._choked_since and now - self._choked_since > limits.message_s:
            reason = "connections-choked"
        elif now - self._active_at > limits.idle_s:
            reason = "connections-idle"
        else:
            return None
        self.end()
        return reason

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(self._streams.limits.max_unsent // 2)
        self._transport = transport
        self._active_at = monotonic()
        self._silent_since = self._active_at if self.name is None else 0.0
        self._streams.made(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._streams.lost(self)

    def eof_received(self) -> None:
        """A half-closed connection is closed: whoever cannot be told anything has no use for a proxy."""
        self._ending_at = self._ending_at or monotonic()

    def pause_writing(self) -> None:
        self._choked_since = monotonic()
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._choked_since = 0.0
        if self._transport is not None:
            self._transport.resume_reading()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._streams.segment

    def buffer_updated(self, nbytes: int) -> None:
        if self._ending_at:
            return
        streams, flow, failure = self._streams, self.flow, None
        self._active_at = now = monotonic()
        try:
            items = self._reader.feed(bytes(streams.segment[:nbytes]))
        except StreamError as error:
            items, failure = error.before, error
        pings = 0
        for item in items:
            if item == PING:
                pings += 1
            else:
                self._silent_since = 0.0
                streams.receive(item, flow)
        if pings:
            streams.count("keep-alives")
            self.write(CRLF * pings)
        if failure is not None:
            streams.count("stream-errors")
            if failure.head is not None:
                streams.receive(failure.head, flow)
            self.end()
        elif not self._reader.is_within:
            self._begun_at = 0.0
        elif items or not self._begun_at:
            self._begun_at = now


class Listener:
    """One listening socket, and the address that it is known by."""

    def __init__(
        self,
        transport: str,
        bind: Address,
        local: Address,
        accept: Callable[[Listener, socket.socket, str, int], None],
        count: Callable[[str], None],
        is_shared: bool = False,
    ) -> None:
        """Bind and listen, on a running loop. Raises OSError."""
        self.transport = transport
        self.local = local
        self.family = family_of(bind[0])
        self._accept = accept
        self._count = count
        self._again: asyncio.TimerHandle | None = None
        self._socket = socket.socket(self.family, socket.SOCK_STREAM)
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, is_shared)
            if self.family == socket.AF_INET6:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            self._socket.bind(bind)
            self._socket.listen(BACKLOG)
        except OSError:
            self._socket.close()
            raise
        self.address: Address = self._socket.getsockname()[:2]
        self._start()

    def serves(self, flow: Flow) -> bool:
        """Say whether peers at the flow's far end reach us here."""
        return self.transport == flow.transport and self.family == family_of(flow.remote[0])

    def close(self) -> None:
        """Accept nothing more."""
        asyncio.get_running_loop().remove_reader(self._socket)
        if self._again is not None:
            self._again.cancel()
        self._socket.close()

    def _start(self) -> None:
        asyncio.get_running_loop().add_reader(self._socket, self._drain)

    def _drain(self) -> None:
        for _ in range(ACCEPT):
            try:
                accepted, source = self._socket.accept()
            except OSError as error:  # also what befell a connection before we came to it: accept(2) passes that on
                if error.errno in _EXHAUSTED:  # the listener stays readable: without a pause the loop would spin
                    self._count("accept-failures")
                    loop = asyncio.get_running_loop()
                    loop.remove_reader(self._socket)
                    self._again = loop.call_later(ACCEPT_AGAIN_S, self._start)
                return
            accepted.setblocking(False)
            self._accept(self, accepted, source[0].partition("%")[0], source[1])


def family_of(host: str) -> int:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
