"""Several processes that are one proxy, as phones and operators meet them: whoever has what, nobody can tell."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from hashlib import md5
from pathlib import Path

import pytest

from proxy.net.mesh import owner_of
from tests.unit.process import DEADLINE_S, Running, free_port, run, serving

COUNT = 3
AT_ONCE = 30  # messages, which the sockets of both sides hold
GREETING = f"SIP proxy has {COUNT} workers"


def call_id(owner: int, name: str = "c") -> str:
    """Return a Call-ID of a worker's."""
    return next(
        each for each in (f"{name}{number}" for number in range(10_000))
        if owner_of(f"\nCall-ID: {each}\r\n".encode(), COUNT) == owner
    )  # fmt: skip


class Phone:
    """A phone that speaks UDP or TCP from one address."""

    def __init__(self, port: int, transport: str = "udp") -> None:
        self.transport = transport
        kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
        self.socket = socket.socket(socket.AF_INET, kind)
        self.socket.settimeout(DEADLINE_S)
        if transport == "udp":
            self.socket.bind(("127.0.0.1", 0))  # and hears a proxy at another port too
        else:
            self.socket.connect(("127.0.0.1", port))
        self.port = port
        self.user = "me"
        self.own = "%s:%d" % self.socket.getsockname()
        self._sent = 0
        self._unread = b""

    def say(
        self, method: str, uri: str, call_id: str, *lines: str, body: str = "", cseq: int = 0, branch: str = "",
        to: str = "<sip:x@y>",
    ) -> None:  # fmt: skip
        self._sent += 1
        cseq = cseq or self._sent
        via = f"SIP/2.0/{self.transport.upper()} {self.own};rport;branch={branch or f'z9hG4bK{call_id}-{self._sent}'}"
        head = (
            f"{method} {uri} SIP/2.0", f"Via: {via}", f"From: <sip:{self.user}@127.0.0.1>;tag={self.own[-5:]}",
            f"To: {to}", f"Call-ID: {call_id}", f"CSeq: {cseq} {method}",
            f"Contact: <sip:me@{self.own};transport={self.transport}>",
            *(["Content-Type: application/sdp"] if body else []), *lines, f"Content-Length: {len(body)}", "", body,
        )  # fmt: skip
        self.send("\r\n".join(head))

    def send(self, message: str) -> None:
        if self.transport == "udp":
            self.socket.sendto(message.encode(), ("127.0.0.1", self.port))
        else:
            self.socket.sendall(message.encode())

    def hear(self) -> str:
        """Return the next message that is no 100."""
        while True:
            message = self._message()
            if not message.startswith("SIP/2.0 100"):
                return message

    def _message(self) -> str:
        if self.transport == "udp":
            return self.socket.recv(65_536).decode()
        while b"\r\n\r\n" not in self._unread:
            more = self.socket.recv(65_536)
            assert more, "the proxy closed the connection"
            self._unread += more
        head, _, rest = self._unread.partition(b"\r\n\r\n")
        length = int(re.search(rb"Content-Length: (\d+)", head)[1])  # type: ignore[index]  # the proxy always writes it
        while len(rest) < length:
            rest += self.socket.recv(65_536)
        self._unread = rest[length:]
        return (head + b"\r\n\r\n" + rest[:length]).decode()

    def answer(self, request: str, status: str, body: str = "") -> None:
        copied = re.findall(r"^(?:Via|From|Call-ID|CSeq|Record-Route): .*$", request.replace("\r", ""), re.MULTILINE)
        to = header(request, "To")
        to = to if ";tag=" in to else f"{to};tag=callee"
        head = (
            f"SIP/2.0 {status}", *copied, f"To: {to}", f"Contact: <sip:me@{self.own};transport={self.transport}>",
            *(["Content-Type: application/sdp"] if body else []), f"Content-Length: {len(body)}", "", body,
        )  # fmt: skip
        self.send("\r\n".join(head))

    def register(self, user: str, call_id: str, *lines: str) -> str:
        """Register; return what comes back."""
        self.say("REGISTER", f"sip:127.0.0.1:{self.port}", call_id, *lines, to=f"<sip:{user}@127.0.0.1>")
        return self.hear()


