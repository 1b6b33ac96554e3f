"""The torture messages of RFC 4475 and RFC 5118 on the wire: sent to a running proxy, over UDP and over TCP.

Everything is on loopback. The users of the Request-URIs are mapped to a far end of this test's. Where the Request-URI
is an IPv6 address, which nobody here has, one line is put below the start line: a Route to the far end, from a sender
who may send anywhere. The proxy's only name server is a socket of this test's too, and is never asked.
"""

from __future__ import annotations

import json
import re
import select
import socket
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from proxy.sip import framing
from proxy.sip.errors import NotSip
from proxy.sip.headers import parse_name_addr, parse_via
from proxy.sip.message import Request, Response
from proxy.sip.parse import parse
from proxy.sip.uri import parse_uri
from tests.unit.process import DEADLINE_S, Running, free_port, serving

TORTURE = Path(__file__).resolve().parents[1] / "data" / "torture"
CASES: list[dict[str, Any]] = tomllib.loads((TORTURE / "outcomes.toml").read_text(encoding="utf-8"))["message"]

DOMAINS = (
    "example.com example.org example.net company.com "
    "chair-dnrc.example.com registrar.example.com host.example.net"
)
USERS = (
    "user", "vivekg", "kumiko", "UserB", "t.watson", "remote-target", "sips:user@example.com",
    "user;par=u@example.net", "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*",
)  # fmt: skip
REFERENCE = re.compile(rb"\S+ sips?:(?:\S+@)?\[")  # a start line with an IPv6 reference
LENGTH = re.compile(rb"\r\n(?:content-length|l)[ \t]*:[ \t]*(\S*)[ \t]*(?=\r\n)", re.IGNORECASE)
EDITED = {b"via", b"route", b"record-route", b"max-forwards", b"max-breadth", b"contact"}  # by any proxy, or for NATs
COPIED = {b"via", b"from", b"to", b"call-id", b"cseq"}  # into an answer

# What a stream cannot carry: without an end of the head, without one length, or with more of it than there is.
UNFRAMED = {
    "rfc4475/baddn.dat", "rfc4475/clerr.dat", "rfc4475/inv2543.dat", "rfc4475/mcl01.dat", "rfc4475/ncl.dat",
    "rfc5118/ipv6-in-sdp.dat",
}  # fmt: skip
NUMBERS = count(1)


def has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True


HAS_IPV6 = has_ipv6()


def framed(data: bytes) -> bytes | None:
    """Return what a stream carries of a message: the head, and of the body what it claims; None where it claims ill."""
    head, end, body = data.partition(b"\r\n\r\n")
    lengths = set(LENGTH.findall(head + b"\r\n"))
    if not end or len(lengths) != 1 or not (length := lengths.pop()).isdigit() or int(length) > len(body):
        return None
    return head + end + body[: int(length)]


def hostport(address: tuple[str, int]) -> str:
    return ("[%s]:%d" if ":" in address[0] else "%s:%d") % address


class Line:
    """What a sender has to the proxy: a UDP socket or a TCP connection."""

    def __init__(self, transport: str, proxy: tuple[str, int]) -> None:
        family = socket.AF_INET6 if ":" in proxy[0] else socket.AF_INET
        self.transport = transport
        self.proxy = proxy
        self._socket = socket.socket(family, socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM)
        self._socket.settimeout(DEADLINE_S)
        self._socket.connect(proxy)
        self._unread = b""
        self.send = self._socket.sendall
        self.close = self._socket.close

    def read(self) -> Response:
        """Return the next answer."""
        if self.transport == "udp":
            message = parse(self._socket.recv(65_536))
        else:
            while (data := framed(self._unread)) is None:
                more = self._socket.recv(65_536)
                assert more, "the proxy closed the connection"
                self._unread += more
            self._unread = self._unread[len(data) :]
            message = parse(data)
        assert isinstance(message, Response)
        return message

    def final(self) -> Response:
        """Return the next final answer."""
        while (answer := self.read()).status < 200:
            pass
        return answer

    def is_at_its_end(self) -> bool:
        """Say whether the proxy has closed the connection and said nothing more."""
        return self._unread + self._socket.recv(65_536) == b""

    def options(self) -> tuple[bytes, bytes]:
        """Return an OPTIONS for the proxy, and its Call-ID."""
        own, number = hostport(self._socket.getsockname()[:2]), next(NUMBERS)
        return (
            f"OPTIONS sip:{hostport(self.proxy)} SIP/2.0\r\n"
            f"Via: SIP/2.0/{self.transport.upper()} {own};branch=z9hG4bKalive{number}\r\n"
            f"From: <sip:a@b>;tag=1\r\nTo: <sip:b@b>\r\nCall-ID: alive-{number}\r\nCSeq: 1 OPTIONS\r\n"
            "Content-Length: 0\r\n\r\n"
        ).encode(), b"alive-%d" % number

    def finals_before_options(self) -> list[Response]:
        """Send an OPTIONS; return the final answers that come before its own, which is 200."""
        data, call_id = self.options()
        self.send(data)
        found = []
        while (answer := self.final()).header(b"call-id") != call_id:
            found.append(answer)
        assert answer.status == 200
        return found


