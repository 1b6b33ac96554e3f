"""Where a name is reached: transport, address and port, by NAPTR, SRV and address records (RFC 3263 §4).

The invariant: an IP literal asks nobody, and a target comes only from an answer that repeats our query's id and
question, between the two addresses and ports that the query went between (RFC 5452 §9).
"""

from __future__ import annotations

import asyncio
import random
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from proxy.core.flow import Address, is_literal
from proxy.net import dns

MAX_TARGETS = 16
MAX_SERVICES = 4  # NAPTR rules followed; there are three transports
MAX_RECORDS = 32  # kept of one answer: twice what a list of targets holds
MAX_ALIASES = 8  # CNAMEs followed, and queries made to follow them
MAX_STRAYS = 100  # datagrams that are not the answer: whoever sends more is guessing
MAX_QUERIES = 128  # sockets at a time
MAX_CACHED = 4096  # answers
MAX_TTL_S = 86_400
MAX_NEGATIVE_TTL_S = 60  # RFC 2308 §5 allows hours; a user who has just made his records should not wait for them
SILENT_S = 30.0  # so long is a server that kept silent tried last
MAX_SERVERS = 3  # read from resolv.conf: as many as the C library
DATAGRAM_BYTES = 65_535

PORTS = {"udp": 5060, "tcp": 5060, "tls": 5061}  # RFC 3261 §19.1.2
PREFIXES = {"udp": "_sip._udp.", "tcp": "_sip._tcp.", "tls": "_sips._tcp."}
NAPTR_SERVICES = {"SIP+D2U": "udp", "SIP+D2T": "tcp", "SIPS+D2T": "tls"}
FAMILIES = {4: dns.A, 6: dns.AAAA}

T = TypeVar("T")


class Target(NamedTuple):
    """One place to send to."""

    transport: str  # "udp" | "tcp" | "tls"
    host: str  # an IP literal
    port: int


class NoSuchHost(Exception):
    """The name does not exist, or has no address of a family we can use."""


class NoAnswer(Exception):
    """Every server kept silent, or failed (SERVFAIL, REFUSED, lame)."""


class _Failed(NoAnswer):
    """A server did answer, but with a failure."""


class _Answer(NamedTuple):
    """What one reply says about one name and type."""

    data: tuple[dns.Data, ...]  # empty: there are no such records
    ttl: int  # seconds
    alias: str | None = None  # the name has another one, about which the reply says nothing


class _Cached(NamedTuple):
    answer: _Answer
    expires_at: float  # seconds, on the resolver's clock


