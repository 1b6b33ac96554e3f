"""Phones around an engine with a virtual clock: what a test sends, and what the proxy sends on, as one reads a ladder.

No socket and no sleep. A phone's `own` address is the one that it writes into its messages; `seen` is the one that its
packets come from, which is the router's when a NAT stands between.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from proxy.core.admission import Admission
from proxy.core.auth import Authenticator
from proxy.core.effects import CloseRelay, Effect, Forget, Locate, Note, OpenRelay, Save, Send, SteerRelay
from proxy.core.engine import Engine, Policy
from proxy.core.flow import Address, Flow
from proxy.core.listeners import Listener, Listeners
from proxy.core.location import Location
from proxy.core.registrar import Terms
from proxy.core.remedies import NAMES, Remedies
from proxy.core.route import MappedUser, Router
from proxy.core.signer import Signer
from proxy.sip.headers import Via, parse_name_addr, parse_via
from proxy.sip.message import Message
from proxy.sip.parse import parse

PROXY: Address = ("198.51.100.10", 5060)
KEY = bytes(range(32))


def text(address: Address) -> bytes:
    """Return b"host:port", the host in brackets where it is an IPv6 literal."""
    host = b"[%b]" if ":" in address[0] else b"%b"
    return b"%b:%d" % (host % address[0].encode(), address[1])


@dataclass(slots=True)
class Sent:
    """One datagram that left the proxy."""

    to: Address
    data: bytes
    message: Message
    flow: Flow
    token: bytes
    may_open: bool
    server_name: str

    @property
    def what(self) -> str:
        """The method of a request, the status of a response."""
        return self.start.split()[self.start.startswith(b"SIP/")].decode()

    @property
    def start(self) -> bytes:
        """The start line."""
        return self.message.start

    def header(self, name: str) -> bytes | None:
        """Return the first header of this name."""
        return self.message.header(name.lower().encode())

    def values(self, name: str) -> list[bytes]:
        """Return all values of the headers of this name."""
        return self.message.values(name.lower().encode())

    def via(self, index: int = 0) -> Via:
        """Return one Via, from the top."""
        return parse_via(self.values("Via")[index])


def arrows(sent: Iterable[Sent]) -> list[tuple[str, Address]]:
    """Return what each is and where it goes."""
    return [(each.what, each.to) for each in sent]


class Ladder:
    """One proxy, a clock that tests set, and everything that it sent or noted.

    `policy` are fields of `Policy`; `allowed` are hosts that may send through the proxy to anywhere. The proxy is
    `here` (by TLS one port above), and at the address `also`, of the other IP version, where one is given.
    """

    def __init__(
        self,
        without: Iterable[str] = (),
        mapping: Mapping[str, MappedUser] | None = None,
        here: Address = PROXY,
        domains: Iterable[str] = ("example.org",),
        transports: Iterable[str] = ("udp", "tcp"),
        allowed: Iterable[str] = (),
        users: Mapping[bytes, Mapping[str, bytes]] | None = None,
        admission: Admission | None = None,
        also: Address | None = None,
        relay: tuple[str, Sequence[int]] | None = None,
        **policy: Any,
    ) -> None:
        self.now = 1_000_000.0
        self.here = here
        self.notes: list[Note] = []
        self.journal: list[Save | Forget] = []
        self.media: list[OpenRelay | SteerRelay | CloseRelay] = []
        self.lookups: list[Locate] = []
        off, hosts = set(without), set(allowed)
        remedies = Remedies(**{name: name not in off for name in NAMES})
        sink: list[Effect] = []
        signer = Signer(KEY)
        listeners = self.listeners = Listeners(
            Listener(each, (host, port + 1) if each == "tls" else (host, port))
            for host, port in ((here,) if also is None else (here, also))
            for each in transports
        )
        self.location = Location(sink)
        router = Router(listeners, domains, mapping or {}, self.location, remedies, signer)
        auth = None if users is None else Authenticator(b"example.org", users, ("SHA-256", "MD5"), signer)
        given = {"keepalive_s": 0, "terms": Terms(least_s=1), **policy}
        self.engine = Engine(
            listeners, router, self.location, sink, signer,
            Policy(remedies=remedies, is_allowed=hosts.__contains__, **given), auth, admission, relay,
        )  # fmt: skip

    def send(self, data: bytes, source: Address, transport: str = "udp", connection: int = 0) -> list[Sent]:
        """Let a message arrive at the proxy; return what leaves it."""
        return self.receive(data, self.flow(source, transport, connection))

    def says(self, phone: Phone, data: bytes) -> list[Sent]:
        """Let a phone's message arrive by its own transport and connection; return what leaves."""
        return self.send(data, phone.seen, phone.transport, phone.connection)

    def says_all(self, phone: Phone, data: bytes) -> list[Sent]:
        """As `says`, 100s included."""
        flow = self.flow(phone.seen, phone.transport, phone.connection)
        return self.carry_out(self.engine.receive(data, flow, self.now))

    def flow(self, source: Address, transport: str = "udp", connection: int = 0) -> Flow:
        """Return the flow that a message from there comes by."""
        flow = self.listeners.flow_to(transport, source)
        assert flow is not None
        return flow._replace(connection=connection)

    def locate(self, *hops: tuple[str, Address], status: int = 502) -> list[Sent]:
        """Answer the latest Locate; return what leaves."""
        return self._carry_out(self.engine.located(self.lookups[-1].token, hops, status, self.now))

    def receive(self, data: bytes, flow: Flow) -> list[Sent]:
        """Let a message arrive on a flow; return what leaves. A 100 is left out."""
        return self._carry_out(self.engine.receive(data, flow, self.now))

    def carry_out(self, effects: list[Effect]) -> list[Sent]:
        """Take effects apart; return what leaves, 100s included."""
        sent = []
        for effect in effects:
            if isinstance(effect, Send):
                flow, data = effect.flow, effect.data
                way = (effect.token, effect.may_open, effect.server_name)
                sent.append(Sent(flow.remote, data, parse(data), flow, *way))
            elif isinstance(effect, Note):
                self.notes.append(effect)
            elif isinstance(effect, Locate):
                self.lookups.append(effect)
            elif isinstance(effect, OpenRelay | SteerRelay | CloseRelay):
                self.media.append(effect)
            else:
                self.journal.append(effect)
        return sent

    def wait(self, seconds: float) -> list[tuple[float, Sent]]:
        """Let time pass, deadline by deadline; return what timers sent, each with the seconds from now."""
        begin, end = self.now, self.now + seconds
        sent: list[tuple[float, Sent]] = []
        while (deadline := self.engine.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            passed = round(self.now - begin, 6)
            sent += [(passed, each) for each in self.carry_out(self.engine.handle_timer(self.now))]
        self.now = end
        return sent

    def fail(self, sent: Sent) -> list[Sent]:
        """Let the transport say that it could not send this."""
        return self.carry_out(self.engine.failed(sent.token, self.now))

    def _carry_out(self, effects: list[Effect]) -> list[Sent]:
        return [each for each in self.carry_out(effects) if not each.start.startswith(b"SIP/2.0 100 ")]

    def one(self, data: bytes, source: Address) -> Sent:
        """Let a datagram arrive; return the one that leaves."""
        sent = self.send(data, source)
        assert len(sent) == 1, [each.start for each in sent] or self.notes[-1:]
        return sent[0]

    def status(self, data: bytes, source: Address) -> int:
        """Let a request arrive; return the status of the answer that goes back to where it came from."""
        answer = self.one(data, source)
        assert answer.start.startswith(b"SIP/2.0 "), answer.start
        assert answer.to == source
        return int(answer.start.split()[1])


@dataclass(slots=True)
class Phone:
    """A phone that obeys the headers."""

    name: str
    own: Address
    seen: Address
    call_id: bytes = b"call"
    cseq: int = 0
    transport: str = "udp"
    connection: int = 0
    contact: bytes = field(init=False)

    def __post_init__(self) -> None:
        transport = b"" if self.transport == "udp" else b";transport=" + self.transport.encode()
        self.contact = b"sip:%b@%b%b" % (self.name.encode(), text(self.own), transport)

    @property
    def aor(self) -> bytes:
        """The address of record."""
        return b"sip:%b@198.51.100.10" % self.name.encode()

    def request(
        self,
        method: bytes,
        uri: bytes,
        *lines: bytes,
        to: bytes | None = None,
        call_id: bytes | None = None,
        cseq: int | None = None,
        branch: bytes | None = None,
        via: bytes = b";rport",
        contact: bytes | None = None,
        body: bytes = b"",
    ) -> bytes:
        """Return a request as bytes; `lines` are more headers, `via` more Via parameters."""
        if cseq is None:
            self.cseq += 1
            cseq = self.cseq
        branch = branch or b"z9hG4bK-%b-%d" % (self.name.encode(), cseq)
        head = [
            b"%b %b SIP/2.0" % (method, uri),
            b"Via: SIP/2.0/%b %b;branch=%b%b" % (self.transport.upper().encode(), text(self.own), branch, via),
            b"Max-Forwards: 70",
            b"From: <%b>;tag=%b" % (self.aor, self.name.encode()),
            b"To: " + (to or b"<%b>" % uri),
            b"Call-ID: " + (call_id or self.call_id),
            b"CSeq: %d %b" % (cseq, method),
        ]
        if contact != b"":
            head.append(b"Contact: " + (contact or b"<%b>" % self.contact))
        return b"\r\n".join((*head, *lines, b"Content-Length: %d" % len(body), b"", body))

    def register(self, *lines: bytes, **given: int | bytes | None) -> bytes:
        """Return a REGISTER for this phone."""
        to = b"<%b>" % self.aor
        call_id = b"register-" + self.name.encode()
        return self.request(b"REGISTER", b"sip:198.51.100.10", *lines, **{"to": to, "call_id": call_id, **given})  # type: ignore[arg-type]

    def answer(
        self, request: Sent, status: int, *lines: bytes, contact: bytes | None = None, body: bytes = b""
    ) -> bytes:
        """Return this phone's answer to a request that reached it."""
        message = request.message
        head = [b"SIP/2.0 %d Whatever" % status]
        for key, line in zip(message.keys, message.lines, strict=True):
            if key in {b"via", b"from", b"call-id", b"cseq", b"record-route"}:
                head.append(line)
            elif key == b"to":
                head.append(line if b"tag=" in line else b"%b;tag=%b" % (line, self.name.encode()))
        if contact != b"":
            head.append(b"Contact: " + (contact or b"<%b>" % self.contact))
        return b"\r\n".join((*head, *lines, b"Content-Length: %d" % len(body), b"", body))


@dataclass(slots=True)
class Dialog:
    """What a phone keeps of a call (RFC 3261 §12.1): who it is for, and the way there."""

    phone: Phone
    target: bytes
    routes: list[bytes]
    local: bytes
    remote: bytes
    call_id: bytes

    @classmethod
    def of_caller(cls, phone: Phone, answer: Sent) -> Dialog:
        """§12.1.2: from the answer that arrived; the route set in reverse."""
        routes = answer.values("Record-Route")[::-1]
        return cls._of(phone, answer, routes, "From", "To")

    @classmethod
    def of_callee(cls, phone: Phone, invite: Sent) -> Dialog:
        """§12.1.1: from the request that arrived."""
        dialog = cls._of(phone, invite, list(invite.values("Record-Route")), "To", "From")
        dialog.local += b";tag=" + phone.name.encode()
        return dialog

    @classmethod
    def _of(cls, phone: Phone, message: Sent, routes: list[bytes], local: str, remote: str) -> Dialog:
        target = parse_name_addr(message.values("Contact")[0]).uri
        ends = message.header(local) or b"", message.header(remote) or b""
        return cls(phone, target, routes, *ends, message.header("Call-ID") or b"")

    def request(
        self, method: bytes, *lines: bytes, cseq: int = 9, strict: bool = False, body: bytes = b""
    ) -> bytes:
        """Return a request within the dialog; `strict` sends it as a strict router would (§12.2.1.1)."""
        uri, routes = self.target, self.routes
        if strict:
            uri, routes = parse_name_addr(routes[0]).uri, [*routes[1:], b"<%b>" % self.target]
        headers = [b"Route: " + route for route in routes]
        data = self.phone.request(
            method, uri, *headers, *lines, to=self.remote, call_id=self.call_id, cseq=cseq,
            branch=b"z9hG4bK-%b-%b-%d" % (self.phone.name.encode(), method, cseq),
            contact=None if method in {b"INVITE", b"UPDATE"} else b"", body=body,
        )  # fmt: skip
        return data.replace(b"From: <%b>;tag=%b" % (self.phone.aor, self.phone.name.encode()), b"From: " + self.local)

    def first_hop(self) -> Address:
        """Return where its requests go: to the first Route, else to the target."""
        return parse_name_addr(self.routes[0] if self.routes else b"<%b>" % self.target).parsed().address


def alice() -> Phone:
    """A phone at home, behind the router 198.51.100.20."""
    return Phone("alice", ("10.77.1.100", 5060), ("198.51.100.20", 40000))


def bob() -> Phone:
    """A phone on the Internet."""
    return Phone("bob", ("198.51.100.200", 5060), ("198.51.100.200", 5060))


def carol() -> Phone:
    """A phone with Alice's private address behind another router."""
    return Phone("carol", ("10.77.1.100", 5060), ("198.51.100.21", 50000))


MAPPED_BOB = {"bob": MappedUser("198.51.100.200", 5060)}