def header(message: str, name: str) -> str:
    found = re.search(rf"^{name}: (.*?)\r?$", message, re.MULTILINE)
    assert found is not None, message
    return found[1]


@pytest.fixture
def phone() -> Iterator[Callable[..., Phone]]:
    with contextlib.ExitStack() as stack:

        def made(port: int, transport: str = "udp") -> Phone:
            one = Phone(port, transport)
            stack.enter_context(one.socket)
            return one

        yield made


@contextlib.contextmanager
def workers(**settings: str) -> Iterator[Running]:
    """A proxy of several processes that serves, and repeats nothing because the machine is busy."""
    with serving(**{"SIP_PROXY_WORKERS": str(COUNT), "SIP_PROXY_T1": "10", "SIP_PROXY_T2": "10", **settings}) as proxy:
        proxy.lines_until(GREETING)
        yield proxy


def processes(proxy: Running) -> list[int]:
    """Return the ids of the processes but the first."""
    path = Path(f"/proc/{proxy.process.pid}/task/{proxy.process.pid}/children")
    return [int(number) for number in path.read_text(encoding="ascii").split()]


def until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)  # pacing of a poll, with a deadline


def from_journal(state: Path, what: str) -> float:
    """Return a figure of all bindings that the journal of a proxy that has stopped holds."""
    with contextlib.closing(sqlite3.connect(state / "bindings.sqlite")) as database:
        (found,) = database.execute(f"SELECT {what} FROM bindings").fetchone()
        return float(found)


def metric(proxy: Running, port: int, name: str) -> float:
    found = re.search(rf"^sip_proxy_{name} (\S+)$", proxy.page("/metrics", port)[1], re.MULTILINE)
    assert found is not None
    return float(found[1])


def does_a_call(caller: Phone, callee: Phone, user: str, call: str) -> str:
    """Call, answer, acknowledge and hang up, each message from whoever says it; return the INVITE that arrived."""
    caller.say("INVITE", f"sip:{user}@127.0.0.1:{caller.port}", call)
    arrived = callee.hear()
    assert arrived.startswith("INVITE"), arrived
    callee.answer(arrived, "180 Ringing")
    assert caller.hear().startswith("SIP/2.0 180")
    callee.answer(arrived, "200 OK")
    accepted = caller.hear()
    assert accepted.startswith("SIP/2.0 200"), accepted
    target = re.search(r"<(.*)>", header(accepted, "Contact"))
    assert target is not None
    route = f"Route: {header(accepted, 'Record-Route')}"
    caller.say("ACK", target[1], call, route, to="<sip:x@y>;tag=callee")
    return arrived


def test_whoever_gets_a_registration_all_find_the_phone(phone: Callable[..., Phone]) -> None:
    with workers() as proxy:
        for registrar in range(COUNT):
            bob, alice = phone(proxy.port), phone(proxy.port)
            assert bob.register(f"bob{registrar}", call_id(registrar, "r")).startswith("SIP/2.0 200")
            for owner in range(COUNT):
                alice.say("INVITE", f"sip:bob{registrar}@127.0.0.1:{proxy.port}", call_id(owner))
                arrived = bob.hear()
                assert arrived.startswith("INVITE"), arrived
                bob.answer(arrived, "486 Busy Here")
                assert alice.hear().startswith("SIP/2.0 486")
                assert bob.hear().startswith("ACK")
            assert bob.register(f"bob{registrar}", call_id((registrar + 1) % COUNT, "s"), "Expires: 0").startswith(
                "SIP/2.0 200"
            )
            for owner in range(COUNT):
                alice.say("INVITE", f"sip:bob{registrar}@127.0.0.1:{proxy.port}", call_id(owner, "gone"))
                assert alice.hear().startswith("SIP/2.0 480")


