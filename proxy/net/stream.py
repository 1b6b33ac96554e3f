"""TCP and TLS: connections found, opened and reaped, one timer for all of them (RFC 3261 §18.1.1, RFC 5923)."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any

from proxy.core.effects import Send
from proxy.core.flow import Address, Flow
from proxy.net.connection import Connection, Limits, Listener, Opening, Places, family_of

SWEEP_S = 1.0  # how late a connection may be reaped
SEGMENT_BYTES = 65_536  # read at once

__all__ = ["Limits", "Streams"]


class Streams:
    """All connections.

    `receive(message, flow)` gets what arrives, one message at a time; `failed(token)` hears of what could not be sent,
    never from within send(); `closed(flow)` of each connection that is lost; `count(name)` counts events. Of bytes that
    a connection had taken before it was lost nobody hears but by closed(): only the far end's answer proves arrival.
    """

    def __init__(
        self,
        receive: Callable[[bytes, Flow], None],
        failed: Callable[[bytes], None],
        closed: Callable[[Flow], None],
        limits: Limits,
        count: Callable[[str], None],
    ) -> None:
        self.receive = receive
        self.count = count
        self.limits = limits
        self.client_context: ssl.SSLContext | None = None  # for TLS connections that we open; None: we open none
        self.server_context: ssl.SSLContext | None = None  # of the TLS listeners, for who reloads it
        self.opened: Callable[[Flow], None] = lambda flow: None  # hears of each connection that is made
        self.segment = memoryview(bytearray(SEGMENT_BYTES))  # shared: whoever is given it empties it before he returns
        self._failed = failed
        self._closed = closed
        self._places = Places(limits)
        self._listeners: dict[Listener, ssl.SSLContext | None] = {}
        self._connections: dict[int, Connection] = {}
        self._by_remote: dict[tuple[str, Address], list[Connection]] = {}  # oldest first
        self._opening: dict[tuple[str, Address, str], Opening] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # handshakes
        self._sweeper: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Future[None] | None = None  # while closing: done when the last connection is lost

    @property
    def open_connections(self) -> dict[str, int]:
        """How many connections there are, by transport."""
        return dict(Counter(connection.flow.transport for connection in self._connections.values()))

    async def listen(self, transport: str, bind: Address, local: Address, context: ssl.SSLContext | None) -> Address:
        """Accept connections for "tcp" or, with a context, "tls"; return the address bound. Raises OSError.

        `local` is the advertised address: what `Flow.local` says, also for connections that we open.
        """
        listener = Listener(transport, bind, local, self._accept, self.count, self.limits.is_shared)
        self._listeners[listener] = context
        return listener.address

    def send(self, effect: Send) -> None:
        """Send on the flow's connection, or on any to its remote address, or on one that is opened for it (§18.1.1)."""
        flow = effect.flow
        if flow.connection:
            connection = self._connections.get(flow.connection)
            if connection is not None and connection.flow.remote != flow.remote:  # a number of before a restart
                connection = None
        else:
            connection = self._find(effect)
            if connection is None:
                self._open(effect)
                return
        if connection is None or not connection.write(effect.data):
            self._fail(effect)

    def has(self, effect: Send) -> bool:
        """Say whether there is a connection that will do for a message that asks for none in particular."""
        return self._find(effect) is not None

    async def close(self) -> None:
        """Close everything; what is queued has LINGER_S to leave."""
        emptied = self._emptied = asyncio.get_running_loop().create_future()
        while self._listeners:
            self._listeners.popitem()[0].close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in list(self._connections.values()):
            connection.close()
        if self._connections:
            await emptied
        if self._sweeper is not None:
            self._sweeper.cancel()

    # What connections call

    def made(self, connection: Connection) -> None:
        """Enter a connection."""
        flow = connection.flow
        self._connections[flow.connection] = connection
        self._by_remote.setdefault((flow.transport, flow.remote), []).append(connection)
        self._flush(connection)  # before anybody can send past what has waited
        self.opened(flow)
        self.count("connections-accepted" if connection.name is None else "connections-opened")
        if self._sweeper is None:
            self._sweep()

    def lost(self, connection: Connection) -> None:
        """Strike a connection out."""
        flow = connection.flow
        self._places.give_back(flow.connection)
        del self._connections[flow.connection]
        neighbours = self._by_remote[flow.transport, flow.remote]
        neighbours.remove(connection)
        if not neighbours:
            del self._by_remote[flow.transport, flow.remote]
        self._closed(flow)
        if self._emptied is not None and not self._connections and not self._emptied.done():
            self._emptied.set_result(None)

    # Accepting

    def _accept(self, listener: Listener, accepted: socket.socket, host: str, port: int) -> None:
        number = self._places.take(host)
        if number is None:
            self.count("connections-refused")
            accepted.close()
            return
        connection = Connection(self, Flow(listener.transport, listener.local, (host, port), number), None)
        self._start(self._serve(accepted, connection, self._listeners[listener]))

    async def _serve(self, accepted: socket.socket, connection: Connection, context: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(lambda: connection, accepted, **self._options(context))
        except OSError:
            self.count("handshake-failures")
        finally:
            if not connection.is_made:
                self._places.give_back(connection.flow.connection)

    # Opening

    def _find(self, effect: Send) -> Connection | None:
        """Return the newest connection to the remote address; one for a name was checked for that name (RFC 5922)."""
        flow, name = effect.flow, effect.server_name
        for connection in reversed(self._by_remote.get((flow.transport, flow.remote), ())):
            if connection.is_usable and (not name or connection.name == name or flow.transport != "tls"):
                return connection
        return None

    def _open(self, effect: Send) -> None:
        flow, size = effect.flow, len(effect.data)
        is_tls = flow.transport == "tls"
        key = (flow.transport, flow.remote, effect.server_name if is_tls else "")
        opening = self._opening.get(key)
        if opening is None:
            number = None
            if effect.may_open and self._emptied is None and (not is_tls or self.client_context is not None):
                number = self._places.take("")
            if number is None:
                self._fail(effect)
                return
            opening = self._opening[key] = Opening()
            local = next((each.local for each in self._listeners if each.serves(flow)), flow.local)
            flow = Flow(flow.transport, local, flow.remote, number)
            connection = Connection(self, flow, effect.server_name or flow.remote[0], opening)
            self._start(self._connect(key, connection))
        if opening.size + size > self.limits.max_unsent:
            self._fail(effect)
            return
        opening.sends.append(effect)
        opening.size += size

    async def _connect(self, key: tuple[str, Address, str], connection: Connection) -> None:
        try:
            await self._dial(connection)
        except (OSError, ValueError):  # ValueError: a name that no certificate can bear
            self.count("connect-failures")
        finally:
            if not connection.is_made:
                self._places.give_back(connection.flow.connection)
            del self._opening[key]
            self._flush(connection)

    async def _dial(self, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        flow, options = connection.flow, {}
        if flow.transport == "tls":
            assert self.client_context is not None  # _open() asked
            options = self._options(self.client_context) | {"server_hostname": connection.name}
            # A name that cannot be asked for is refused here; asyncio would raise it where nobody catches it.
            self.client_context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=connection.name)
        dialled = socket.socket(family_of(flow.remote[0]), socket.SOCK_STREAM)
        try:
            dialled.setblocking(False)
            async with asyncio.timeout(self.limits.connect_s):
                await loop.sock_connect(dialled, flow.remote)
        except BaseException:
            dialled.close()
            raise
        await loop.create_connection(lambda: connection, sock=dialled, **options)

    def _options(self, context: ssl.SSLContext | None) -> dict[str, Any]:
        if context is None:
            return {}
        return {"ssl": context, "ssl_handshake_timeout": self.limits.handshake_s}

    def _flush(self, connection: Connection) -> None:
        opening = connection.opening
        if opening is not None:
            sends, opening.sends = opening.sends, []
            for effect in sends:
                if not connection.write(effect.data):
                    self._fail(effect)

    def _fail(self, effect: Send) -> None:
        self.count("send-failures")
        if effect.token:
            asyncio.get_running_loop().call_soon(self._failed, effect.token)

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Time

    def _sweep(self) -> None:
        now = monotonic()
        for connection in list(self._connections.values()):
            reason = connection.reap(now)
            if reason is not None:
                self.count(reason)
        limits = self.limits
        period = min(SWEEP_S, min(limits.idle_s, limits.first_message_s, limits.message_s) / 4)
        loop = asyncio.get_running_loop()
        self._sweeper = loop.call_later(period, self._sweep) if self._connections else None
