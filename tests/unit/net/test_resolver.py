"""Names to targets (RFC 3263 §4), against a small name server on real sockets that can keep silent, lie and fail."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import random
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import pytest

from proxy.net import dns, resolver
from proxy.net.dns import Srv
from proxy.net.resolver import NoAnswer, NoSuchHost, Resolver, Target, in_order, system_servers

T = TypeVar("T")
PATIENT_S = 30.0  # never waited for: else something is wrong. A server that keeps silent moves the clock
ALICE, BOB = "198.51.100.1", "198.51.100.2"


class Row(NamedTuple):
    """One record of a zone, its data as they travel."""

    rtype: int
    data: bytes
    ttl: int = 300


def wire(name: str) -> bytes:
    labels = [] if name == "." else name.split(".")
    return b"".join(b"%c%b" % (len(label), label.encode()) for label in labels) + b"\0"


def address(literal: str, ttl: int = 300) -> Row:
    packed = ipaddress.ip_address(literal).packed
    return Row(dns.A if len(packed) == 4 else dns.AAAA, packed, ttl)


def alias(name: str, ttl: int = 300) -> Row:
    return Row(dns.CNAME, wire(name), ttl)


def srv(target: str, port: int = 5060, priority: int = 1, weight: int = 0) -> Row:
    return Row(dns.SRV, struct.pack("!HHH", priority, weight, port) + wire(target))


def naptr(service: str, replacement: str, order: int = 1, preference: int = 1, flags: str = "s") -> Row:
    texts = b"".join(b"%c%b" % (len(text), text.encode()) for text in (flags, service, ""))
    return Row(dns.NAPTR, struct.pack("!HH", order, preference) + texts + wire(replacement))


def soa(ttl: int, minimum: int) -> Row:
    return Row(dns.SOA, wire("ns") + wire("root") + struct.pack("!IIIII", 1, 1, 1, 1, minimum), ttl)


Zone = dict[str, list[Row]]
SIP_BOB: Zone = {"bob.example": [address(BOB)]}


def let_pass(seconds: float) -> None:
    """Move the loop's clock: whoever waits so long has waited, however busy the machine is."""
    loop = asyncio.get_running_loop()
    before = loop.time
    loop.time = lambda: before() + seconds  # type: ignore[method-assign]


