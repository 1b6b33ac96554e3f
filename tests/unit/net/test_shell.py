"""The shell around a real engine, on real sockets: in which order effects come out, what waits, and what fails."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import re
import socket
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.build import build_engine
from proxy.config import Settings
from proxy.core.effects import Effect, OpenRelay, Record
from proxy.core.flow import Address
from proxy.core.location import Location
from proxy.log import Log
from proxy.net.relay import Relay
from proxy.net.resolver import Resolver
from proxy.net.shell import Shell
from proxy.net.store import Store
from proxy.net.udp import UdpSocket
from proxy.sip.message import Message, Request, Response
from proxy.sip.parse import parse

PATIENCE_S = 20  # before a test that waits for a fact gives up
KEY = bytes(32)
RECORD = Record(
    10**6, b"nobody", b"sip:nobody@127.0.0.1", 4e9, 1000, b"c", 1, b"", 0, b"", "udp", "127.0.0.1", 1, "127.0.0.1", 2,
    False,
)  # fmt: skip
COPIED = {b"via", b"from", b"to", b"call-id", b"cseq"}


def run(test: Coroutine[Any, Any, None]) -> None:
    async def patiently() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await test

    asyncio.run(patiently())


class Phone:
    """A socket on loopback that writes SIP."""

    def __init__(self, proxy: Address) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind(("127.0.0.1", 0))
        self.proxy = proxy
        self.own = "%s:%d" % self.socket.getsockname()
        self._sent = 0

    def say(self, method: str, uri: str, *lines: str, body: bytes = b"", to: str = "sip:x@y") -> None:
        """Send a request."""
        self._sent += 1
        head = "\r\n".join((
            f"{method} {uri} SIP/2.0", f"Via: SIP/2.0/UDP {self.own};branch=z9hG4bK{method}{self._sent}",
            "From: <sip:phone@elsewhere>;tag=1", f"To: <{to}>", f"Call-ID: {self.own}", f"CSeq: {self._sent} {method}",
            f"Content-Length: {len(body)}", *lines, "", "",
        ))  # fmt: skip
        self.socket.sendto(head.encode() + body, self.proxy)

    def register(self, user: str, *contacts: str) -> None:
        """Send a REGISTER with these Contacts."""
        lines = [f"Contact: {contact}" for contact in contacts or (f"<sip:{user}@{self.own}>",)]
        self.say("REGISTER", "sip:127.0.0.1:%d" % self.proxy[1], *lines, to=f"sip:{user}@127.0.0.1")

    def options(self) -> None:
        """Send an OPTIONS for the proxy."""
        self.say("OPTIONS", "sip:127.0.0.1:%d" % self.proxy[1])

    def invite(self, user: str) -> None:
        """Send an INVITE for a user of the proxy's."""
        self.say("INVITE", "sip:%s@127.0.0.1:%d" % (user, self.proxy[1]))

    async def hear(self) -> Message:
        """Return the next message."""
        return parse(await asyncio.get_running_loop().sock_recv(self.socket, 65_536))

    async def what(self) -> str:
        """Return the method, or status and CSeq method, of the next message."""
        message = await self.hear()
        if isinstance(message, Request):
            return f"{message.method.decode()} {message.uri.decode().partition('@')[0]}"
        assert isinstance(message, Response)
        return f"{message.status} {(message.header(b'cseq') or b'').split()[1].decode()}"

    def answer(self, request: Message, status: int) -> None:
        """Answer a request."""
        head = [line for key, line in zip(request.keys, request.lines, strict=True) if key in COPIED]
        self.socket.sendto(b"\r\n".join((b"SIP/2.0 %d X" % status, *head, b"Content-Length: 0", b"", b"")), self.proxy)


class House:
    """A proxy that runs in this process."""

    def __init__(self, shell: Shell, local: Address, log: Log, said: io.StringIO, stack: contextlib.ExitStack) -> None:
        self.shell = shell
        self.log = log
        self.local = local
        self._said = said
        self._stack = stack

    def phone(self) -> Phone:
        made = Phone(self.local)
        self._stack.enter_context(made.socket)
        return made

    def heard(self) -> str:
        """What the log says, and what waits to be written."""
        self.log.flush()
        return self._said.getvalue()

    def metric(self, name: str) -> float:
        page = self.shell.pages()["/metrics"]()[2]
        found = re.search(rf"^sip_proxy_{name} (\S+)$", page, re.MULTILINE)
        assert found is not None
        return float(found[1])


