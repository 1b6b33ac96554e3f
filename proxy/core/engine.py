"""One message in, effects out: the order in which the policies see it (RFC 3261 §16).

The invariant: `receive` never raises on what the network sends. Until the transaction machines move in, the proxy is
stateless (§16.11): everything that it must remember about a request is signed into the branch of its own Via, so that a
retransmission takes the same way under the same branch, and a forged answer goes nowhere.
"""

from __future__ import annotations

from collections import Counter
from hmac import compare_digest

from proxy.core import nat, registrar, route, validate
from proxy.core.effects import Effect, Note, Send
from proxy.core.flow import Address, Flow, may_send_to
from proxy.core.location import Location
from proxy.core.remedies import Remedies
from proxy.core.signer import Signer
from proxy.sip import framing
from proxy.sip.errors import REASONS, NotSip, SipError
from proxy.sip.headers import Via, parse_cseq, parse_name_addr, parse_via
from proxy.sip.message import Message, Request, Response, answer
from proxy.sip.parse import parse
from proxy.sip.uri import Uri

MAGIC = b"z9hG4bK"  # RFC 3261 §8.1.1.7: a branch of this RFC's making
PLAIN, NATTED = b"p", b"n"  # what a branch remembers of the next hop
DIALOG_FORMING = frozenset((b"INVITE", b"SUBSCRIBE", b"NOTIFY", b"REFER", b"UPDATE"))