def test_a_phone_is_one_binding_whichever_worker_it_registers_with(phone: Callable[..., Phone]) -> None:
    port = free_port()
    with workers(SIP_PROXY_HTTP_PORT=str(port)) as proxy:
        bob = phone(proxy.port)
        for owner in (0, 1, 2, 1, 0, 2):
            assert bob.register("bob", call_id(owner, "again")).count("Contact:") == 1
        shown = json.loads(proxy.page("/registrations", port)[1])
        assert (shown["total"], shown["bindings"][0]["aor"]) == (1, "bob")


def test_phones_that_register_at_one_moment_are_all_known_to_all(phone: Callable[..., Phone]) -> None:
    port, count = free_port(), AT_ONCE
    with workers(SIP_PROXY_HTTP_PORT=str(port)) as proxy:
        bobs = [phone(proxy.port) for _ in range(count)]
        for number, bob in enumerate(bobs):
            uri, to = f"sip:127.0.0.1:{proxy.port}", f"<sip:bob{number}@127.0.0.1>"
            bob.say("REGISTER", uri, call_id(number % COUNT, f"all{number}-"), to=to)
        for bob in bobs:
            assert bob.hear().startswith("SIP/2.0 200")
        until(lambda: metric(proxy, port, "bindings") == count, "the first worker knows all")
        alice = phone(proxy.port)
        for number, bob in enumerate(bobs):
            call = call_id((number + 1) % COUNT, f"one{number}-")
            alice.say("INVITE", f"sip:bob{number}@127.0.0.1:{proxy.port}", call)
            assert bob.hear().startswith("INVITE")


def test_a_retransmission_from_another_port_of_the_router_is_absorbed(phone: Callable[..., Phone]) -> None:
    with workers() as proxy:
        bob = phone(proxy.port)
        bob.register("bob", "r")
        for owner in range(COUNT):
            call = call_id(owner, "twice")
            for alice in (phone(proxy.port) for _ in range(8)):  # the kernel gives some of them to each
                alice.own = "127.0.0.1:9"
                alice.say("INVITE", f"sip:bob@127.0.0.1:{proxy.port}", call, branch=f"z9hG4bK{call}", cseq=1)
            invite = bob.hear()
            assert f"Call-ID: {call}" in invite
            bob.answer(invite, "180 Ringing")
            assert bob.register("bob", "r").startswith("SIP/2.0 200")  # no second INVITE was before the answer


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_calls_go_both_ways_over_whoever_has_the_connection(transport: str, phone: Callable[..., Phone]) -> None:
    with workers() as proxy:
        for number in range(6):  # connections of several workers
            bob, alice = phone(proxy.port, transport), phone(proxy.port, transport)
            assert bob.register(f"bob{number}", f"r{number}").startswith("SIP/2.0 200")
            for owner in range(COUNT):
                does_a_call(alice, bob, f"bob{number}", call_id(owner, f"n{number}"))
                assert bob.hear().startswith("ACK")


def test_a_phone_whose_connection_is_gone_is_gone_for_all(phone: Callable[..., Phone]) -> None:
    port = free_port()
    with workers(SIP_PROXY_HTTP_PORT=str(port)) as proxy:
        alice = phone(proxy.port)
        for owner in range(COUNT):
            bob = phone(proxy.port, "tcp")
            bob.register("bob", call_id(owner, "r"))
            until(lambda: metric(proxy, port, "connections_tcp") == 1, "the connection is there")
            bob.socket.close()
            # Until the proxy has heard of it the INVITE is written to the connection, and lost with it.
            until(lambda: metric(proxy, port, "connections_tcp") == 0, "the connection is gone")
            alice.say("INVITE", f"sip:bob@127.0.0.1:{proxy.port}", call_id((owner + 1) % COUNT, f"late{owner}"))
            assert re.match(r"SIP/2.0 (480|503)", alice.hear())
            until(lambda: metric(proxy, port, "bindings") == 0, "and the binding with it")