@contextlib.asynccontextmanager
async def house(
    store: Store | None = None, dns: Address = ("127.0.0.1", 9), dns_s: float = PATIENCE_S, **settings: Any
) -> AsyncIterator[House]:
    with contextlib.ExitStack() as stack:
        udp = UdpSocket(("127.0.0.1", 0))
        local = udp.socket.getsockname()
        # T1: nothing is sent twice, unless a test is about that
        told = Settings(port=local[1], transports=["udp"], **{"t1": 5.0, "t2": 60.0, **settings})
        sink: list[Effect] = []
        location = Location(sink)
        loop, said = asyncio.get_running_loop(), io.StringIO()
        resolver = Resolver([dns], loop.time, ("udp",), timeout_s=dns_s, attempts=1)
        engine = build_engine(told, KEY, location, sink)
        log = Log("info", loop.time, said)
        shell = Shell(engine, log, resolver, store, durable_first=told.flush == 0)
        shell.add_udp(udp, local)
        if store is not None:
            location.load(store.open(), shell.now())
        running = asyncio.create_task(shell.run(["ready"], lambda: ["reloaded"], 0))
        try:
            yield House(shell, local, log, said, stack)
        finally:
            shell.stop()
            await running


@contextlib.contextmanager
def held_up(store: Store) -> Iterator[None]:
    """Keep the journal's thread busy: what is written within the block is not durable before its end."""
    inside, release, hand_over = threading.Event(), threading.Event(), store.hand_over

    def hold(callbacks: list[Callable[[], None]]) -> None:
        inside.set()
        assert release.wait(PATIENCE_S)
        hand_over(callbacks)

    store.hand_over = hold
    store.save(RECORD)
    store.when_durable(lambda: None)
    assert inside.wait(PATIENCE_S)
    try:
        yield
    finally:
        store.hand_over = hand_over
        release.set()


# The order of effects


def test_what_one_message_leads_to_leaves_in_the_order_of_the_engine() -> None:
    async def test() -> None:
        async with house() as here:
            phone = here.phone()
            phone.register("bob", *(f"<sip:{name}@{phone.own}>" for name in "abc"))
            assert await phone.what() == "200 REGISTER"
            phone.invite("bob")
            assert [await phone.what() for _ in range(4)] == [
                "100 INVITE", "INVITE sip:c", "INVITE sip:b", "INVITE sip:a"
            ]  # fmt: skip

    run(test())


def test_what_is_noted_is_logged_in_that_order_too() -> None:
    async def test() -> None:
        async with house() as here:
            phone = here.phone()
            phone.register("bob")
            phone.say("OPTIONS", "sip:a@elsewhere.invalid")
            assert [await phone.what(), await phone.what()] == ["200 REGISTER", "403 OPTIONS"]
            ready, *events = here.heard().splitlines()
            assert ready == "ready"
            assert [event.split()[0] for event in events] == ["binding-saved", "request-refused"]

    run(test())


# The journal


def test_what_follows_a_save_waits_for_the_journal_and_nothing_else_does(tmp_path: Path) -> None:
    async def test() -> None:
        store = Store(tmp_path / "j", 0, pytest.fail)
        async with house(store, flush=0.0) as here:
            phone = here.phone()
            with held_up(store):
                phone.register("bob")
                phone.options()
                assert await phone.what() == "200 OPTIONS"
                rows = store.rows
            assert await phone.what() == "200 REGISTER"
            assert store.rows == rows + 1

    run(test())


def test_what_was_confirmed_is_there_after_a_restart(tmp_path: Path) -> None:
    async def test() -> None:
        async with house(Store(tmp_path / "j", 0, pytest.fail)) as here:
            phone = here.phone()
            phone.register("bob")
            assert await phone.what() == "200 REGISTER"
        async with house(Store(tmp_path / "j", 0, pytest.fail)) as here:
            assert here.metric("bindings") == 1

    run(test())


def test_with_a_flush_interval_nobody_waits_for_the_journal(tmp_path: Path) -> None:
    async def test() -> None:
        store = Store(tmp_path / "j", 0.0, pytest.fail)
        async with house(store, flush=0.5) as here:
            phone = here.phone()
            with held_up(store):
                rows = store.rows
                phone.register("bob")
                assert await phone.what() == "200 REGISTER"
                assert store.rows == rows

    run(test())