class Resolver:
    """Turns a URI's host into targets; remembers answers for their TTL."""

    def __init__(
        self,
        servers: list[tuple[str, int]],
        clock: Callable[[], float],
        transports: tuple[str, ...] = ("udp", "tcp"),
        families: tuple[int, ...] = (4,),
        timeout_s: float = 1.0,
        attempts: int = 2,
        choose: Callable[[int], int] = random.randrange,
    ) -> None:
        """Take the name servers (IP literal, port), the transports that DNS may choose and the IP versions, best first.

        `clock` returns seconds and ages the cache; `choose(n)` returns a random number from 0 to n - 1.
        """
        self._servers = _Servers(servers, clock, timeout_s, attempts)
        self._clock = clock
        self._transports = transports
        self._families = families
        self._choose = choose
        self._cache: dict[tuple[str, int], _Cached] = {}
        self._pending: dict[tuple[str, int], asyncio.Task[_Answer]] = {}

    async def locate(self, host: str, port: int | None, transport: str | None, secure: bool) -> list[Target]:
        """Return the targets of a URI's host, port and transport, in the order to try them, at most 16.

        `secure` (a sips URI) means TLS whatever the transport. The resolver's transports limit what DNS may choose, not
        what the URI itself demands. Raises NoSuchHost (also for a transport that is unknown) and NoAnswer.
        """
        demanded = "tls" if secure else transport and transport.lower()
        if demanded and demanded not in PORTS:
            raise NoSuchHost(f"{host!r}: no transport {demanded!r}")
        # RFC 3263 §4.1: UDP for a SIP URI where nothing says otherwise
        chosen = demanded or ("udp" if "udp" in self._transports else self._transports[0])
        literal = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        if is_literal(literal):
            return [Target(chosen, literal, port or PORTS[chosen])]
        try:
            name = dns.canonical(host)
        except dns.DnsError as error:
            raise NoSuchHost(f"{host!r}: {error}") from None
        if port is not None:
            places = [(chosen, name, port)]
        else:
            allowed = (demanded,) if demanded else self._transports
            places = await self._places(name, chosen, allowed, has_transport=bool(transport))
        found = await _together(self._addresses(place) for _, place, _ in places)
        targets = [
            Target(transport, address, port)
            for (transport, _, port), addresses in zip(places, found, strict=True)
            for address in addresses
        ]
        if not targets:
            raise NoSuchHost(f"{name}: no such name, or no address")
        return list(dict.fromkeys(targets))[:MAX_TARGETS]

    async def _places(
        self, name: str, chosen: str, allowed: tuple[str, ...], has_transport: bool
    ) -> list[tuple[str, str, int]]:
        """Return (transport, host name, port) for a name without a port, best first (§4.1, §4.2)."""
        services = [] if has_transport else await self._naptr(name, allowed)
        if services:
            chosen = services[0][0]
        else:
            services = [(each, PREFIXES[each] + name) for each in allowed]
        found = await _together(self._srv(service) for _, service in services)
        if not any(found):
            return [(chosen, name, PORTS[chosen])]
        return [
            (transport, each.target, each.port)
            for (transport, _), records in zip(services, found, strict=True)
            for each in in_order(records, self._choose)
            if each.port  # the target ".", the service is decidedly not available (RFC 2782), has no address
        ][:MAX_TARGETS]

    async def _naptr(self, name: str, allowed: tuple[str, ...]) -> list[tuple[str, str]]:
        """Return (transport, SRV name) as the domain prefers them.

        Deviates from RFC 3403 §4.1: rules of a higher order are kept too, because where one transport is dead another
        may live.
        """
        try:
            data = await self._lookup(name, dns.NAPTR)
        except _Failed:  # home routers refuse types they do not know; silence would only be met again
            return []
        services = [
            (NAPTR_SERVICES.get(rule.service.upper(), ""), rule.replacement)
            for rule in sorted(each for each in data if isinstance(each, dns.Naptr))
            if rule.flags.lower() == "s"
        ]
        return [service for service in dict.fromkeys(services) if service[0] in allowed][:MAX_SERVICES]

    async def _srv(self, name: str) -> list[dns.Srv]:
        return [each for each in await self._lookup(name, dns.SRV) if isinstance(each, dns.Srv)]

    async def _addresses(self, name: str) -> list[str]:
        found = await _together(self._lookup(name, FAMILIES[family]) for family in self._families)
        return [each for data in found for each in data if isinstance(each, str)]

    async def _lookup(self, name: str, rtype: int) -> tuple[dns.Data, ...]:
        """Return the data of a name's records of one type, CNAMEs followed; empty without any. Raises NoAnswer."""
        for _ in range(MAX_ALIASES):
            try:
                name = dns.canonical(name)
            except dns.DnsError:  # a record may name what is no host, or is too long with the service before it
                return ()
            answer = await self._answer(name, rtype)
            if answer.alias is None:
                return answer.data
            name = answer.alias
        return ()

    async def _answer(self, name: str, rtype: int) -> _Answer:
        """Return what is remembered, or what a query finds that all share who ask meanwhile. Raises NoAnswer."""
        key = (name, rtype)
        cached = self._cache.get(key)
        if cached is not None and self._clock() < cached.expires_at:
            return cached.answer
        task = self._pending.get(key)
        if task is None:
            task = self._pending[key] = asyncio.create_task(self._servers.ask(name, rtype))
            task.add_done_callback(lambda done: self._settle(key, done))
        return await asyncio.shield(task)  # one who gives up must not take the answer from the others

    def _settle(self, key: tuple[str, int], done: asyncio.Task[_Answer]) -> None:
        del self._pending[key]
        if done.cancelled() or done.exception() is not None:
            return
        answer = done.result()
        self._cache.pop(key, None)  # the newest stands last
        if answer.ttl > 0:
            self._cache[key] = _Cached(answer, self._clock() + answer.ttl)
        if len(self._cache) > MAX_CACHED:
            del self._cache[next(iter(self._cache))]


