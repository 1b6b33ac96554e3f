"""Streams on real sockets: what arrives, what is sent where, and what becomes of peers who cost too much."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import ssl
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import pytest

from labkit import certificates
from proxy.core.effects import Send
from proxy.core.flow import Address, Flow
from proxy.net import tls
from proxy.net.stream import Limits, Streams

HERE = ("198.51.100.10", 5060)  # advertised
PORT_0 = ("127.0.0.1", 0)
NOBODY = ("127.0.0.1", 9)
PATIENCE_S = 30  # before a test that waits for a fact gives up


def message(number: int, body: bytes = b"") -> bytes:
    return b"X sip:a SIP/2.0\r\nCSeq: %d X\r\nContent-Length: %d\r\n\r\n%b" % (number, len(body), body)


class House:
    """Streams, and what they said."""

    def __init__(self, limits: Limits) -> None:
        self.received: asyncio.Queue[tuple[bytes, Flow]] = asyncio.Queue()
        self.failed: asyncio.Queue[bytes] = asyncio.Queue()
        self.closed: asyncio.Queue[Flow] = asyncio.Queue()
        self.counts: Counter[str] = Counter()
        self._seen: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.streams = Streams(self.receive, self.failed.put_nowait, self.closed.put_nowait, limits, self.count)
        self.answer = b""  # to each message, from within receive()
        self.greeting: Send | None = None  # to go out as soon as a connection is open

    def receive(self, data: bytes, flow: Flow) -> None:
        self.received.put_nowait((data, flow))
        if self.answer:
            self.streams.send(Send(flow, self.answer))

    def count(self, name: str) -> None:
        self.counts[name] += 1
        if name == "connections-opened" and self.greeting is not None:
            self.streams.send(self.greeting)
        self._seen[name].set()

    async def counted(self, name: str) -> None:
        await self._seen[name].wait()

    def send(self, data: bytes, to: Address | Flow, token: bytes = b"", **more: Any) -> None:
        flow = to if isinstance(to, Flow) else Flow(more.pop("transport", "tcp"), ("192.0.2.1", 1), to)
        self.streams.send(Send(flow, data, token, **more))


@contextlib.asynccontextmanager
async def house(**limits: Any) -> AsyncIterator[House]:
    made = House(Limits(**limits))
    try:
        yield made
    finally:
        await made.streams.close()
        assert made.streams.open_connections == {}
        assert [task for task in asyncio.all_tasks() if "Streams" in repr(task.get_coro())] == []


class Peer:
    """The far end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.read = reader.readexactly
        self.reader = reader
        self.write = writer.write
        self.writer = writer
        self.address: Address = writer.get_extra_info("sockname")[:2]

    async def ended(self) -> bytes:
        """Return what is left until the other side closes, by whatever means."""
        left = b""
        with contextlib.suppress(ConnectionError):
            while data := await self.reader.read(65_536):
                left += data
        return left