def test_nobody_waits_for_a_journal_that_is_broken(tmp_path: Path) -> None:
    async def test() -> None:
        (tmp_path / "j").mkdir()  # no file can be there
        said: list[str] = []
        store = Store(tmp_path / "j", 0, said.append)
        async with house(store, flush=0.0) as here:
            assert len(said) == 1
            phone = here.phone()
            phone.register("bob")
            assert await phone.what() == "200 REGISTER"
            assert here.metric("journal_durable") == 0

    run(test())


# What cannot be sent


def test_a_datagram_that_cannot_be_sent_comes_back_to_the_engine() -> None:
    async def test() -> None:
        async with house() as here:
            phone = here.phone()
            phone.register("bob")
            await phone.hear()
            uri = "sip:bob@127.0.0.1:%d" % here.local[1]
            phone.say("MESSAGE", uri, body=b"x" * 65_200)  # with what the proxy adds, more than UDP carries
            answer = await phone.hear()
            assert isinstance(answer, Response)
            assert answer.status in {430, 480, 503}
            assert here.metric("send_failures_total") == 1
            assert "send-failed" in here.heard()
            assert "why=Message_too_long" in here.heard()

    run(test())


# Time


def test_the_timer_fires_for_what_is_due_first_and_again_for_what_comes_after() -> None:
    """Armed for Timer C at first, it must come earlier for Timer A, several times, and then for Timer B."""

    async def test() -> None:
        async with house(t1=0.02, timer_c=100.0) as here:
            phone, other = here.phone(), here.phone()
            other.register("carol")
            await other.hear()
            phone.invite("carol")
            ringing = await other.hear()
            other.answer(ringing, 180)
            assert [await phone.what(), await phone.what()] == ["100 INVITE", "180 INVITE"]
            before = here.metric("retransmissions_total")  # on a busy machine carol's INVITE too was sent again
            phone.register("bob")
            await phone.hear()
            phone.invite("bob")
            heard = [await phone.what() for _ in range(5)]
            assert heard == ["100 INVITE", *["INVITE sip:bob"] * 4]
            while heard[-1] == "INVITE sip:bob":
                heard.append(await phone.what())
            assert heard[-1] == "408 INVITE"
            assert here.metric("retransmissions_total") - before == heard.count("INVITE sip:bob") - 1

    run(test())


def test_a_timer_that_ends_before_the_one_that_is_waited_for_fires_in_its_time() -> None:
    async def test() -> None:
        async with house() as here:
            fired: asyncio.Queue[str] = asyncio.Queue()
            timers = here.shell.engine.transactions.timers
            for delay, name in ((1000.0, "late"), (0.02, "soon"), (0.01, "sooner")):
                timers.start(here.shell.now(), delay, lambda name, now: fired.put_nowait(name), name)
                here.shell.arm()
            assert [await fired.get(), await fired.get()] == ["sooner", "soon"]

    run(test())


# Failures of ours


def test_an_engine_that_raises_costs_one_message_and_is_counted() -> None:
    async def test() -> None:
        async with house() as here:
            engine, phone = here.shell.engine, here.phone()
            sound = engine.policy.is_allowed

            def is_allowed(host: str) -> bool:
                engine.policy.is_allowed = sound
                raise ArithmeticError("a policy that is wrong")

            engine.policy.is_allowed = is_allowed
            phone.invite("bob")
            phone.options()
            assert await phone.what() == "200 OPTIONS"
            assert here.metric("internal_errors_total") == 1
            (line,) = [line for line in here.heard().splitlines() if line.startswith("internal-error ")]
            assert "ArithmeticError" in line
            assert phone.own in line
            phone.invite("bob")
            assert await phone.what() == "404 INVITE"
            assert here.metric("internal_errors_total") == 1
            (line,) = [line for line in here.heard().splitlines() if line.startswith("internal-error ")]
            assert "ArithmeticError" in line
            assert phone.own in line
            engine.policy.is_allowed = sound
            phone.invite("bob")
            assert await phone.what() == "404 INVITE"
            assert here.metric("internal_errors_total") == 1

    run(test())