def test_credentials_are_good_for_one_worker_and_once(tmp_path: Path, phone: Callable[..., Phone]) -> None:
    ha1 = md5(b"alice:127.0.0.1:secret").hexdigest()
    users = tmp_path / "users"
    users.write_text(f"alice:127.0.0.1:MD5:{ha1}\n", encoding="ascii")
    users.chmod(0o600)
    with workers(SIP_PROXY_USERS=str(users), SIP_PROXY_ALGORITHMS="MD5") as proxy:
        alice, uri = phone(proxy.port), f"sip:127.0.0.1:{proxy.port}"
        alice.user = "alice"

        def credentials(challenge: str) -> str:
            nonce = re.search(r'nonce="([^"]+)"', challenge)
            assert nonce is not None, challenge
            ha2 = md5(f"REGISTER:{uri}".encode()).hexdigest()
            response = md5(f"{ha1}:{nonce[1]}:00000001:x:auth:{ha2}".encode()).hexdigest()
            return (
                f'Authorization: Digest username="alice",realm="127.0.0.1",nonce="{nonce[1]}",uri="{uri}",'
                f'response="{response}",algorithm=MD5,qop=auth,nc=00000001,cnonce="x"'
            )

        for owner in range(COUNT):
            given = credentials(alice.register("alice", call_id(owner, "auth")))
            assert alice.register("alice", call_id(owner, "auth"), given).startswith("SIP/2.0 200")
            for other in range(COUNT):
                again = alice.register("alice", call_id(other, f"replayed{owner}"), given)
                assert again.startswith("SIP/2.0 401"), again
                assert "stale=true" in again


SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {} RTP/AVP 0\r\n"


def test_the_media_of_a_call_is_one_workers_from_its_offer_to_its_bye(phone: Callable[..., Phone]) -> None:
    port = free_port()
    settings = {"SIP_PROXY_RELAY": "always", "SIP_PROXY_RELAY_PORTS": "32000-32047", "SIP_PROXY_HTTP_PORT": str(port)}
    with workers(**settings) as proxy:
        alice, bob = phone(proxy.port), phone(proxy.port)
        bob.register("bob", "r")
        ports: list[str] = []
        dialogs = []
        for owner in range(COUNT):
            call = call_id(owner, "heard")
            alice.say("INVITE", f"sip:bob@127.0.0.1:{proxy.port}", call, body=SDP.format(40000))
            arrived = bob.hear()
            ports += re.findall(r"m=audio (\d+)", arrived)
            bob.answer(arrived, "200 OK", SDP.format(41000))
            accepted = alice.hear()
            ports += re.findall(r"m=audio (\d+)", accepted)
            dialogs.append((call, arrived))
        assert len(set(ports)) == 2 * COUNT
        assert all(32000 <= int(each) <= 32047 for each in ports)
        until(lambda: json.loads(proxy.page("/media", port)[1])["total"] == COUNT, "all calls are shown")
        rows = json.loads(proxy.page("/media", port)[1])["sessions"]
        assert {row["call_id"] for row in rows} == {call for call, _ in dialogs}
        for call, arrived in dialogs:  # the called hangs up, from another address and port than who called
            route = f"Route: {header(arrived, 'Record-Route')}"
            target = re.search(r"<(.*)>", header(arrived, "Contact"))
            assert target is not None
            tag = header(arrived, "From").partition("tag=")[2]
            bye = (
                f"BYE {target[1]} SIP/2.0\r\nVia: SIP/2.0/UDP {bob.own};rport;branch=z9hG4bKbye{call}\r\n{route}\r\n"
                f"From: <sip:x@y>;tag=callee\r\nTo: <sip:me@127.0.0.1>;tag={tag}\r\nCall-ID: {call}\r\n"
                "CSeq: 9 BYE\r\nContent-Length: 0\r\n\r\n"
            )
            bob.send(bye)
            arrived_bye = alice.hear()
            assert arrived_bye.startswith("BYE")
            alice.answer(arrived_bye, "200 OK")
            assert bob.hear().startswith("SIP/2.0 200")
        until(lambda: json.loads(proxy.page("/media", port)[1])["total"] == 0, "all media has ended")
        assert metric(proxy, port, "relay_ports_free") == 24