class Engine:
    """The proxy without its sockets.

    `here` is the address that goes into Via and Record-Route; `key` (16 to 32 secret bytes) signs what comes back.
    """

    def __init__(self, here: Address, router: route.Router, location: Location, remedies: Remedies, key: bytes) -> None:
        self.counts: Counter[str] = Counter()
        self._here = here
        self._router = router
        self._location = location
        self._remedies = remedies
        self._signer = Signer(key)

    def receive(self, data: bytes, flow: Flow, now: float) -> list[Effect]:
        """Return what a datagram leads to. `now` is in seconds on any clock that does not run back."""
        if framing.is_keep_alive(data):
            self.counts["keep-alives"] += 1
            return []
        is_too_large = len(data) > validate.MAX_MESSAGE_BYTES
        try:
            message = parse(data[: validate.MAX_MESSAGE_BYTES])  # the head is enough to say 513
        except NotSip as error:
            return self._drop("not-sip", flow, str(error))
        if isinstance(message, Request):
            return self._request(message, flow, now, is_too_large)
        if is_too_large:
            return self._drop("bad-response", flow, "too large")
        try:
            return self._response(message, flow)
        except SipError as error:
            return self._drop("bad-response", flow, str(error))

    # Requests

    def _request(self, request: Request, flow: Flow, now: float, is_too_large: bool) -> list[Effect]:
        self.counts["requests"] += 1
        try:
            came, stamped = nat.stamp_source(request, flow.remote, self._remedies)
        except SipError as error:
            return self._drop("no-way-back", flow, str(error))
        try:
            if is_too_large:
                raise SipError(513)
            uri = validate.validate(request)
            if request.method == b"ACK" and self._tag(request) == _to_tag(request):
                return []  # it acknowledges an answer of our own
            hop = self._next_hop(request, uri, now)
            if hop is None:
                return self._serve(request, stamped, flow, now)
            return self._forward(request, came, stamped, hop, flow)
        except SipError as error:
            return self._refuse(request, stamped, flow, error)

    def _next_hop(self, request: Request, uri: Uri, now: float) -> route.NextHop | None:
        """By Route; to a phone whose Contact we made public; by binding, UA_MAPPING, Request-URI. Raises SipError."""
        uri = self._router.preprocess(request, uri)
        own = None if request.values(b"route") else nat.restore_contact(uri, self._signer)
        hop = (
            self._router.next_hop(request, uri, now)
            if own is None
            else route.NextHop(uri.address(), own, natted=True)
        )
        return hop and self._router.allow(hop)

    def _forward(
        self, request: Request, came: Via, stamped: Via, hop: route.NextHop, flow: Flow
    ) -> list[Effect]:
        """RFC 3261 §16.6: copy, Request-URI, Max-Forwards, Record-Route, Via, send."""
        bears_contact = self._remedies.contact and request.method in nat.CONTACT_METHODS
        if bears_contact and nat.is_behind_nat(request, came, flow.remote):
            nat.publish_contact(request, flow.remote, self._signer)
        request.set_uri(hop.uri.encode())
        route.decrement_max_forwards(request)
        call_id = request.header(b"call-id") or b""
        if self._remedies.record_route and request.method in DIALOG_FORMING:
            request.push(b"Record-Route", self._router.record_route(call_id))
        memory = NATTED if hop.natted else PLAIN
        branch = MAGIC + memory + self._sign_branch(request, memory, stamped)
        request.push(b"Via", b"SIP/2.0/UDP %b:%d;branch=%b" % (self._here[0].encode(), self._here[1], branch))
        effects: list[Effect] = [Send(nat.flow_to(hop.address, flow), request.encode())]
        if request.method in {b"INVITE", b"BYE", b"CANCEL"}:
            name = f"{request.method.decode().lower()}-forwarded"
            effects.append(self._note(name, request, source=flow, target="%s:%d" % hop.address))
        return effects

    def _serve(self, request: Request, via: Via, flow: Flow, now: float) -> list[Effect]:
        """A request for the proxy itself: REGISTER, OPTIONS. Raises SipError."""
        if request.method not in {b"ACK", b"CANCEL"}:
            validate.check_extensions(request, b"require")
        if request.method == b"REGISTER":
            headers = registrar.register(request, flow, self._location, now)
            note = self._note("binding-saved" if headers else "binding-removed", request, flow=flow)
            return [*self._answer(request, via, flow, 200, REASONS[200], headers), note]
        if request.method == b"OPTIONS":
            return self._answer(request, via, flow, 200, REASONS[200], ((b"Accept", b"*/*"),))
        if request.method == b"ACK":
            return []
        raise SipError(404, b"No User in Request-URI")

    def _refuse(self, request: Request, via: Via, flow: Flow, error: SipError) -> list[Effect]:
        self.counts["refused"] += 1
        note = self._note("request-refused", request, flow=flow, method=request.method, why=str(error))
        if request.method == b"ACK":  # never answered (§17)
            return [note]
        return [*self._answer(request, via, flow, error.status, error.reason, error.headers), note]

    def _answer(
        self, request: Request, via: Via, flow: Flow, status: int, reason: bytes,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> list[Effect]:  # fmt: skip
        return self._send_back(answer(request, status, reason, headers, self._tag(request)), via, flow)

    # Responses

    def _response(self, response: Response, flow: Flow) -> list[Effect]:
        """RFC 3261 §16.7 steps 3 to 9, as a stateless proxy does them. Raises SipError."""
        self.counts["responses"] += 1
        validate.check_head(response)
        framing.cut_body(response)
        ours = parse_via(response.top(b"via") or b"")
        if ours.sent_by() != self._here:
            return self._drop("foreign-response", flow, "the top Via is not ours")
        response.pop_top(b"Via")
        if response.top(b"via") is None:
            return self._drop("foreign-response", flow, "no Via below ours: we asked nothing")
        via = parse_via(response.values(b"via")[0])
        branch = ours.param(b"branch") or b""
        memory, signature = branch[len(MAGIC) : len(MAGIC) + 1], branch[len(MAGIC) + 1 :]
        if not compare_digest(signature, self._sign_branch(response, memory, via)):
            return self._drop("forged-response", flow, "the branch is not of our making")
        number, method = parse_cseq(response.header(b"cseq") or b"")
        bears_contact = self._remedies.contact and 100 < response.status < 300 and method in nat.CONTACT_METHODS
        if bears_contact and (memory == NATTED or nat.has_private_contact(response, flow.remote)):
            nat.publish_contact(response, flow.remote, self._signer)
        effects = self._send_back(response, via, flow)
        if method == b"INVITE" and response.status >= 200:
            effects.append(self._note("invite-answered", response, status=response.status, cseq=number, source=flow))
        return effects

    def _send_back(self, response: Response, via: Via, flow: Flow) -> list[Effect]:
        address = nat.answer_address(via, self._remedies)
        if not may_send_to(*address, self._here[0]):
            return self._drop("no-way-back", flow, "the Via names no address")
        return [Send(nat.flow_to(address, flow), response.encode())]

    # What both need

    def _sign_branch(self, message: Message, memory: bytes, below: Via) -> bytes:
        """Sign what makes a transaction, without the method: CANCEL and ACK take their INVITE's branch (§16.11).

        Where the answer goes is part of it, so that nobody can have us send an answer that he wrote somewhere else.
        """
        host, port = nat.answer_address(below, self._remedies)
        return self._signer.sign(
            b"branch",
            memory,
            below.param(b"branch") or b"",
            b"%b:%d" % (host.encode("latin-1"), port),
            message.header(b"call-id") or b"",
            parse_name_addr(message.header(b"from") or b"").param(b"tag") or b"",
            b"%d" % parse_cseq(message.header(b"cseq") or b"")[0],
        )

    def _tag(self, request: Request) -> bytes:
        """Our To tag for this request: the same for every copy of it (§8.2.7)."""
        return self._signer.sign(b"tag", request.header(b"call-id") or b"", request.header(b"from") or b"")

    def _note(self, name: str, message: Message, **fields: object) -> Note:
        return Note(name, {"call_id": message.header(b"call-id"), **fields})

    def _drop(self, reason: str, flow: Flow, why: str) -> list[Effect]:
        self.counts[reason] += 1
        return [Note("message-dropped", {"reason": reason, "flow": flow, "why": why})]


def _to_tag(request: Request) -> bytes | None:
    return parse_name_addr(request.header(b"to") or b"").param(b"tag")