def test_media_ports_for_which_there_is_no_descriptor_left_can_be_used_again() -> None:
    async def test() -> None:
        async with house(relay="always", relay_ports="30000-30007") as here:
            media, phone = here.shell.engine.media, here.phone()
            assert media is not None
            relay = here.shell.relay = Relay(asyncio.get_running_loop(), str, 60, print, print, print)
            phone.register("bob")
            assert await phone.what() == "200 REGISTER"

            def no_more(wanted: OpenRelay) -> list[int]:
                raise OSError(errno.EMFILE, "Too many open files")

            relay.open = no_more  # type: ignore[method-assign]
            body = b"v=0\r\nc=IN IP4 127.0.0.1\r\nm=audio 6000 RTP/AVP 0\r\n"
            phone.say("INVITE", "sip:bob@127.0.0.1:%d" % here.local[1], "Content-Type: application/sdp", body=body)
            assert [await phone.what(), await phone.what()] == ["100 INVITE", "INVITE sip:bob"]
            assert sorted(media.free) == [30000, 30002, 30004, 30006]
            assert not media.sessions
            assert "Too_many_open_files" in here.heard()
            assert here.metric("relay_failures_total") == 1

    run(test())


def test_a_timer_that_raises_keeps_no_other_from_firing() -> None:
    async def test() -> None:
        async with house() as here:
            fired: asyncio.Queue[str] = asyncio.Queue()

            def fail(name: str, now: float) -> None:
                fired.put_nowait(name)
                raise ArithmeticError(name)

            timers = here.shell.engine.transactions.timers
            for delay, name in ((0.01, "first"), (0.02, "second")):
                timers.start(here.shell.now(), delay, fail, name)
            here.shell.arm()
            assert [await fired.get(), await fired.get()] == ["first", "second"]
            phone = here.phone()
            phone.options()
            assert await phone.what() == "200 OPTIONS"
            assert here.metric("internal_errors_total") == 2

    run(test())


# Names


class NameServer(asyncio.DatagramProtocol):
    """Answers A with an address, where it is given one; else says that there is no such name; or keeps silent."""

    def __init__(self, mood: str) -> None:
        self.mood = mood
        self.asked = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.asked += 1
        question = data[12 : data.index(b"\0", 12) + 5]
        if self.mood == "silent":
            return
        if self.mood == "unknown":
            reply = b"\x81\x83" + b"\0\1\0\0\0\0\0\0" + question
        else:
            record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton(self.mood)
            reply = b"\x81\x80" + b"\0\1\0\1\0\0\0\0" + question + record
        self.transport.sendto(data[:2] + reply, addr)


@pytest.mark.parametrize(("mood", "status"), [("unknown", 502), ("silent", 504)])
def test_a_name_that_is_not_found_and_servers_that_keep_silent_are_told_apart(mood: str, status: int) -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        transport, server = await loop.create_datagram_endpoint(lambda: NameServer(mood), ("127.0.0.1", 0))
        here_is, silence_s = transport.get_extra_info("sockname"), 0.1 if mood == "silent" else PATIENCE_S
        with contextlib.closing(transport):
            async with house(dns=here_is, dns_s=silence_s, allow=["127.0.0.1"]) as here:
                phone = here.phone()
                phone.say("OPTIONS", "sip:bob@far.example:5099")
                assert await phone.what() == f"{status} OPTIONS"
                assert server.asked == 1
                assert f"name-un{'known' if status == 502 else 'answered'} host=far.example" in here.heard()

    run(test())


def test_a_name_that_is_found_is_sent_to() -> None:
    async def test() -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: NameServer("127.0.0.1"), ("127.0.0.1", 0))
        with contextlib.closing(transport):
            async with house(dns=transport.get_extra_info("sockname"), allow=["127.0.0.1"]) as here:
                phone, far = here.phone(), here.phone()
                phone.say("OPTIONS", f"sip:bob@far.example:{far.own.partition(':')[2]}")
                arrived = await far.hear()
                assert isinstance(arrived, Request)
                far.answer(arrived, 200)
                assert await phone.what() == "200 OPTIONS"

    run(test())


# The end


def test_the_binding_of_a_flow_is_shown_and_a_stop_says_what_was_counted() -> None:
    async def test() -> None:
        async with house() as here:
            phone = here.phone()
            phone.register("bob")
            await phone.hear()
            status, kind, text = here.shell.pages()["/registrations"]()
            assert (status, kind) == (200, "application/json")
            assert f'"flow": "udp:{phone.own}"' in text
            assert here.shell.pages()["/healthz"]()[0] == 200
        assert here.shell.pages()["/healthz"]()[0] == 503
        assert here.heard().splitlines()[-1] == "SIP proxy stopped registrations=1 requests=1"

    run(test())