class Far:
    """The far end: one port for datagrams and connections."""

    def __init__(self, host: str, stack: ExitStack) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        while True:  # until a port is free for both
            self._udp, self._listener = socket.socket(family, socket.SOCK_DGRAM), socket.socket(family)
            self._udp.bind((host, 0))
            self.address: tuple[str, int] = self._udp.getsockname()[:2]
            try:
                self._listener.bind(self.address)
                break
            except OSError:
                self._udp.close()
                self._listener.close()
        self._listener.listen()
        self._listener.settimeout(DEADLINE_S)
        self._connections: list[socket.socket] = []
        self._stack = stack
        stack.enter_context(self._udp)
        stack.enter_context(self._listener)

    def is_idle(self) -> bool:
        """Say whether nothing has arrived that was not taken."""
        return not self._readable(0)

    def take(self) -> tuple[str, Request, Callable[[bytes], object]]:
        """Return what arrives, the transport, and how to answer."""
        found = self._readable(DEADLINE_S)
        assert found, "nothing arrived at the far end"
        if found[0] is self._udp:
            data, source = self._udp.recvfrom(65_536)
            return "udp", self._request(data), lambda answer: self._udp.sendto(answer, source)
        if found[0] is self._listener:
            connection = self._stack.enter_context(self._listener.accept()[0])
            connection.settimeout(DEADLINE_S)
            self._connections.append(connection)
        else:
            connection = found[0]
        data = b""
        while framed(data) is None:
            more = connection.recv(65_536)
            assert more, "the proxy closed its connection to the far end"
            data += more
        assert framed(data) == data
        return "tcp", self._request(data), connection.sendall

    def _request(self, data: bytes) -> Request:
        message = parse(data)
        assert isinstance(message, Request)
        assert message.defect is None
        return message

    def _readable(self, seconds: float) -> list[socket.socket]:
        return select.select([self._udp, self._listener, *self._connections], [], [], seconds)[0]


@dataclass(slots=True)
class House:
    """A proxy, its far ends by IP version, and the name server that nobody should ask."""

    proxy: Running
    pages: int
    far: dict[int, Far]
    names: socket.socket

    def metric(self, name: str) -> float:
        text = self.proxy.page("/metrics", self.pages)[1]
        return float(re.search(rf"^sip_proxy_{name} (.*)$", text, re.MULTILINE)[1])  # type: ignore[index]

    def assert_sound(self) -> None:
        """Nothing has failed, nothing is on its way that nobody asked for, and no name was looked up."""
        assert self.metric("internal_errors_total") == 0
        assert all(far.is_idle() for far in self.far.values())
        assert not select.select([self.names], [], [], 0)[0]


def build(stack: ExitStack) -> House:
    far = {4: Far("127.0.0.1", stack), **({6: Far("::1", stack)} if HAS_IPV6 else {})}
    names = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    names.bind(("127.0.0.1", 0))
    pages = free_port()
    mapping = {user: {"ip": far[4].address[0], "port": far[4].address[1]} for user in USERS}
    if HAS_IPV6:
        mapping["six"] = {"ip": far[6].address[0], "port": far[6].address[1]}
    settings = {
        "SIP_PROXY_IP": "127.0.0.1,::1" if HAS_IPV6 else "127.0.0.1",
        "SIP_PROXY_DOMAINS": DOMAINS,
        "SIP_PROXY_ALLOW": "::1",
        "SIP_PROXY_DNS": "127.0.0.1#%d" % names.getsockname()[1],
        "SIP_PROXY_HTTP_PORT": str(pages),
        "SIP_PROXY_T1": "10",  # nothing is sent twice
        "SIP_PROXY_T2": "10",
        "SIP_PROXY_LOG": "warning",  # into a pipe that nobody empties
        "UA_MAPPING": json.dumps(mapping),
    }
    proxy = stack.enter_context(serving(**settings))
    proxy.lines_until("SIP proxy keeps its bindings")
    return House(proxy, pages, far, names)