@contextlib.asynccontextmanager
async def peer(
    address: Address, context: ssl.SSLContext | None = None, source: str = "127.0.0.1"
) -> AsyncIterator[Peer]:
    local = None if ":" in address[0] else (source, 0)
    name = None if context is None else address[0]
    reader, writer = await asyncio.open_connection(*address, ssl=context, local_addr=local, server_hostname=name)
    try:
        yield Peer(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


class Callee:
    """A server: the connections that it was given."""

    def __init__(self) -> None:
        self.peers: asyncio.Queue[Peer] = asyncio.Queue()
        self.address = PORT_0
        self._writers: list[asyncio.StreamWriter] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self.peers.put_nowait(Peer(reader, writer))

    async def close(self) -> None:
        for writer in self._writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


@contextlib.asynccontextmanager
async def callee(context: ssl.SSLContext | None = None) -> AsyncIterator[Callee]:
    made = Callee()
    server = await asyncio.start_server(made.answer, *PORT_0, ssl=context)
    made.address = server.sockets[0].getsockname()
    try:
        yield made
    finally:
        server.close()
        await made.close()
        await server.wait_closed()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    certificates.ensure(folder, ["proxy.example.com", "www.example.com", "example.com"], ["127.0.0.1"])
    return folder


@pytest.fixture
def server(files: Path) -> ssl.SSLContext:
    return tls.server_context(files / "server.pem", files / "server.key", files / "ca.pem", "optional", {})


@pytest.fixture
def client(files: Path) -> ssl.SSLContext:
    return tls.client_context(files / "ca.pem", files / "client.pem", files / "client.key")


def run(test: Coroutine[Any, Any, None]) -> None:
    async def patiently() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await test

    asyncio.run(patiently())


# What arrives


def test_a_message_arrives_with_the_flow_that_it_came_on() -> None:
    async def test() -> None:
        async with house() as here:
            bound = await here.streams.listen("tcp", PORT_0, HERE, None)
            async with peer(bound) as first, peer(bound) as second:
                first.write(message(1))
                assert await here.received.get() == (message(1), Flow("tcp", HERE, first.address, 1))
                second.write(message(2))
                assert await here.received.get() == (message(2), Flow("tcp", HERE, second.address, 2))
                assert here.streams.open_connections == {"tcp": 2}

    run(test())


def test_a_message_arrives_over_tls(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    async def test() -> None:
        async with house() as here:
            bound = await here.streams.listen("tls", PORT_0, HERE, server)
            async with peer(bound, client) as alice:
                alice.write(message(1, b"x" * 60_000) + message(2))
                flow = Flow("tls", HERE, alice.address, 1)
                assert await here.received.get() == (message(1, b"x" * 60_000), flow)
                assert await here.received.get() == (message(2), flow)
                assert here.streams.open_connections == {"tls": 1}
                here.send(message(3), flow)
                assert await alice.read(len(message(3))) == message(3)

    run(test())


def test_a_message_arrives_over_ipv6_and_ipv4_has_the_port_for_itself() -> None:
    async def test() -> None:
        async with house() as here:
            bound = await here.streams.listen("tcp", ("::1", 0), ("2001:db8::10", 5060), None)
            assert bound[0] == "::1"
            async with peer(bound) as alice:
                alice.write(message(1))
                flow = (await here.received.get())[1]
                assert flow == Flow("tcp", ("2001:db8::10", 5060), ("::1", alice.address[1]), 1)
            everywhere = await here.streams.listen("tcp", ("::", 0), ("2001:db8::10", 5060), None)
            with pytest.raises(ConnectionRefusedError):
                async with peer(("127.0.0.1", everywhere[1])):
                    pass

    run(test())


def test_messages_arrive_one_at_a_time_and_in_order_however_they_were_cut() -> None:
    messages = [message(number, bytes(number)) for number in range(50)]
    stream = b"".join(messages)

    async def test() -> None:
        async with house() as here:
            bound = await here.streams.listen("tcp", PORT_0, HERE, None)
            async with peer(bound) as alice:
                for begin in range(0, len(stream), 77):
                    alice.write(stream[begin : begin + 77])
                    await alice.writer.drain()
                assert [(await here.received.get())[0] for _ in messages] == messages
                alice.write(stream)
                assert [(await here.received.get())[0] for _ in messages] == messages

    run(test())


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_a_double_crlf_is_answered_with_one(
    transport: str, server: ssl.SSLContext, client: ssl.SSLContext
) -> None:
    is_tls = transport == "tls"

    async def test() -> None:
        async with house() as here:
            here.answer = b"answer"
            bound = await here.streams.listen(transport, PORT_0, HERE, server if is_tls else None)
            async with peer(bound, client if is_tls else None) as alice:
                alice.write(b"\r\n\r\n")
                assert await alice.read(2) == b"\r\n"
                alice.write(b"\r\n" + message(1))
                assert await alice.read(6) == b"answer"
                assert here.counts["keep-alives"] == 1
                assert here.received.qsize() == 1

    run(test())


def test_what_is_answered_from_within_receive_goes_out_in_order() -> None:
    async def test() -> None:
        async with house() as here:
            here.answer = b"answer"
            bound = await here.streams.listen("tcp", PORT_0, HERE, None)
            async with peer(bound) as alice:
                alice.write(message(1) + message(2) + b"\r\n\r\n")
                assert await alice.read(14) == b"answeranswer\r\n"

    run(test())


# What cannot be read


@pytest.mark.parametrize(("transport", "more"), [("tcp", 300_000), ("tls", 1000)])
def test_a_head_without_content_length_is_handed_on_answered_and_the_end(
    transport: str, more: int, server: ssl.SSLContext, client: ssl.SSLContext
) -> None:
    is_tls = transport == "tls"

    async def test() -> None:
        async with house() as here:
            here.answer = b"400" * 30_000
            bound = await here.streams.listen(transport, PORT_0, HERE, server if is_tls else None)
            async with peer(bound, client if is_tls else None) as alice:
                alice.write(message(1) + b"X sip:a SIP/2.0\r\n\r\n" + message(2) + b"x" * more)
                assert await alice.ended() == here.answer * 2
                alice.writer.close()
                assert await here.closed.get() == Flow(transport, HERE, alice.address, 1)
                assert [here.received.get_nowait()[0] for _ in range(here.received.qsize())] == [
                    message(1), b"X sip:a SIP/2.0\r\n\r\n",
                ]  # fmt: skip
                assert here.counts["stream-errors"] == 1

    run(test())


@pytest.mark.parametrize("rubbish", [b"\x16\x03\x01\0\xff", b"x" * 5000, b"X sip:a SIP/2.0\r\n" + b"y" * 17_000])
def test_rubbish_ends_the_connection_and_nobody_is_bothered(rubbish: bytes) -> None:
    async def test() -> None:
        async with house() as here:
            bound = await here.streams.listen("tcp", PORT_0, HERE, None)
            async with peer(bound) as alice:
                alice.write(rubbish)
                assert await alice.ended() == b""
            assert (await here.closed.get()).connection == 1
            assert here.received.empty()

    run(test())


def test_who_goes_on_sending_after_the_end_is_not_read_and_cannot_be_sent_to() -> None:
    async def test() -> None:
        async with house() as here:
            bound = await here.streams.listen("tcp", PORT_0, HERE, None)
            async with peer(bound) as alice:
                alice.write(message(1))
                _, flow = await here.received.get()
                alice.write(b"\0")
                assert await alice.ended() == b""
                here.send(b"late", flow, b"token")
                here.send(b"late", flow.remote, b"another")
                assert [await here.failed.get(), await here.failed.get()] == [b"token", b"another"]
                alice.write(message(2))
                alice.writer.close()
                await here.closed.get()
            assert here.received.empty()

    run(test())


def test_a_half_closed_connection_is_closed() -> None:
    async def test() -> None:
        async with house() as here:
            bound = await here.streams.listen("tcp", PORT_0, HERE, None)
            async with peer(bound) as alice:
                alice.write(message(1))
                _, flow = await here.received.get()
                alice.writer.write_eof()
                assert await alice.ended() == b""
                assert await here.closed.get() == flow
                here.send(b"late", flow, b"token")
                assert await here.failed.get() == b"token"

    run(test())


def test_who_half_closes_and_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.net.connection.LINGER_S", 0.1)

    async def test() -> None:
        async with house(message_s=0.2, max_unsent=64_000_000) as here:
            bound = await here.streams.listen("tcp", PORT_0, HERE, None)
            async with peer(bound) as alice:
                alice.write(message(1))
                _, flow = await here.received.get()
                here.send(bytes(24_000_000), flow)
                alice.writer.write_eof()
                assert await here.closed.get() == flow
                assert here.counts["connections-cut"] == 1

    run(test())


def test_plain_text_at_the_tls_port_costs_nothing(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    async def test() -> None:
        async with house(max_connections=1) as here:
            bound = await here.streams.listen("tls", PORT_0, HERE, server)
            async with peer(bound) as alice:
                alice.write(message(1))
                await alice.ended()
            await here.counted("handshake-failures")
            assert here.closed.empty()
            async with peer(bound, client) as bob:
                bob.write(message(2))
                assert (await here.received.get())[0] == message(2)

    run(test())


# What is sent where


def test_what_is_for_one_connection_goes_there_or_nowhere() -> None:
    async def test() -> None:
        async with house() as here:
            bound = await here.streams.listen("tcp", PORT_0, HERE, None)
            async with peer(bound) as alice, peer(bound) as bob:
                alice.write(message(1))
                _, flow = await here.received.get()
                here.send(b"alice", flow)
                assert await alice.read(5) == b"alice"
                alice.writer.close()
                assert await here.closed.get() == flow
                here.send(b"lost", flow, b"token", may_open=True)
                assert here.failed.empty()  # never from within send()
                assert await here.failed.get() == b"token"
                here.send(b"lost", flow)  # nobody asks
                bob.write(message(2))
                _, flow = await here.received.get()
                here.send(b"bob", flow)
                assert await bob.read(3) == b"bob"
                assert here.failed.empty()

    run(test())


def test_a_number_of_before_a_restart_leads_to_nobody_elses_connection() -> None:
    """Numbers begin anew with each process, and a signed flow token may outlive one: the address must fit too."""

    async def test() -> None:
        async with house() as here:
            bound = await here.streams.listen("tcp", PORT_0, HERE, None)
            async with peer(bound) as bob:
                bob.write(message(1))
                _, flow = await here.received.get()
                stale = flow._replace(remote=("127.0.0.1", flow.remote[1] ^ 1))
                here.send(b"for alice", stale, b"token")
                assert await here.failed.get() == b"token"
                here.send(b"bob", flow)
                assert await bob.read(3) == b"bob"

    run(test())


def test_a_connection_that_the_peer_opened_serves_its_address(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    async def test() -> None:
        async with house() as here:
            plain = await here.streams.listen("tcp", PORT_0, HERE, None)
            secret = await here.streams.listen("tls", PORT_0, HERE, server)
            async with peer(plain) as alice, peer(secret, client) as bob:
                alice.write(message(1))
                bob.write(message(2))
                await here.received.get()
                await here.received.get()
                here.send(b"alice", alice.address, server_name="example.com")  # nobody is checked over TCP
                here.send(b"bob", bob.address, transport="tls")
                assert await alice.read(5) == b"alice"
                assert await bob.read(3) == b"bob"
                here.send(b"lost", alice.address, b"1", transport="tls")
                here.send(b"lost", bob.address, b"2", transport="tls", server_name="example.com")
                assert [await here.failed.get(), await here.failed.get()] == [b"1", b"2"]

    run(test())


def test_without_a_connection_and_without_leave_to_open_one_sending_fails() -> None:
    async def test() -> None:
        async with house() as here, callee() as bob:
            here.send(b"lost", bob.address, b"token")
            assert await here.failed.get() == b"token"
            assert here.streams.open_connections == {}

    run(test())


def test_a_connection_is_opened_once_and_what_waits_for_it_goes_out_in_order() -> None:
    async def test() -> None:
        async with house() as here, callee() as bob:
            await here.streams.listen("tcp", PORT_0, HERE, None)
            here.send(b"1", bob.address, b"1", may_open=True)
            here.send(b"2", bob.address, b"2", may_open=True)
            here.send(b"3", bob.address, b"3")  # one is under way
            far = await bob.peers.get()
            assert await far.read(3) == b"123"
            here.send(b"4", bob.address, b"4")
            assert await far.read(1) == b"4"
            far.write(message(1))
            assert await here.received.get() == (message(1), Flow("tcp", HERE, bob.address, 1))
            assert here.counts["connections-opened"] == 1
            assert here.failed.empty()
            far.writer.close()
            assert await here.closed.get() == Flow("tcp", HERE, bob.address, 1)

    run(test())


def test_nothing_overtakes_what_waited_for_a_connection() -> None:
    async def test() -> None:
        async with house() as here, callee() as bob:
            here.greeting = Send(Flow("tcp", HERE, bob.address), b"3")
            here.send(b"1", bob.address, may_open=True)
            here.send(b"2", bob.address, may_open=True)
            assert await (await bob.peers.get()).read(3) == b"123"

    run(test())


def test_without_a_listener_the_effect_says_what_our_address_is() -> None:
    async def test() -> None:
        async with house() as here, callee() as bob:
            await here.streams.listen("tcp", ("::1", 0), ("2001:db8::10", 5060), None)
            here.send(b"1", bob.address, may_open=True)
            (await bob.peers.get()).write(message(1))
            assert (await here.received.get())[1].local == ("192.0.2.1", 1)

    run(test())


def test_a_connection_that_is_at_its_end_is_replaced() -> None:
    async def test() -> None:
        async with house() as here, callee() as bob:
            here.send(b"1", bob.address, may_open=True)
            far = await bob.peers.get()
            far.write(b"\0")
            await here.counted("stream-errors")
            here.send(b"2", bob.address, may_open=True)
            assert await (await bob.peers.get()).read(1) == b"2"
            assert await far.ended() == b"1"

    run(test())


def test_where_nobody_listens_every_message_that_waited_fails() -> None:
    async def test() -> None:
        with socket.socket() as bound:
            bound.bind(PORT_0)
            async with house(max_connections=1) as here:
                for token in (b"1", b"2", b"3"):
                    here.send(b"lost", bound.getsockname(), token, may_open=True)
                assert [await here.failed.get() for _ in range(3)] == [b"1", b"2", b"3"]
                here.send(b"lost", bound.getsockname(), b"4", may_open=True)
                assert await here.failed.get() == b"4"
                assert here.counts["connect-failures"] == 2
                assert here.closed.empty()

    run(test())


def test_who_does_not_answer_is_not_waited_for() -> None:
    async def test() -> None:
        with contextlib.ExitStack() as stack:
            full = stack.enter_context(socket.create_server(PORT_0, backlog=0))
            for _ in range(4):  # once the queue is full, the kernel drops what asks for a connection
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
            async with house(connect_s=0.1) as here:
                here.send(b"lost", full.getsockname(), b"token", may_open=True)
                assert await here.failed.get() == b"token"

    run(test())


def test_what_waits_for_a_connection_is_bounded() -> None:
    async def test() -> None:
        async with house(max_unsent=10) as here, callee() as bob:
            here.send(b"12345", bob.address, b"1", may_open=True)
            here.send(b"678901", bob.address, b"2", may_open=True)
            here.send(b"67890", bob.address, b"3", may_open=True)
            assert await here.failed.get() == b"2"
            assert await (await bob.peers.get()).read(10) == b"1234567890"

    run(test())


def test_only_so_many_connections_are_opened() -> None:
    async def test() -> None:
        async with house(max_connections=1) as here, callee() as alice, callee() as bob:
            here.send(b"1", alice.address, may_open=True)
            here.send(b"2", bob.address, b"token", may_open=True)
            assert await here.failed.get() == b"token"
            (await alice.peers.get()).writer.close()
            await here.closed.get()
            here.send(b"3", bob.address, may_open=True)
            assert await (await bob.peers.get()).read(1) == b"3"

    run(test())


# TLS connections that we open


@pytest.mark.parametrize("name", ["proxy.example.com", ""])
def test_a_tls_peer_is_believed_by_its_name_or_its_address(
    name: str, server: ssl.SSLContext, client: ssl.SSLContext
) -> None:
    async def test() -> None:
        async with house() as here, callee(server) as bob:
            here.streams.client_context = client
            here.send(b"1", bob.address, b"1", transport="tls", may_open=True, server_name=name)
            here.send(b"2", bob.address, b"2", transport="tls", may_open=True, server_name=name)
            far = await bob.peers.get()
            assert await far.read(2) == b"12"
            assert far.writer.get_extra_info("peercert")["subject"][-1] == (("commonName", "client"),)
            far.write(message(1))
            assert await here.received.get() == (message(1), Flow("tls", ("192.0.2.1", 1), bob.address, 1))

    run(test())


def test_a_connection_that_was_checked_for_one_name_does_not_serve_another(
    server: ssl.SSLContext, client: ssl.SSLContext
) -> None:
    async def test() -> None:
        async with house() as here, callee(server) as bob:
            here.streams.client_context = client
            names = {b"proxy.example.com", b"www.example.com", b"example.com"}
            for name in names:
                here.send(name, bob.address, transport="tls", may_open=True, server_name=name.decode())
            assert {await (await bob.peers.get()).reader.readuntil(b".com") for _ in names} == names
            here.send(b"1", bob.address, b"token", transport="tls", may_open=True, server_name="127.0.0.1")
            newest = await bob.peers.get()
            here.send(b"2", bob.address, transport="tls")
            assert await newest.read(2) == b"12"
            here.send(b"lost", bob.address, b"token", transport="tls", may_open=True, server_name="other.example.com")
            assert await here.failed.get() == b"token"
            assert here.streams.open_connections == {"tls": 4}

    run(test())


@pytest.mark.parametrize("name", ["other.example.com", ".", "a..b", "a\0b", "x" * 300, "bücher.example"])
def test_a_tls_peer_that_is_not_whom_we_want_is_told_nothing(
    name: str, server: ssl.SSLContext, client: ssl.SSLContext
) -> None:
    async def test() -> None:
        async with house() as here, callee(server) as bob:
            here.streams.client_context = client
            here.send(b"secret", bob.address, b"1", transport="tls", may_open=True, server_name=name)
            here.send(b"secret", bob.address, b"2", transport="tls", may_open=True, server_name=name)
            assert [await here.failed.get(), await here.failed.get()] == [b"1", b"2"]
            assert here.closed.empty()
            assert bob.peers.empty()

    run(test())


def test_a_tls_peer_of_a_strange_ca_is_told_nothing(server: ssl.SSLContext) -> None:
    async def test() -> None:
        async with house() as here, callee(server) as bob:
            here.streams.client_context = tls.client_context(None, None, None)
            here.send(b"secret", bob.address, b"token", transport="tls", may_open=True)
            assert await here.failed.get() == b"token"

    run(test())


def test_without_a_context_no_tls_connection_is_opened(server: ssl.SSLContext) -> None:
    async def test() -> None:
        async with house() as here, callee(server) as bob:
            here.send(b"secret", bob.address, b"token", transport="tls", may_open=True)
            assert await here.failed.get() == b"token"

    run(test())


def test_who_does_not_shake_hands_is_not_waited_for(client: ssl.SSLContext) -> None:
    async def test() -> None:
        async with house(handshake_s=0.1) as here, callee() as bob:
            here.streams.client_context = client
            here.send(b"secret", bob.address, b"token", transport="tls", may_open=True)
            assert await here.failed.get() == b"token"

    run(test())


# Limits


def test_one_connection_too_many_is_closed_until_another_goes(server: ssl.SSLContext) -> None:
    async def test() -> None:
        async with house(max_connections=2) as here:
            plain = await here.streams.listen("tcp", PORT_0, HERE, None)
            secret = await here.streams.listen("tls", PORT_0, HERE, server)
            async with peer(plain) as alice, peer(secret) as shy, peer(plain) as carol:  # shy never shakes hands
                assert await carol.ended() == b""
                assert here.counts["connections-refused"] == 1
                alice.writer.close()
                await here.closed.get()
                async with peer(plain) as dave:
                    dave.write(message(1))
                    assert (await here.received.get())[1].remote == dave.address
                assert shy.address != alice.address

    run(test())


def test_one_address_does_not_take_all() -> None:
    async def test() -> None:
        async with house(max_per_source=1) as here:
            bound = await here.streams.listen("tcp", PORT_0, HERE, None)
            async with peer(bound), peer(bound) as second, peer(bound, source="127.0.0.2") as other:
                assert await second.ended() == b""
                other.write(message(1))
                assert (await here.received.get())[1].remote == other.address

    run(test())


@pytest.mark.parametrize(
    ("limits", "sent", "name"),
    [
        ({"first_message_s": 0.05}, b"", "connections-silent"),
        ({"first_message_s": 0.05}, b"\r\n\r\n", "connections-silent"),
        ({"first_message_s": 0.05}, message(1)[:-1], "connections-silent"),
        ({"message_s": 0.05}, message(1)[:-1], "connections-slow"),
        ({"message_s": 0.05}, message(1) + message(2)[:10], "connections-slow"),
        ({"idle_s": 0.05}, b"", "connections-idle"),
        ({"idle_s": 0.05}, message(1), "connections-idle"),
    ],
)
def test_who_takes_too_long_is_closed(limits: dict[str, float], sent: bytes, name: str) -> None:
    async def test() -> None:
        async with house(**limits) as here:
            bound = await here.streams.listen("tcp", PORT_0, HERE, None)
            async with peer(bound) as alice:
                alice.write(sent)
                assert await alice.ended() == (b"\r\n" if sent == b"\r\n\r\n" else b"")
                assert here.counts[name] == 1
            await here.closed.get()

    run(test())


class Time:
    """The streams' clock, which runs as a test says: a machine that has no time for the test changes nothing."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    found = Time()
    monkeypatch.setattr("proxy.net.stream.monotonic", found)
    monkeypatch.setattr("proxy.net.connection.monotonic", found)
    return found


def test_messages_that_are_whole_in_time_keep_a_slow_connection_open(time: Time) -> None:
    async def test() -> None:
        async with house(message_s=0.4) as here:
            bound = await here.streams.listen("tcp", PORT_0, HERE, None)
            async with peer(bound) as alice, peer(bound) as clock:
                clock.write(message(1)[:-1])  # is cut off after message_s: the measure
                alice.write(message(1)[:-1])
                rest = message(1)[-1:] + message(1)[:-1]
                ended = asyncio.ensure_future(clock.ended())
                while not ended.done():
                    time.now += 0.002  # far less than `first_message_s` between two looks
                    alice.write(rest)
                    await here.received.get()
                alice.write(rest)
                await here.received.get()
                assert here.counts["connections-slow"] == 1

    run(test())


@pytest.mark.parametrize(
    ("limits", "sent"),
    [({"first_message_s": 0.2}, message(1)), ({"message_s": 0.2}, message(1)[:-1])],
)
def test_whose_message_is_whole_in_time_may_be_silent(limits: dict[str, float], sent: bytes, time: Time) -> None:
    async def test() -> None:
        async with house(**limits) as here:
            bound = await here.streams.listen("tcp", PORT_0, HERE, None)
            async with peer(bound) as alice, peer(bound) as clock:
                alice.write(sent)
                clock.write(message(1) + message(2)[:-1] if "message_s" in limits else b"\r\n\r\n")
                if "message_s" in limits:  # what alice has sent has arrived as well
                    await here.received.get()
                alice.write(message(1)[len(sent) :])
                await here.received.get()
                time.now += 0.3
                await clock.ended()
                alice.write(message(3))
                assert (await here.received.get())[0] == message(3)

    run(test())


def test_a_message_that_drips_in_is_not_waited_for() -> None:
    async def test() -> None:
        async with house(message_s=0.2) as here:
            bound = await here.streams.listen("tcp", PORT_0, HERE, None)
            async with peer(bound) as alice:
                ended = asyncio.ensure_future(alice.ended())
                drops = iter(message(1, bytes(60_000)))
                while not ended.done():
                    alice.write(bytes((next(drops),)))
                    await asyncio.sleep(0)  # a turn of the loop
                assert here.counts["connections-slow"] == 1

    run(test())


@pytest.mark.parametrize("is_ours", [True, False])
def test_bytes_of_either_side_keep_a_connection_open(is_ours: bool, time: Time) -> None:
    async def test() -> None:
        async with house(idle_s=0.2) as here:
            bound = await here.streams.listen("tcp", PORT_0, HERE, None)
            async with peer(bound) as alice, peer(bound) as clock:
                alice.write(message(1))
                _, flow = await here.received.get()
                ended = asyncio.ensure_future(clock.ended())
                while not ended.done():
                    time.now += 0.05
                    if is_ours:
                        here.send(b"ours", flow)
                        assert await alice.read(4) == b"ours"
                    else:
                        alice.write(message(2))
                        await here.received.get()
                here.send(b"last", flow)
                assert await alice.read(4) == b"last"

    run(test())


def test_connections_that_we_open_have_room_of_their_own() -> None:
    async def test() -> None:
        async with house(max_connections=1) as here, callee() as bob:
            bound = await here.streams.listen("tcp", PORT_0, HERE, None)
            async with peer(bound) as alice:
                alice.write(message(1))
                await here.received.get()
                here.send(b"1", bob.address, may_open=True)
                assert await (await bob.peers.get()).read(1) == b"1"
                alice.writer.close()
                await here.closed.get()
            async with peer(bound) as carol:
                carol.write(message(2))
                assert (await here.received.get())[0] == message(2)

    run(test())


def test_a_tls_peer_that_does_not_shake_hands_is_closed(server: ssl.SSLContext) -> None:
    async def test() -> None:
        async with house(handshake_s=0.05) as here:
            bound = await here.streams.listen("tls", PORT_0, HERE, server)
            async with peer(bound) as alice:
                assert await alice.ended() == b""
            await here.counted("handshake-failures")
            assert here.closed.empty()

    run(test())


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_a_peer_that_does_not_read_is_cut_off(
    transport: str, server: ssl.SSLContext, client: ssl.SSLContext
) -> None:
    is_tls = transport == "tls"

    async def test() -> None:
        async with house(max_unsent=1_000_000) as here:
            bound = await here.streams.listen(transport, PORT_0, HERE, server if is_tls else None)
            async with peer(bound, client if is_tls else None) as alice:
                alice.write(message(1))
                _, flow = await here.received.get()
                sent = 0
                while here.failed.empty():
                    here.send(bytes(65_536), flow, b"%d" % here.counts["connections-choked"])
                    sent += 65_536
                    await asyncio.sleep(0)  # a turn of the loop
                    assert sent < 64_000_000
                assert here.counts["connections-choked"] == 1
                assert await here.failed.get() == b"0"  # what was too much is the first that fails
                assert sent > 1_000_000
                assert await here.closed.get() == flow

    run(test())


def test_a_peer_that_does_not_read_is_not_read_from_until_it_does() -> None:
    async def test() -> None:
        async with house(max_unsent=64_000_000) as here:
            bound = await here.streams.listen("tcp", PORT_0, HERE, None)
            async with peer(bound) as alice, peer(bound) as bob:
                alice.write(message(1))
                _, flow = await here.received.get()
                here.send(bytes(48_000_000), flow)  # the kernel takes a few millions
                alice.write(message(2))
                await alice.writer.drain()
                bob.write(message(3))
                assert (await here.received.get())[0] == message(3)
                assert here.received.empty()
                assert len(await alice.read(48_000_000)) == 48_000_000
                assert (await here.received.get())[0] == message(2)

    run(test())


def test_a_peer_that_does_not_read_for_long_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.net.connection.LINGER_S", 0.1)

    async def test() -> None:
        async with house(message_s=0.1, max_unsent=64_000_000) as here:
            bound = await here.streams.listen("tcp", PORT_0, HERE, None)
            async with peer(bound) as alice:
                alice.write(message(1))
                _, flow = await here.received.get()
                here.send(bytes(48_000_000), flow)
                assert await here.closed.get() == flow
                assert here.counts["connections-choked"] == here.counts["connections-cut"] == 1

    run(test())


def test_a_peer_that_does_not_take_its_answer_does_not_keep_the_connection_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("proxy.net.connection.LINGER_S", 0.1)

    async def test() -> None:
        async with house(message_s=0.2, max_unsent=64_000_000) as here:
            bound = await here.streams.listen("tcp", PORT_0, HERE, None)
            async with peer(bound) as alice:
                alice.write(message(1))
                _, flow = await here.received.get()
                here.send(bytes(24_000_000), flow)  # not yet too much, but more than the kernel takes
                alice.write(b"\0")
                assert await here.closed.get() == flow
                assert here.counts["stream-errors"] == here.counts["connections-cut"] == 1

    run(test())


def test_when_file_descriptors_run_out_the_listener_waits_for_some() -> None:
    async def test() -> None:
        async with house() as here:
            bound = await here.streams.listen("tcp", PORT_0, HERE, None)
            with socket.socket() as waiting:
                waiting.setblocking(False)
                soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
                free = os.dup(0)
                os.close(free)
                resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
                try:
                    waiting.connect_ex(bound)
                    await here.counted("accept-failures")
                    for _ in range(100):  # turns of the loop, in which it could spin
                        await asyncio.sleep(0)
                    assert here.counts["accept-failures"] == 1
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                await asyncio.get_running_loop().sock_sendall(waiting, message(1))
                assert (await here.received.get())[0] == message(1)

    run(test())


# The end


def test_what_was_queued_is_sent_before_all_is_closed() -> None:
    async def test() -> None:
        async with house() as here, callee() as bob:
            bound = await here.streams.listen("tcp", PORT_0, HERE, None)
            async with peer(bound) as alice:
                alice.write(message(1))
                _, flow = await here.received.get()
                here.send(bytes(800_000), flow)
                closing = asyncio.ensure_future(here.streams.close())
                assert len(await alice.ended()) == 800_000
                await closing
                assert await here.closed.get() == flow
                here.send(b"late", flow, b"1")
                here.send(b"late", bob.address, b"2", may_open=True)
                assert [await here.failed.get(), await here.failed.get()] == [b"1", b"2"]
                with pytest.raises(ConnectionRefusedError):
                    async with peer(bound):
                        pass

    run(test())


def test_closing_does_not_wait_for_handshakes(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    async def test() -> None:
        async with callee() as bob, house() as here:
            here.streams.client_context = client
            bound = await here.streams.listen("tls", PORT_0, HERE, server)
            async with peer(bound) as alice:
                here.send(b"secret", bob.address, b"token", transport="tls", may_open=True)
                await bob.peers.get()
                await here.streams.close()
                assert await alice.ended() == b""
                assert await here.failed.get() == b"token"

    run(test())


def test_a_peer_that_does_not_read_holds_up_the_end_only_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.net.connection.LINGER_S", 0.1)

    async def test() -> None:
        async with house(max_unsent=64_000_000) as here:
            bound = await here.streams.listen("tcp", PORT_0, HERE, None)
            async with peer(bound) as alice:
                alice.write(message(1))
                _, flow = await here.received.get()
                here.send(bytes(48_000_000), flow)
                await here.streams.close()
                assert await here.closed.get() == flow

    run(test())


def test_the_port_of_connections_that_we_closed_can_be_had_again() -> None:
    async def test() -> None:
        async with house() as here:
            bound = await here.streams.listen("tcp", PORT_0, HERE, None)
            async with peer(bound) as alice:
                alice.write(message(1))
                await here.received.get()
                await here.streams.close()
        async with house() as here:
            assert await here.streams.listen("tcp", bound, HERE, None) == bound

    run(test())


def test_an_address_that_is_taken_is_said() -> None:
    async def test() -> None:
        async with house() as here:
            bound = await here.streams.listen("tcp", PORT_0, HERE, None)
            with pytest.raises(OSError, match="Address already in use"):
                await here.streams.listen("tcp", bound, HERE, None)

    run(test())