@pytest.mark.parametrize("flush", ["0", "0.2"])
def test_what_any_worker_confirmed_is_in_the_journal_and_known_to_all_afterwards(
    flush: str, tmp_path: Path, phone: Callable[..., Phone]
) -> None:
    settings = {"SIP_PROXY_STATE": str(tmp_path / "state"), "SIP_PROXY_FLUSH": flush}
    bobs = []
    with workers(**settings) as proxy:
        settings["SIP_PROXY_PORT"], others = str(proxy.port), processes(proxy)
        for owner in range(COUNT):
            bobs.append(phone(proxy.port))
            assert bobs[-1].register(f"bob{owner}", call_id(owner, "kept")).startswith("SIP/2.0 200")
        if flush == "0":
            proxy.process.kill()
        else:
            assert proxy.stop(signal.SIGTERM)[0] == 0  # what was to be written behind is written
    until(lambda: not any(map(_lives, others)), "all have ended")
    with serving(**{"SIP_PROXY_WORKERS": str(COUNT), **settings}) as proxy:
        assert any(f"{COUNT} bindings" in line for line in proxy.lines_until(GREETING))
        alice = phone(int(settings["SIP_PROXY_PORT"]))
        for number, bob in enumerate(bobs):
            for owner in range(COUNT):
                alice.say("INVITE", f"sip:bob{number}@127.0.0.1:{alice.port}", call_id(owner, f"back{number}"))
                assert bob.hear().startswith("INVITE")


@pytest.mark.parametrize("flush", ["0", "0.5"])
def test_a_stop_at_once_loses_nothing_that_was_confirmed(
    flush: str, tmp_path: Path, phone: Callable[..., Phone]
) -> None:
    state = tmp_path / "state"
    with workers(SIP_PROXY_STATE=str(state), SIP_PROXY_FLUSH=flush, SIP_PROXY_DRAIN="0") as proxy:
        bob, confirmed = phone(proxy.port), 0
        for begin in range(0, 300, AT_ONCE):
            for number in range(begin, begin + AT_ONCE):
                uri, call = f"sip:127.0.0.1:{proxy.port}", call_id(number % COUNT, f"last{number}-")
                bob.say("REGISTER", uri, call, to=f"<sip:bob{number}@127.0.0.1>")
            for _ in range(AT_ONCE):
                confirmed += bob.hear().startswith("SIP/2.0 200")
        assert proxy.stop(signal.SIGTERM)[0] == 0
    assert confirmed == 300
    assert from_journal(state, "count(*)") == confirmed


def test_who_registers_when_the_proxy_has_slept_long_is_not_taken_for_who_was_there_before(
    tmp_path: Path, phone: Callable[..., Phone]
) -> None:
    """Bindings that expired meanwhile are forgotten at the start: their ids are nobody else's then."""
    settings = {"SIP_PROXY_STATE": str(tmp_path / "state"), "SIP_PROXY_EXPIRES_MIN": "1"}
    with workers(**settings) as proxy:
        others = processes(proxy)
        old = phone(proxy.port)
        for number in range(60):
            call = call_id(number % COUNT, f"old{number}-")
            assert old.register(f"old{number}", call, "Expires: 1").startswith("SIP/2.0 200")
        assert proxy.stop(signal.SIGTERM)[0] == 0
    until(lambda: not any(map(_lives, others)), "all have ended")
    until(lambda: from_journal(tmp_path / "state", "max(expires_at)") < time.time(), "all have expired")
    with workers(**settings) as proxy:
        new, alice = phone(proxy.port), phone(proxy.port)
        for number in range(30):
            assert new.register(f"new{number}", call_id(number % COUNT, f"new{number}-")).startswith("SIP/2.0 200")
        for number in range(30):
            for owner in range(COUNT):
                alice.say("INVITE", f"sip:new{number}@127.0.0.1:{proxy.port}", call_id(owner, f"call{number}-"))
                invite = new.hear()
                assert invite.startswith("INVITE")
                new.answer(invite, "486 Busy Here")
                assert alice.hear().startswith("SIP/2.0 486")
                assert new.hear().startswith("ACK")