def rooms() -> dict[str, tuple[str, int]]:
    """Return, by file, which proxy gets it: the one for what `by` says, and the how-manieth.

    A phone that registers would get what the far end is to get. And the RFCs use method, branch and sent-by more than
    once, which makes one transaction (RFC 3261 §17.2.3): each time needs a proxy that has not heard of it.
    """
    before: Counter[object] = Counter()
    found = {}
    for case in CASES:
        try:
            message = parse((TORTURE / case["file"]).read_bytes())
            key = (message.start.split(b" ")[0], message.top(b"via"))
        except NotSip:
            key = (case["file"].encode(), None)
        found[case["file"]] = (case["by"], before[key])
        before[key] += 1
    return found


ROOM = rooms()
Houses = Callable[[str, str], House]


@pytest.fixture(scope="module")
def houses() -> Iterator[Houses]:
    built: dict[tuple[str, str, int], House] = {}
    with ExitStack() as stack:

        def house(transport: str, file: str) -> House:
            key = (transport, *ROOM[file])
            if key not in built:
                built[key] = build(stack)
            return built[key]

        yield house


def answer_to(request: Request) -> bytes:
    """Return the far end's 200."""
    head = [line for key, line in zip(request.keys, request.lines, strict=True) if key in COPIED]
    return b"\r\n".join((b"SIP/2.0 200 OK", *head, b"Content-Length: 0", b"", b""))


def assert_untouched(sent: Request, arrived: Request, is_by_route: bool) -> None:
    """Compare what arrived at the far end with what was sent: edited is what a proxy has to edit, and nothing else."""
    framing.cut_body(sent)
    assert (arrived.method, arrived.version, arrived.body) == (sent.method, b"SIP/2.0", sent.body)
    if is_by_route:
        assert arrived.uri == sent.uri
    else:  # §16.5: the Request-URI becomes the target's; user and parameters stay, headers never were there
        before, after = parse_uri(sent.uri), parse_uri(arrived.uri)
        assert (after.scheme, after.user, after.params, after.headers) == (
            before.scheme, before.user, before.params, b""
        )  # fmt: skip
        assert after.address[0] == "127.0.0.1"
    kept = [line for key, line in zip(sent.keys, sent.lines, strict=True) if key not in EDITED]
    assert [line for key, line in zip(arrived.keys, arrived.lines, strict=True) if key not in EDITED] == kept
    vias, ours = sent.values(b"via"), arrived.values(b"via")
    assert ours[2:] == vias[1:]
    top, stamped = parse_via(vias[0]), parse_via(ours[1])
    assert (stamped.transport, stamped.sent_by, stamped.param(b"branch")) == (
        top.transport, top.sent_by, top.param(b"branch")
    )  # fmt: skip
    for old, new in zip(sent.values(b"contact"), arrived.values(b"contact"), strict=True):
        was, now = parse_name_addr(old), parse_name_addr(new)
        assert (now.before.strip(b"<"), now.after.lstrip(b">")) == (was.before.strip(b"<"), was.after.lstrip(b">"))
        assert now.parsed().user == was.parsed().user
    hops = sent.header(b"max-forwards")
    assert arrived.header(b"max-forwards") == b"%d" % (70 if hops is None else int(hops) - 1)


def contacts_of(answer: Response) -> set[bytes]:
    return {parse_name_addr(value).uri for value in answer.values(b"contact")}