class NameServer(asyncio.DatagramProtocol):
    """Answers from a zone over UDP and TCP on one loopback port; its attributes are its moods."""

    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        self.asked: list[tuple[str, int]] = []  # over UDP and TCP
        self.over_tcp = 0
        self.ports: list[int] = []  # that the datagrams came from
        self.idents: list[int] = []
        self.silent = self.truncates = self.truncates_tcp = self.hangs_up = self.follows = False
        self.refuses: set[int] = set()  # record types
        self.rcode = 0
        self.authority: list[Row] = []
        self.lies: Callable[[bytes], list[bytes]] = lambda truth: []  # sent before the truth
        self.open = asyncio.Event()  # closed: answers wait
        self.open.set()
        self.arrived = asyncio.Event()
        self.transport: asyncio.DatagramTransport
        self.answering: set[asyncio.Task[None]] = set()

    def answer(self, query: bytes, truncated: bool) -> bytes:
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode())
            at += 1 + query[at]
        name, rtype = ".".join(labels), int.from_bytes(query[at + 1 : at + 3], "big")
        self.asked.append((name, rtype))
        self.idents.append(int.from_bytes(query[:2], "big"))
        found: list[tuple[str, Row]] = []
        while True:
            rows = [row for row in self.zone.get(name, []) if row.rtype in {rtype, dns.CNAME}]
            found += [(name, row) for row in rows]
            if not (self.follows and rows and rows[-1].rtype == dns.CNAME and len(found) < 5):
                break
            name = ".".join(label.decode() for label in _labels(rows[-1].data))
        rcode = self.rcode or (5 if rtype in self.refuses else 0 if name in self.zone or found else 3)
        authority = [] if found else self.authority
        flags = 0x8180 | rcode | (0x0200 if truncated else 0)
        head = query[:2] + struct.pack("!HHHHH", flags, 1, len(found), len(authority), 0) + query[12 : at + 5]
        records = [wire(owner) + _record(row) for owner, row in found]
        body = head + b"".join(records) + b"".join(b"\0" + _record(row) for row in authority)
        return body[: len(head) + 5] if truncated else body

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)  # asyncio's own is not a subclass of it

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        task = asyncio.get_running_loop().create_task(self.serve(data, addr))
        self.answering.add(task)
        task.add_done_callback(self.answering.discard)

    async def serve(self, query: bytes, source: tuple[str, int]) -> None:
        self.ports.append(source[1])
        truth = self.answer(query, self.truncates)
        self.arrived.set()
        await self.open.wait()
        if self.silent:
            let_pass(PATIENT_S)
            return
        for data in (*self.lies(truth), truth):
            self.transport.sendto(data, source)

    async def stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        query = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        self.over_tcp += 1
        data = self.answer(query, self.truncates_tcp)
        data = struct.pack("!H", len(data)) + data
        writer.write(data[: len(data) // 2 if self.hangs_up else None])
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    @property
    def here(self) -> tuple[str, int]:
        host, port = self.transport.get_extra_info("sockname")
        return host, port

    def count(self, rtype: int) -> int:
        return sum(kind == rtype for _, kind in self.asked)


def _labels(data: bytes) -> list[bytes]:
    labels = []
    while data[0]:
        labels.append(data[1 : 1 + data[0]])
        data = data[1 + data[0] :]
    return labels


def _record(row: Row) -> bytes:
    return struct.pack("!HHIH", row.rtype, 1, row.ttl, len(row.data)) + row.data


@asynccontextmanager
async def serving(zone: Zone) -> AsyncIterator[NameServer]:
    loop = asyncio.get_running_loop()
    server = NameServer(zone)
    while True:
        stream = await asyncio.start_server(server.stream, "127.0.0.1", 0)
        here = stream.sockets[0].getsockname()
        try:
            await loop.create_datagram_endpoint(lambda: server, here)
            break
        except OSError:  # somebody has the number for UDP
            stream.close()
            await stream.wait_closed()
    try:
        yield server
    finally:
        server.open.set()
        server.transport.close()
        stream.close()
        await stream.wait_closed()


class Clock:
    """Time that stands until it is moved; seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def run(test: Callable[[NameServer, Clock], Awaitable[T]], zone: Zone) -> T:
    async def whole() -> T:
        async with serving(zone) as server:
            return await test(server, Clock())

    return asyncio.run(whole())


def asking(server: NameServer, clock: Clock, **more: Any) -> Resolver:
    moods: dict[str, Any] = {"timeout_s": PATIENT_S, "choose": lambda _: 0}
    return Resolver([server.here], clock, **moods | more)


def locate(
    zone: Zone,
    host: str = "bob.example",
    port: int | None = None,
    transport: str | None = None,
    secure: bool = False,
    prepare: Callable[[NameServer], None] = lambda server: None,
    **more: Any,
) -> list[Target]:
    async def once(server: NameServer, clock: Clock) -> list[Target]:
        prepare(server)
        return await asking(server, clock, **more).locate(host, port, transport, secure)

    return run(once, zone)


# What is asked, and where that leads (RFC 3263 §4.1, §4.2)


@pytest.mark.parametrize(
    ("host", "port", "transport", "secure", "target"),
    [
        (BOB, None, None, False, Target("udp", BOB, 5060)),
        (BOB, 5070, "TCP", False, Target("tcp", BOB, 5070)),
        (BOB, None, None, True, Target("tls", BOB, 5061)),
        (BOB, None, "tls", False, Target("tls", BOB, 5061)),
        (BOB, None, "tcp", True, Target("tls", BOB, 5061)),
        ("[2001:db8::1]", None, None, False, Target("udp", "2001:db8::1", 5060)),
        ("2001:db8::1", 7, None, False, Target("udp", "2001:db8::1", 7)),
    ],
)
def test_a_literal_is_its_own_target_and_nobody_is_asked(
    host: str, port: int | None, transport: str | None, secure: bool, target: Target
) -> None:
    nobody = Resolver([], Clock())
    assert asyncio.run(nobody.locate(host, port, transport, secure)) == [target]


EVERYTHING: Zone = {
    "bob.example": [
        address(BOB), naptr("SIP+D2T", "tcp.bob.example", 2), naptr("SIP+D2U", "udp.bob.example", 1, 9),
        naptr("sips+d2t", "tls.bob.example", 1, 2), naptr("SIP+D2S", "sctp.bob.example", 0),
        naptr("SIP+D2U", "trap.example", 0, flags="a"),
    ],
    "trap.example": [srv("two.example", 666)],
    "udp.bob.example": [srv("one.example", 5071)],
    "tcp.bob.example": [srv("one.example", 5072)],
    "tls.bob.example": [srv("one.example", 5073)],
    "_sip._udp.bob.example": [srv("two.example", 5081)],
    "_sip._tcp.bob.example": [srv("two.example", 5082)],
    "_sips._tcp.bob.example": [srv("two.example", 5083)],
    "one.example": [address("198.51.100.11")],
    "two.example": [address("198.51.100.12")],
}  # fmt: skip
ONE, TWO = "198.51.100.11", "198.51.100.12"


def without(*names: str, rtype: int | None = None) -> Zone:
    """Return the whole zone without some names, or without the records of one type."""
    kept = {name: rows for name, rows in EVERYTHING.items() if name not in names}
    return {name: [row for row in rows if row.rtype != rtype] for name, rows in kept.items()}


@pytest.mark.parametrize(
    ("transports", "secure", "targets"),
    [
        (("udp", "tcp"), False, [Target("udp", ONE, 5071), Target("tcp", ONE, 5072)]),
        (("udp", "tcp", "tls"), False, [Target("tls", ONE, 5073), Target("udp", ONE, 5071), Target("tcp", ONE, 5072)]),
        (("tcp",), False, [Target("tcp", ONE, 5072)]),
        (("udp", "tcp", "tls"), True, [Target("tls", ONE, 5073)]),
    ],
)
def test_naptr_chooses_among_our_transports_in_the_domains_order(
    transports: tuple[str, ...], secure: bool, targets: list[Target]
) -> None:
    assert locate(EVERYTHING, secure=secure, transports=transports) == targets


@pytest.mark.parametrize(
    ("transports", "secure", "targets"),
    [
        (("udp", "tcp"), False, [Target("udp", TWO, 5081), Target("tcp", TWO, 5082)]),
        (("tls", "udp"), False, [Target("tls", TWO, 5083), Target("udp", TWO, 5081)]),
        (("udp", "tls"), True, [Target("tls", TWO, 5083)]),
    ],
)
def test_without_naptr_the_services_of_our_transports_are_asked_for(
    transports: tuple[str, ...], secure: bool, targets: list[Target]
) -> None:
    assert locate(without(rtype=dns.NAPTR), secure=secure, transports=transports) == targets


def test_naptr_rules_for_transports_that_are_not_ours_are_like_none() -> None:
    zone = {"bob.example": [naptr("SIP+D2S", "sctp.bob.example"), naptr("", "."), address(BOB)]}
    assert locate(zone) == [Target("udp", BOB, 5060)]


@pytest.mark.parametrize(
    ("transport", "secure", "target"),
    [
        ("udp", False, Target("udp", TWO, 5081)),
        ("TCP", False, Target("tcp", TWO, 5082)),
        ("tls", False, Target("tls", TWO, 5083)),
        ("tcp", True, Target("tls", TWO, 5083)),
        ("udp", True, Target("tls", TWO, 5083)),
    ],
)
def test_a_transport_in_the_uri_is_obeyed_without_naptr(transport: str, secure: bool, target: Target) -> None:
    async def once(server: NameServer, clock: Clock) -> None:
        assert await asking(server, clock).locate("bob.example", None, transport, secure) == [target]
        assert server.count(dns.NAPTR) == 0

    run(once, EVERYTHING)


def test_a_port_in_the_uri_leads_to_the_address_and_nothing_else_is_asked() -> None:
    async def once(server: NameServer, clock: Clock) -> None:
        names = asking(server, clock)
        assert await names.locate("bob.example", 5060, None, False) == [Target("udp", BOB, 5060)]
        assert await names.locate("bob.example", 7, "tcp", False) == [Target("tcp", BOB, 7)]
        assert await names.locate("bob.example", 7, None, True) == [Target("tls", BOB, 7)]
        assert server.asked == [("bob.example", dns.A)]

    run(once, EVERYTHING)


@pytest.mark.parametrize(
    ("transport", "secure", "target"),
    [
        (None, False, Target("udp", BOB, 5060)),
        ("tcp", False, Target("tcp", BOB, 5060)),
        ("tls", False, Target("tls", BOB, 5061)),
        (None, True, Target("tls", BOB, 5061)),
    ],
)
def test_without_services_the_address_and_the_default_port_are_taken(
    transport: str | None, secure: bool, target: Target
) -> None:
    assert locate(SIP_BOB, transport=transport, secure=secure) == [target]


@pytest.mark.parametrize(("transports", "chosen"), [(("tcp", "udp"), "udp"), (("tls", "tcp"), "tls")])
def test_where_nothing_says_otherwise_it_is_udp_if_we_have_it(transports: tuple[str, ...], chosen: str) -> None:
    for port in (None, resolver.PORTS[chosen]):
        assert locate(SIP_BOB, port=port, transports=transports) == [Target(chosen, BOB, resolver.PORTS[chosen])]


def test_a_rule_without_its_service_still_chooses_the_transport() -> None:
    assert locate({"bob.example": [naptr("SIP+D2T", "gone.example"), address(BOB)]}) == [Target("tcp", BOB, 5060)]


def test_a_transport_that_is_unknown_is_no_such_host() -> None:
    with pytest.raises(NoSuchHost, match="sctp"):
        locate(SIP_BOB, transport="sctp")


def test_both_ip_versions_are_taken_in_the_order_that_was_asked_for() -> None:
    zone = {"bob.example": [address(BOB), address("2001:db8::2")]}
    four, six = Target("udp", BOB, 9), Target("udp", "2001:db8::2", 9)
    assert locate(zone, port=9) == [four]
    assert locate(zone, port=9, families=(6, 4)) == [six, four]
    assert locate(zone, port=9, families=(4, 6)) == [four, six]
    with pytest.raises(NoSuchHost):
        locate(SIP_BOB, port=9, families=(6,))


def test_targets_are_told_once_and_sixteen_at_the_most() -> None:
    many = {"bob.example": [address(f"198.51.100.{number // 2 + 1}") for number in range(48)]}
    assert locate(many, port=5) == [Target("udp", f"198.51.100.{number + 1}", 5) for number in range(16)]
    services = [srv(f"h{number}.example", 5060, number) for number in range(30)]
    zone: Zone = {"_sip._udp.bob.example": services}
    zone |= {f"h{number}.example": [address(f"198.51.100.{number + 1}")] for number in range(30)}

    async def once(server: NameServer, clock: Clock) -> None:
        found = await asking(server, clock).locate("bob.example", None, "udp", False)
        assert found == [Target("udp", f"198.51.100.{number + 1}", 5060) for number in range(16)]
        assert server.count(dns.A) == 16

    run(once, zone)


# SRV (RFC 2782)


def test_services_are_tried_by_priority() -> None:
    zone: Zone = {"_sip._udp.bob.example": [srv("b.example", 2, 20), srv("a.example", 1, 10), srv("c.example", 3, 30)]}
    zone |= {f"{name}.example": [address(BOB)] for name in "abc"}
    assert [target.port for target in locate(zone, transport="udp")] == [1, 2, 3]


def test_weights_are_the_odds() -> None:
    services = [srv("a.example", 1, 1, 10), srv("a.example", 3, 1, 30), srv("a.example", 9, 2)]
    zone = {"_sip._udp.bob.example": services, "a.example": [address(BOB)]}

    async def often(server: NameServer, clock: Clock) -> Counter[tuple[int, ...]]:
        names = asking(server, clock, choose=random.Random(1).randrange)
        located = [await names.locate("bob.example", None, "udp", False) for _ in range(2000)]
        return Counter(tuple(target.port for target in targets) for targets in located)

    counts = run(often, zone)
    assert counts.keys() == {(1, 3, 9), (3, 1, 9)}
    assert 1420 < counts[3, 1, 9] < 1580


def test_each_draw_falls_to_the_record_whose_share_it_is_in() -> None:
    light, none, heavy = Srv(1, 1, 5060, "light"), Srv(1, 0, 5060, "none"), Srv(1, 2, 5060, "heavy")

    def drawn(ticket: int) -> Srv:
        tickets = {3001: ticket}  # the sum of the first draw; later ones are drawn 0
        ordered = in_order([light, none, heavy], lambda total: tickets.pop(total, 0))
        assert not tickets
        assert sorted(ordered) == sorted([light, none, heavy])
        return ordered[0]

    assert [drawn(ticket) for ticket in (0, 999, 1000, 1001, 3000)] == [light, light, none, heavy, heavy]


def test_equal_weights_and_no_weights_have_equal_odds() -> None:
    for weight in (0, 1):
        rivals = [Srv(1, weight, port, "a") for port in range(3)]
        choose = random.Random(2).randrange
        counts = Counter(in_order(rivals, choose)[0].port for _ in range(3000))
        assert all(900 < counts[port] < 1100 for port in range(3)), counts


def test_a_service_that_is_not_available_has_no_address_either() -> None:
    zone: Zone = {"_sip._udp.bob.example": [srv(".")], "bob.example": [address(BOB)]}
    with pytest.raises(NoSuchHost):
        locate(zone)
    zone |= {"_sip._tcp.bob.example": [srv("bob.example", 5070)]}
    assert locate(zone) == [Target("tcp", BOB, 5070)]


def test_a_service_on_a_dead_name_leaves_the_others() -> None:
    services = [srv("gone.example"), srv("-.x y", 1, 2), srv("bob.example", 7, 3), srv("bob.example", 0, 4)]
    zone: Zone = {"_sip._udp.bob.example": services, "bob.example": [address(BOB)]}
    assert locate(zone, transport="udp") == [Target("udp", BOB, 7)]


# Names


@pytest.mark.parametrize("host", ["", ".", "a..b", "bob example", "bob.example\0", "bøb.example", "x" * 64, "a." * 128])
def test_what_is_no_name_is_no_such_host_and_nobody_is_asked(host: str) -> None:
    with pytest.raises(NoSuchHost):
        asyncio.run(Resolver([], Clock()).locate(host, 5060, None, False))


def test_a_name_too_long_for_a_service_before_it_still_has_an_address() -> None:
    host = ("a" * 63 + ".") * 3 + "b" * 60
    assert locate({host: [address(BOB)]}, host) == [Target("udp", BOB, 5060)]


def test_the_same_name_in_other_letters_is_asked_for_once() -> None:
    async def thrice(server: NameServer, clock: Clock) -> None:
        names = asking(server, clock)
        for host in ("under_score.Example", "UNDER_score.example.", "under_score.example"):
            assert await names.locate(host, 5060, None, False) == [Target("udp", BOB, 5060)]
        assert len(server.asked) == 1

    run(thrice, {"under_score.example": [address(BOB)]})


@pytest.mark.parametrize("follows", [True, False], ids=["by the server", "by us"])
def test_an_alias_is_followed(follows: bool) -> None:
    zone = {"www.example": [alias("w.example")], "w.example": [alias("bob.example")], **SIP_BOB}
    found = locate(zone, "www.example", 5, prepare=lambda server: setattr(server, "follows", follows))
    assert found == [Target("udp", BOB, 5)]


@pytest.mark.parametrize("follows", [True, False], ids=["in one answer", "in many"])
@pytest.mark.parametrize("second", ["b.example", "a.example", "c.example", "."])
def test_an_alias_that_leads_round_or_nowhere_is_no_such_host(follows: bool, second: str) -> None:
    zone = {"a.example": [alias("b.example")], "b.example": [alias(second)]}

    async def once(server: NameServer, clock: Clock) -> None:
        server.follows = follows
        with pytest.raises(NoSuchHost):
            await asking(server, clock).locate("a.example", 5, None, False)
        assert 1 <= len(server.asked) <= resolver.MAX_ALIASES

    run(once, zone)


def test_a_chain_of_aliases_without_end_is_given_up() -> None:
    async def once(server: NameServer, clock: Clock) -> None:
        with pytest.raises(NoSuchHost):
            await asking(server, clock).locate("c0.example", 5, None, False)
        assert len(server.asked) == resolver.MAX_ALIASES

    run(once, {f"c{number}.example": [alias(f"c{number + 1}.example")] for number in range(40)})


# Memory


def test_an_answer_is_remembered_for_its_ttl() -> None:
    async def live(server: NameServer, clock: Clock) -> None:
        names = asking(server, clock)
        for seconds, asked in ((0, 1), (29, 1), (1, 2), (29.9, 2), (0.2, 3)):
            clock.now += seconds
            assert await names.locate("bob.example", 5, None, False) == [Target("udp", BOB, 5)]
            assert len(server.asked) == asked
        server.zone = {"bob.example": [address(ALICE)]}
        clock.now += 30
        assert await names.locate("bob.example", 5, None, False) == [Target("udp", ALICE, 5)]

    run(live, {"bob.example": [address(BOB, 99), address(BOB, 30)]})


@pytest.mark.parametrize(("ttl", "lasts"), [(0, 0), (5, 5), (2**31 - 1, 86_400), (2**32 - 1, 0)])
def test_a_ttl_counts_up_to_a_day(ttl: int, lasts: int) -> None:
    async def live(server: NameServer, clock: Clock) -> None:
        names = asking(server, clock)
        await names.locate("bob.example", 5, None, False)
        if lasts:
            clock.now += lasts - 1
            await names.locate("bob.example", 5, None, False)
            assert len(server.asked) == 1
            clock.now += 1
        await names.locate("bob.example", 5, None, False)
        assert len(server.asked) == 2

    run(live, {"bob.example": [address(BOB, ttl)]})


def test_an_alias_lasts_no_longer_than_its_shortest_link() -> None:
    async def live(server: NameServer, clock: Clock) -> None:
        server.follows = True
        names = asking(server, clock)
        for seconds, asked in ((0, 1), (9, 1), (1, 2)):
            clock.now += seconds
            await names.locate("www.example", 5, None, False)
            assert len(server.asked) == asked

    run(live, {"www.example": [alias("bob.example", 10)], "bob.example": [address(BOB, 60)]})


@pytest.mark.parametrize(("authority", "lasts"), [([soa(20, 9)], 9), ([soa(8, 20)], 8), ([soa(999, 999)], 60), ([], 0)])
@pytest.mark.parametrize("zone", [{}, {"bob.example": [Row(16, b"\x01x")]}], ids=["no name", "no address"])
def test_what_is_not_there_is_remembered_as_the_soa_says_for_a_minute_at_most(
    authority: list[Row], lasts: int, zone: Zone
) -> None:
    async def live(server: NameServer, clock: Clock) -> None:
        server.authority = authority
        names = asking(server, clock)
        for seconds, asked in ((0, 1), (lasts - 1, 1), (1, 2)) if lasts else ((0, 1), (0, 2)):
            clock.now += seconds
            with pytest.raises(NoSuchHost):
                await names.locate("bob.example", 5, None, False)
            assert len(server.asked) == asked

    run(live, zone)


def test_the_oldest_answers_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "MAX_CACHED", 3)

    async def live(server: NameServer, clock: Clock) -> None:
        names = asking(server, clock)
        for host in ("a", "b", "c", "a", "d", "b", "c", "d", "a"):
            await names.locate(host, 5, None, False)
        assert [name for name, _ in server.asked] == ["a", "b", "c", "d", "a"]

    run(live, {name: [address(BOB)] for name in "abcd"})


def test_those_who_ask_the_same_at_once_share_one_query() -> None:
    async def crowd(server: NameServer, clock: Clock) -> None:
        names = asking(server, clock)
        found = await asyncio.gather(*(names.locate("bob.example", 5, each, False) for each in ("udp", "tcp", "tls")))
        assert [target.transport for (target,) in found] == ["udp", "tcp", "tls"]
        assert len(server.asked) == 1

    run(crowd, {"bob.example": [address(BOB, 0)]})


def test_one_who_gives_up_does_not_take_the_answer_from_the_others() -> None:
    async def crowd(server: NameServer, clock: Clock) -> None:
        server.open.clear()
        names = asking(server, clock)
        first, second = (asyncio.create_task(names.locate("bob.example", 5, None, False)) for _ in range(2))
        await server.arrived.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        server.open.set()
        assert await second == [Target("udp", BOB, 5)]
        assert len(server.asked) == 1

    run(crowd, SIP_BOB)


def test_a_failure_is_neither_remembered_nor_an_error_of_the_loop(caplog: pytest.LogCaptureFixture) -> None:
    async def twice(server: NameServer, clock: Clock) -> None:
        names = asking(server, clock)
        server.rcode = 2
        with pytest.raises(NoAnswer):
            await names.locate("bob.example", 5, None, False)
        server.rcode = 0
        assert await names.locate("bob.example", 5, None, False) == [Target("udp", BOB, 5)]

    run(twice, SIP_BOB)
    assert caplog.messages == []


def test_queries_beyond_the_limit_wait_for_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "MAX_QUERIES", 1)

    async def crowd(server: NameServer, clock: Clock) -> float:
        server.silent = True
        names = asking(server, clock, timeout_s=PATIENT_S, attempts=1)
        begun = asyncio.get_running_loop().time()
        found = await asyncio.gather(*(names.locate(each, 5, None, False) for each in "abc"), return_exceptions=True)
        assert [type(each) for each in found] == [NoAnswer] * 3
        return asyncio.get_running_loop().time() - begun

    assert run(crowd, {}) >= 3 * PATIENT_S


# Servers that fail, and strangers who answer in their place


def forged(truth: bytes) -> bytes:
    """Return the answer that a liar would like us to believe: ALICE's address for BOB's name."""
    return truth.replace(ipaddress.ip_address(BOB).packed, ipaddress.ip_address(ALICE).packed)


LIES: dict[str, Callable[[bytes], bytes]] = {
    "wrong id": lambda truth: bytes((truth[0] ^ 1,)) + forged(truth)[1:],
    "wrong question": lambda truth: forged(truth).replace(b"\x03bob", b"\x03rob", 1),
    "wrong type": lambda truth: forged(truth).replace(b"\0\0\1\0\1", b"\0\0\2\0\1", 1),
    "a query": lambda truth: truth[:2] + b"\x01\0" + forged(truth)[4:],
    "cut short": lambda truth: forged(truth)[:-1],
    "no bytes": lambda truth: b"",
    "noise": lambda truth: bytes(range(256)),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_what_is_not_the_answer_is_ignored_and_the_answer_awaited(lie: Callable[[bytes], bytes]) -> None:
    def prepare(server: NameServer) -> None:
        server.lies = lambda truth: [lie(truth)] * 3

    assert locate(SIP_BOB, port=5, prepare=prepare) == [Target("udp", BOB, 5)]


def test_the_forgery_would_be_believed_with_the_right_id_and_question() -> None:
    """Else the tests above would show nothing."""

    def prepare(server: NameServer) -> None:
        server.lies = lambda truth: [forged(truth)]

    assert locate(SIP_BOB, port=5, prepare=prepare) == [Target("udp", ALICE, 5)]


def test_records_about_other_names_are_not_believed() -> None:
    def prepare(server: NameServer) -> None:
        # the question is echoed as it was, the record that follows it is about somebody else
        server.lies = lambda truth: [b"\x03rob".join(forged(truth).rsplit(b"\x03bob", 1))]

    with pytest.raises(NoSuchHost):
        locate(SIP_BOB, port=5, prepare=prepare)


def test_whoever_is_flooded_with_guesses_asks_over_tcp() -> None:
    async def once(server: NameServer, clock: Clock) -> None:
        server.lies = lambda truth: [LIES["wrong id"](truth)] * resolver.MAX_STRAYS
        assert await asking(server, clock).locate("bob.example", 5, None, False) == [Target("udp", BOB, 5)]
        assert server.over_tcp == 1

    run(once, SIP_BOB)


def test_each_query_has_a_port_and_an_id_of_its_own() -> None:
    async def often(server: NameServer, clock: Clock) -> None:
        names = asking(server, clock)
        for number in range(20):
            with pytest.raises(NoSuchHost):
                await names.locate(f"n{number}.example", 5, None, False)
        assert len(set(server.ports)) > 10
        assert len(set(server.idents)) > 10
        assert len(set(map(int.__sub__, server.idents[1:], server.idents))) > 10  # no counter

    run(often, {})


def test_a_truncated_answer_is_asked_for_again_over_tcp() -> None:
    rows = [address(f"198.51.{number}.1") for number in range(100)]

    async def once(server: NameServer, clock: Clock) -> None:
        server.truncates = True
        assert len(await asking(server, clock).locate("bob.example", 5, None, False)) == 16
        assert (len(server.asked), server.over_tcp) == (2, 1)

    run(once, {"bob.example": rows})


@pytest.mark.parametrize("mood", ["truncates_tcp", "hangs_up"])
def test_a_server_that_fails_over_tcp_has_not_answered(mood: str) -> None:
    def prepare(server: NameServer) -> None:
        server.truncates = True
        setattr(server, mood, True)

    with pytest.raises(NoAnswer):
        locate(SIP_BOB, port=5, prepare=prepare)


def two(first: dict[str, Any], second: dict[str, Any], timeout_s: float) -> tuple[list[Target], list[int]]:
    """Return what two servers in these moods lead to, and how often each was asked in two look-ups."""

    async def both() -> tuple[list[Target], list[int]]:
        async with serving(SIP_BOB) as one, serving(SIP_BOB) as other:
            for server, moods in ((one, first), (other, second)):
                for mood, value in moods.items():
                    setattr(server, mood, value)
            names = Resolver([one.here, other.here], Clock(), timeout_s=timeout_s)
            found = await names.locate("bob.example", 5, None, False)
            with pytest.raises(NoSuchHost):
                await names.locate("gone.example", 5, None, False)
            return found, [len(one.asked), len(other.asked)]

    return asyncio.run(both())


@pytest.mark.parametrize("rcode", [1, 2, 4, 5])
def test_the_next_server_is_asked_when_one_fails(rcode: int) -> None:
    assert two({"rcode": rcode}, {}, PATIENT_S) == ([Target("udp", BOB, 5)], [2, 2])


def test_the_next_server_is_asked_when_one_only_knows_others() -> None:
    lame = {"zone": {"bob.example": [], "gone.example": []}, "authority": [Row(dns.NS, wire("ns.example"))]}
    assert two(lame, {}, PATIENT_S) == ([Target("udp", BOB, 5)], [2, 2])


def test_a_silent_server_is_asked_last_from_then_on() -> None:
    assert two({"silent": True}, {}, PATIENT_S) == ([Target("udp", BOB, 5)], [1, 2])


def test_a_silent_server_has_its_turn_again_after_a_while() -> None:
    async def both() -> None:
        async with serving({}) as one, serving({}) as other:
            clock = Clock()
            names = Resolver([one.here, other.here], clock, timeout_s=PATIENT_S)
            one.silent = True
            for seconds, asked in ((0, 1), (resolver.SILENT_S - 1, 1), (1, 2)):
                clock.now += seconds
                with pytest.raises(NoSuchHost):
                    await names.locate("bob.example", 5, None, False)
                assert len(one.asked) == asked

    asyncio.run(both())


def test_a_silent_server_that_speaks_again_has_its_turn_at_once() -> None:
    async def both() -> None:
        async with serving({}) as one, serving({}) as other:
            names = Resolver([one.here, other.here], Clock(), timeout_s=PATIENT_S)
            one.silent = True
            for asked in ([1, 1], [2, 2], [3, 2]):
                with pytest.raises(NoSuchHost):
                    await names.locate("bob.example", 5, None, False)
                assert [len(one.asked), len(other.asked)] == asked
                one.silent, other.rcode = False, 2

    asyncio.run(both())


def test_a_closed_port_is_silence_that_is_noticed_at_once() -> None:
    async def both() -> list[Target]:
        async with serving({}) as gone:
            closed = gone.here
        async with serving(SIP_BOB) as server:
            names = Resolver([closed, server.here], Clock(), timeout_s=PATIENT_S)
            return await names.locate("bob.example", 5, None, False)

    assert asyncio.run(both()) == [Target("udp", BOB, 5)]


@pytest.mark.parametrize("attempts", [1, 3])
def test_a_server_that_keeps_silent_is_asked_so_many_times(attempts: int) -> None:
    async def once(server: NameServer, clock: Clock) -> None:
        server.silent = True
        with pytest.raises(NoAnswer, match="silent"):
            await asking(server, clock, timeout_s=PATIENT_S, attempts=attempts).locate("bob.example", 5, None, False)
        assert len(server.asked) == attempts
        # Each from a port of its own; but the kernel may give one that was let go a moment ago twice.
        assert len(set(server.ports)) >= min(attempts, 2)

    run(once, SIP_BOB)


def test_where_everybody_fails_there_is_no_answer() -> None:
    async def once(server: NameServer, clock: Clock) -> None:
        server.rcode = 2
        with pytest.raises(NoAnswer, match="could tell"):
            await asking(server, clock).locate("bob.example", 5, None, False)
        assert len(server.asked) == 1  # it would fail again

    run(once, SIP_BOB)
    with pytest.raises(NoAnswer):
        asyncio.run(Resolver([], Clock()).locate("bob.example", None, None, False))


def test_a_server_that_refuses_naptr_is_asked_for_services() -> None:
    found = locate(EVERYTHING, prepare=lambda server: server.refuses.add(dns.NAPTR))
    assert found == [Target("udp", TWO, 5081), Target("tcp", TWO, 5082)]


def test_a_failure_where_services_are_asked_for_does_not_lead_to_the_address() -> None:
    """What answers at a domain's address is often a web server: a service that we could not learn of is not none."""
    with pytest.raises(NoAnswer):
        locate(EVERYTHING, prepare=lambda server: server.refuses.add(dns.SRV))


def test_one_ip_version_is_enough_where_the_other_fails() -> None:
    found = locate(SIP_BOB, port=5, families=(6, 4), prepare=lambda server: server.refuses.add(dns.AAAA))
    assert found == [Target("udp", BOB, 5)]


# The system's servers


def test_the_systems_name_servers_are_read_as_the_c_library_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text(
        "# nameserver 198.51.100.9\nsearch example\n;nameserver 198.51.100.9\nnameserver\nnameserver bob.example\n"
        "nameserver 198.51.100.1  # the first\n\tnameserver\t2001:db8::1\n"
        "nameserver 198.51.100.2\nnameserver 198.51.100.3\n"
    )
    assert system_servers(path) == [("198.51.100.1", 53), ("2001:db8::1", 53), ("198.51.100.2", 53)]


def test_without_a_name_server_the_local_one_is_asked(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_bytes(b"\xff\xfe options\n")
    assert system_servers(empty) == system_servers(tmp_path / "missing") == [("127.0.0.1", 53)]