def test_who_sends_while_the_proxy_starts_finds_no_worker_that_is_not_ready(phone: Callable[..., Phone]) -> None:
    with serving(SIP_PROXY_WORKERS="6") as proxy:
        asker, number, answers = phone(proxy.port), 0, 0
        asker.socket.settimeout(0.002)
        until_greeted = time.monotonic() + DEADLINE_S
        while answers < 200:
            assert time.monotonic() < until_greeted
            number += 1
            asker.say("OPTIONS", f"sip:127.0.0.1:{proxy.port}", f"early{number}")
            with contextlib.suppress(TimeoutError, ConnectionError):
                answers += asker.hear().startswith("SIP/2.0 200")
        before = proxy.lines_until("SIP proxy has 6 workers")
        status, out, err = proxy.stop(signal.SIGTERM)
    assert (status, err) == (0, "")
    assert "internal-error" not in "\n".join((*before, out))


def test_phones_are_kept_alive_whoever_took_their_registration(phone: Callable[..., Phone]) -> None:
    port = free_port()
    with workers(SIP_PROXY_KEEPALIVE="1", SIP_PROXY_KEEPALIVE_MISSES="3", SIP_PROXY_HTTP_PORT=str(port)) as proxy:
        bobs = []
        for owner in range(COUNT):
            bob = phone(proxy.port)
            bob.own = "10.0.0.5:5060"  # behind a NAT
            bob.register(f"bob{owner}", call_id(owner, "nat"))
            bobs.append(bob)
        for _ in range(3):
            for bob in bobs:
                asked = bob.hear()
                assert asked.startswith("OPTIONS")
                bob.answer(asked, "200 OK")
        assert metric(proxy, port, "bindings") == COUNT
        until(lambda: metric(proxy, port, "bindings_dead_total") == COUNT, "who is silent is removed")
        alice = phone(proxy.port)
        for owner in range(COUNT):
            alice.say("INVITE", f"sip:bob0@127.0.0.1:{proxy.port}", call_id(owner, "dead"))
            assert alice.hear().startswith("SIP/2.0 480")


def test_all_count_as_one_and_each_has_its_part(phone: Callable[..., Phone]) -> None:
    port, calls = free_port(), 300
    with workers(SIP_PROXY_HTTP_PORT=str(port)) as proxy:
        asker = phone(proxy.port)
        for number in range(calls):
            asker.say("OPTIONS", f"sip:127.0.0.1:{proxy.port}", f"{number}-77@10.0.0.5")
            assert asker.hear().startswith("SIP/2.0 200")
        until(lambda: metric(proxy, port, "requests_total") == calls, "all are counted")
        assert proxy.page("/healthz", port) == (200, "ok\n")
        assert proxy.page("/media", port) == (200, '{"total": 0, "sessions": []}\n')
        status, out, err = proxy.stop(signal.SIGTERM)
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == f"SIP proxy stopped requests={calls}"


def test_when_a_worker_ends_the_proxy_says_so_and_stops() -> None:
    with workers() as proxy:
        others = processes(proxy)
        assert len(others) == COUNT - 1
        os.kill(others[0], signal.SIGKILL)
        out, err = proxy.process.communicate(timeout=DEADLINE_S)
        assert proxy.process.returncode == 1
        assert f"SIP proxy stops: its worker {others[0]} has ended" in out.decode()
        assert err == b""
        until(lambda: not any(Path(f"/proc/{each}").exists() for each in others), "all have ended")


def test_when_the_first_is_killed_all_end_and_the_port_is_free() -> None:
    with workers() as proxy:
        others = processes(proxy)
        proxy.process.kill()
        proxy.process.wait(DEADLINE_S)
        until(lambda: not any(map(_lives, others)), "all have ended")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", proxy.port))