class _Servers:
    """The name servers: asked one after the other until one answers."""

    def __init__(self, addresses: list[Address], clock: Callable[[], float], timeout_s: float, attempts: int) -> None:
        self._addresses = addresses
        self._clock = clock
        self._timeout_s = timeout_s
        self._attempts = attempts
        self._silent_until: dict[Address, float] = {}
        self._sockets = asyncio.Semaphore(MAX_QUERIES)

    async def ask(self, name: str, rtype: int) -> _Answer:
        """Return what the first server that answers says about a canonical name. Raises NoAnswer."""
        failed: set[Address] = set()  # these would fail again; what kept silent may have lost a packet
        for _ in range(self._attempts):
            for server in self._ranked():
                if server in failed:
                    continue
                try:
                    async with self._sockets:
                        reply = await self._exchange(server, dns.Query(secrets.randbits(16), name, rtype))
                    answer = _read(reply)
                except OSError:  # a TimeoutError is one too
                    self._silent_until[server] = self._clock() + SILENT_S
                except dns.DnsError:
                    failed.add(server)
                else:
                    self._silent_until.pop(server, None)
                    return answer
        if failed:
            raise _Failed(f"{name}: no name server could tell")
        raise NoAnswer(f"{name}: the name servers keep silent")

    def _ranked(self) -> list[Address]:
        now = self._clock()
        return sorted(self._addresses, key=lambda server: self._silent_until.get(server, now) > now)

    async def _exchange(self, server: Address, query: dns.Query) -> dns.Reply:
        """Ask one server, over UDP and where that does not do over TCP. Raises OSError and DnsError."""
        async with asyncio.timeout(self._timeout_s):
            reply = await _ask_udp(server, query)
        if reply is None or reply.is_truncated:
            async with asyncio.timeout(self._timeout_s):
                reply = await _ask_tcp(server, query)
        return reply


async def _ask_udp(server: Address, query: dns.Query) -> dns.Reply | None:
    """Return a server's reply, waiting past what is not; None when somebody sends guesses. Raises OSError.

    The socket is connected: the kernel gives it a random port, and only what comes from the server.
    """
    loop = asyncio.get_running_loop()
    with _open(server, socket.SOCK_DGRAM) as sock:
        sock.connect(server)
        sock.send(dns.encode_query(query))
        for _ in range(MAX_STRAYS):
            data = await loop.sock_recv(sock, DATAGRAM_BYTES)
            try:
                reply = dns.decode_reply(data)
            except dns.DnsError:
                continue
            if reply.query == query:
                return reply
    return None


async def _ask_tcp(server: Address, query: dns.Query) -> dns.Reply:
    """Return a server's reply (RFC 1035 §4.2.2: two bytes of length, then the message). Raises OSError and DnsError."""
    loop = asyncio.get_running_loop()
    with _open(server, socket.SOCK_STREAM) as sock:
        await loop.sock_connect(sock, server)
        data = dns.encode_query(query)
        await loop.sock_sendall(sock, len(data).to_bytes(2, "big") + data)
        size = int.from_bytes(await _receive(sock, 2), "big")
        reply = dns.decode_reply(await _receive(sock, size))
    if reply.query != query or reply.is_truncated:
        raise dns.DnsError("not the reply to this query")
    return reply


def _open(server: Address, kind: socket.SocketKind) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in server[0] else socket.AF_INET, kind)
    sock.setblocking(False)
    return sock


