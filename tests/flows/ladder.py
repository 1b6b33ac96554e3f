"""Phones around an engine with a virtual clock: what a test sends, and what the proxy sends on, as one reads a ladder.

No socket and no sleep. A phone's `own` address is the one that it writes into its messages; `seen` is the one that its
packets come from, which is the router's when a NAT stands between.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from proxy.core.effects import Note, Send
from proxy.core.engine import Engine
from proxy.core.flow import Address, Flow
from proxy.core.location import Location
from proxy.core.remedies import NAMES, Remedies
from proxy.core.route import MappedUser, Router
from proxy.core.signer import Signer
from proxy.sip.headers import Via, parse_name_addr, parse_via
from proxy.sip.message import Message
from proxy.sip.parse import parse

PROXY: Address = ("198.51.100.10", 5060)
KEY = bytes(range(32))


def text(address: Address) -> bytes:
    """Return b"host:port"."""
    return b"%b:%d" % (address[0].encode(), address[1])


@dataclass(slots=True)
class Sent:
    """One datagram that left the proxy."""

    to: Address
    data: bytes
    message: Message

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


class Ladder:
    """One proxy, a clock that tests set, and everything that it sent or noted."""

    def __init__(
        self,
        without: Iterable[str] = (),
        mapping: Mapping[str, MappedUser] | None = None,
        here: Address = PROXY,
        domains: Iterable[str] = ("example.org",),
    ) -> None:
        self.now = 1000.0
        self.here = here
        self.notes: list[Note] = []
        self.location = Location()
        off = set(without)
        remedies = Remedies(**{name: name not in off for name in NAMES})
        router = Router(here, domains, mapping or {}, self.location, remedies, Signer(KEY))
        self.engine = Engine(here, router, self.location, remedies, KEY)

    def send(self, data: bytes, source: Address) -> list[Sent]:
        """Let a datagram arrive at the proxy; return what leaves it."""
        sent = []
        for effect in self.engine.receive(data, Flow("udp", self.here, source), self.now):
            if isinstance(effect, Send):
                sent.append(Sent(effect.flow.remote, effect.data, parse(effect.data)))
            else:
                self.notes.append(effect)
        return sent

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
    contact: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.contact = b"sip:%b@%b" % (self.name.encode(), text(self.own))

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
            b"Via: SIP/2.0/UDP %b;branch=%b%b" % (text(self.own), branch, via),
            b"Max-Forwards: 70",
            b"From: <%b>;tag=%b" % (self.aor, self.name.encode()),
            b"To: " + (to or b"<%b>" % uri),
            b"Call-ID: " + (call_id or self.call_id),
            b"CSeq: %d %b" % (cseq, method),
        ]
        if contact != b"":
            head.append(b"Contact: " + (contact or b"<%b>" % self.contact))
        return b"\r\n".join((*head, *lines, b"Content-Length: %d" % len(body), b"", body))

    def register(self, *lines: bytes, **given: int | bytes) -> bytes:
        """Return a REGISTER for this phone."""
        to = b"<%b>" % self.aor
        call_id = b"register-" + self.name.encode()
        return self.request(b"REGISTER", b"sip:198.51.100.10", *lines, **{"to": to, "call_id": call_id, **given})  # type: ignore[arg-type]

    def answer(self, request: Sent, status: int, *lines: bytes, contact: bytes | None = None) -> bytes:
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
        return b"\r\n".join((*head, *lines, b"Content-Length: 0", b"", b""))


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

    def request(self, method: bytes, *lines: bytes, cseq: int = 9, strict: bool = False) -> bytes:
        """Return a request within the dialog; `strict` sends it as a strict router would (§12.2.1.1)."""
        uri, routes = self.target, self.routes
        if strict:
            uri, routes = parse_name_addr(routes[0]).uri, [*routes[1:], b"<%b>" % self.target]
        headers = [b"Route: " + route for route in routes]
        data = self.phone.request(
            method, uri, *headers, *lines, to=self.remote, call_id=self.call_id, cseq=cseq,
            branch=b"z9hG4bK-%b-%b" % (self.phone.name.encode(), method),
            contact=None if method in {b"INVITE", b"UPDATE"} else b"",
        )  # fmt: skip
        return data.replace(b"From: <%b>;tag=%b" % (self.phone.aor, self.phone.name.encode()), b"From: " + self.local)

    def first_hop(self) -> Address:
        """Return where its requests go: to the first Route, else to the target."""
        return parse_name_addr(self.routes[0] if self.routes else b"<%b>" % self.target).parsed().address()


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