@pytest.mark.parametrize(
    ("transport", "case"),
    [
        pytest.param(transport, case, id=f"{transport}-{case['file']}")
        for transport in ("udp", "tcp")
        for case in CASES
        if transport == "udp" or case["file"] not in UNFRAMED
    ],
)
def test_a_message_leads_to_what_the_rfc_wants_and_the_proxy_lives_on(
    transport: str, case: dict[str, Any], houses: Houses
) -> None:
    house = houses(transport, case["file"])
    data = (TORTURE / case["file"]).read_bytes()
    if transport == "tcp":
        data = framed(data) or b""
    is_by_route = REFERENCE.match(data) is not None
    host, far = "127.0.0.1", house.far[4]
    if is_by_route:
        if not HAS_IPV6:
            pytest.skip("unsupported: its Request-URI is an IPv6 address, and there is no IPv6 loopback here")
        host, far = "::1", house.far[6]
        start, _, rest = data.partition(b"\r\n")
        data = b"%b\r\nRoute: <sip:%b;lr>\r\n%b" % (start, hostport(far.address).encode(), rest)
    with closing(Line(transport, (host, house.proxy.port))) as line:
        line.send(data)
        answers = line.finals_before_options()
        if answers:
            assert len(answers) == 1
            assert case["outcome"] in {"answered", "any"}
            assert answers[0].status in case["status"]
        elif case["outcome"] == "dropped":
            assert far.is_idle()
        else:
            assert case["outcome"] in {"forwarded", "any"} or (is_by_route and case["by"] == "registrar")
            assert house.metric("internal_errors_total") == 0
            used, arrived, reply = far.take()
            assert (used == "tcp") == (len(arrived.encode()) > 1300)  # §18.1.1
            sent = parse(data)
            assert isinstance(sent, Request)
            assert_untouched(sent, arrived, is_by_route)
            reply(answer_to(arrived))
            answer = line.final()
            assert (answer.status, answer.header(b"call-id")) == (200, sent.header(b"call-id"))
            assert len(answer.values(b"via")) == len(sent.values(b"via"))
            assert line.finals_before_options() == []
    house.assert_sound()


# What a registrar has to get right beyond the 200


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize(
    ("name", "contacts"),
    [
        ("escnull", {b"sip:%00@host5.example.com", b"sip:%00%00@host5.example.com"}),
        ("cparam01", {b"sip:+19725552222@gw1.example.net"}),
        ("cparam02", {b"sip:+19725552222@gw1.example.net;unknownparam"}),
        ("regescrt", {b"sip:user@example.com?Route=%3Csip:sip.example.com%3E"}),
    ],
)
def test_a_registrar_gives_back_the_contacts_that_it_was_given(
    transport: str, name: str, contacts: set[bytes], houses: Houses
) -> None:
    house = houses(transport, f"rfc4475/{name}.dat")
    with closing(Line(transport, ("127.0.0.1", house.proxy.port))) as line:
        line.send((TORTURE / f"rfc4475/{name}.dat").read_bytes())
        assert contacts <= contacts_of(line.final())


# What a stream cannot carry


def test_what_cannot_be_framed_is_what_is_left_out_over_tcp() -> None:
    assert {case["file"] for case in CASES if framed((TORTURE / case["file"]).read_bytes()) is None} == UNFRAMED


@pytest.mark.parametrize("name", ["ncl", "mcl01", "inv2543"])
def test_without_one_length_a_stream_ends_with_a_400(name: str, houses: Houses) -> None:
    """RFC 4475 §3.1.2.3, §3.3.9; RFC 3261 §18.3: nobody can say where the next message begins."""
    house = houses("tcp", f"rfc4475/{name}.dat")
    with closing(Line("tcp", ("127.0.0.1", house.proxy.port))) as line:
        line.send((TORTURE / f"rfc4475/{name}.dat").read_bytes())
        assert line.read().status == 400
        assert line.is_at_its_end()
    with closing(Line("tcp", ("127.0.0.1", house.proxy.port))) as line:
        assert line.finals_before_options() == []
    house.assert_sound()


# Between the two families


@pytest.mark.skipif(not HAS_IPV6, reason="unsupported: there is no IPv6 loopback here")
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_user_at_an_ipv6_address_is_reached_over_ipv4_and_named_in_brackets(transport: str, houses: Houses) -> None:
    house = houses(transport, "rfc4475/lwsdisp.dat")
    data = (TORTURE / "rfc4475/lwsdisp.dat").read_bytes().replace(b"sip:user@", b"sip:six@").replace(b"Kkdjuw", b"K6")
    with closing(Line(transport, ("127.0.0.1", house.proxy.port))) as line:
        line.send(data)
        _, arrived, reply = house.far[6].take()
        assert arrived.uri == b"sip:six@" + hostport(house.far[6].address).encode()
        reply(answer_to(arrived))
        assert line.final().status == 200
    house.assert_sound()