async def _receive(sock: socket.socket, size: int) -> bytes:
    """Return so many bytes of a stream. Raises OSError when it ends before."""
    data = b""
    while len(data) < size:
        more = await asyncio.get_running_loop().sock_recv(sock, size - len(data))
        if not more:
            raise ConnectionError("closed in the middle of a reply")
        data += more
    return data


def _read(reply: dns.Reply) -> _Answer:
    """Return what a reply says about its question, CNAMEs followed (RFC 1034 §4.3.2, RFC 2308 §2).

    Raises DnsError when the server failed, or only knows whom else to ask (a lame delegation).
    """
    if reply.rcode not in {dns.NOERROR, dns.NXDOMAIN}:
        raise dns.DnsError(f"the server failed: {reply.rcode}")
    _, name, rtype = reply.query
    aliases = {record.name: record for record in reply.answers if record.rtype == dns.CNAME}
    ttl = MAX_TTL_S
    for _ in range(MAX_ALIASES + 1):
        found = [record for record in reply.answers if record.rtype == rtype and record.name == name]
        if found:
            data = tuple(record.data for record in found[:MAX_RECORDS])
            return _Answer(data, min(ttl, *(record.ttl for record in found)))
        alias = aliases.get(name)
        if alias is None:
            break
        name, ttl = str(alias.data), min(ttl, alias.ttl)
    else:
        return _Answer((), min(ttl, MAX_NEGATIVE_TTL_S))  # round in circles
    # RFC 2308 §5: what is not there is remembered for the SOA's TTL or minimum, and without SOA not at all
    negative = [min(record.ttl, int(str(record.data))) for record in reply.authority if record.rtype == dns.SOA]
    if negative or reply.rcode == dns.NXDOMAIN:
        return _Answer((), min(ttl, MAX_NEGATIVE_TTL_S, *negative) if negative else 0)
    if name != reply.query.name:
        return _Answer((), ttl, alias=name)
    if any(record.rtype == dns.NS for record in reply.authority):
        raise dns.DnsError("a lame server")
    return _Answer((), 0)


def in_order(records: Iterable[dns.Srv], choose: Callable[[int], int]) -> list[dns.Srv]:
    """Return SRV records in the order to try them: by priority, and by weighted lot within one.

    Deviates from RFC 2782: its draw from 0 to the sum, both included, gives two records of weight 1 the odds 2:1; here
    the odds are the weights, and weight 0 has the "very small chance" that is meant for it.
    """
    left = sorted(records, key=lambda record: record.priority)
    ordered = []
    while left:
        rivals = [record for record in left if record.priority == left[0].priority]
        shares = [record.weight * 1000 or 1 for record in rivals]
        ticket = choose(sum(shares))
        winner = 0
        while ticket >= shares[winner]:
            ticket -= shares[winner]
            winner += 1
        ordered.append(left.pop(winner))
    return ordered


async def _together(lookups: Iterable[Awaitable[Sequence[T]]]) -> list[Sequence[T]]:
    """Return what several look-ups find, each in its place; one that fails found nothing, unless all found nothing.

    Raises NoAnswer.
    """
    awaited = list(lookups)
    if len(awaited) == 1:  # without a task: it costs more than to remember
        return [await awaited[0]]
    outcomes = await asyncio.gather(*awaited, return_exceptions=True)
    found: list[Sequence[T]] = [() if isinstance(outcome, BaseException) else outcome for outcome in outcomes]
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not (isinstance(outcome, NoAnswer) and any(found)):
            raise outcome
    return found


def system_servers(path: Path = Path("/etc/resolv.conf")) -> list[tuple[str, int]]:
    """Return the system's name servers (address, port 53); the local one where none is named: resolv.conf(5)."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        text = ""
    servers = []
    for line in text.splitlines():
        match line.split():
            case ["nameserver", address, *_] if is_literal(address):
                servers.append((address, 53))
    return servers[:MAX_SERVERS] or [("127.0.0.1", 53)]