def _lives(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_stop_waits_for_the_calls_of_all_and_takes_no_new_ones(phone: Callable[..., Phone]) -> None:
    with workers(SIP_PROXY_DRAIN="20") as proxy:
        alice, bob = phone(proxy.port), phone(proxy.port)
        bob.register("bob", "r")
        ringing = []
        for owner in range(COUNT):
            alice.say("INVITE", f"sip:bob@127.0.0.1:{proxy.port}", call_id(owner, "up"))
            ringing.append(bob.hear())
        for process in (proxy.process.pid, *processes(proxy)):  # as a terminal does it
            os.kill(process, signal.SIGINT)
        late = phone(proxy.port)
        for owner in range(COUNT):
            number = 0

            def is_refused(owner: int = owner) -> bool:
                nonlocal number
                number += 1
                late.say("OPTIONS", f"sip:nobody@127.0.0.1:{proxy.port}", call_id(owner, f"late{number}-"))
                return late.hear().startswith("SIP/2.0 503")

            until(is_refused, "new requests are refused by each")
        for invite in ringing:
            bob.answer(invite, "200 OK")
            assert alice.hear().startswith("SIP/2.0 200")
        out, err = proxy.process.communicate(timeout=DEADLINE_S)
    assert (proxy.process.returncode, err) == (0, b"")
    assert out.decode().splitlines()[-1].startswith("SIP proxy stopped")


def test_users_are_read_anew_by_all(tmp_path: Path, phone: Callable[..., Phone]) -> None:
    users = tmp_path / "users"
    users.write_text(f"alice:127.0.0.1:MD5:{'0' * 32}\n", encoding="ascii")
    users.chmod(0o600)
    with workers(SIP_PROXY_USERS=str(users)) as proxy:
        offered = 'algorithm=SHA-256'
        alice = phone(proxy.port)

        def challenge(owner: int, name: str) -> str:
            alice.say("REGISTER", f"sip:127.0.0.1:{proxy.port}", call_id(owner, name), to="<sip:alice@127.0.0.1>")
            return alice.hear()

        assert not any(offered in challenge(owner, "before") for owner in range(COUNT))
        users.write_text(f"alice:127.0.0.1:SHA-256:{'0' * 64}\n", encoding="ascii")
        proxy.process.send_signal(signal.SIGHUP)
        proxy.lines_until("SIP proxy reloaded")
        for owner in range(COUNT):
            until(lambda owner=owner: offered in challenge(owner, "after"), "all have read them")  # type: ignore[misc]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_port_of_another_proxy_is_one_line_and_exit_2_though_both_would_share_it(transport: str) -> None:
    with workers(SIP_PROXY_TRANSPORTS=transport) as proxy:
        done = run(port=proxy.port, SIP_PROXY_WORKERS="2", SIP_PROXY_TRANSPORTS=transport)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"proxy: cannot listen on 127.0.0.1:{proxy.port} ({transport}): Address already in use")


def test_what_cannot_work_is_said_once(tmp_path: Path) -> None:
    for settings, said in (
        ({"SIP_PROXY_USERS": str(tmp_path / "none")}, "none"),
        ({"SIP_PROXY_TLS_CERTIFICATE": str(tmp_path / "no.pem"), "SIP_PROXY_TLS_KEY": str(tmp_path / "k")}, "no.pem"),
        ({"SIP_PROXY_RELAY": "auto", "SIP_PROXY_RELAY_PORTS": "31000-31009"}, "each of 3 workers needs four"),
        ({"SIP_PROXY_WORKERS": "65"}, "SIP_PROXY_WORKERS='65': allowed is a number from 1 to 64"),
    ):
        done = run(port=free_port(), **{"SIP_PROXY_WORKERS": "3", **settings})
        assert (done.returncode, done.stdout) == (2, "")
        (line,) = done.stderr.splitlines()
        assert said in line
