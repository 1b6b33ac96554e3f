"""The proxy: one message in, effects out, in the order in which the policies see it (RFC 3261 §16).

The invariant: `receive` never raises on what the network sends. Whatever answers need no memory are given without it
(§8.2.7): challenges, refusals, the registrar's. Whatever is forwarded has a transaction on each side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from proxy.core import nat, registrar, route, validate
from proxy.core.admission import Admission
from proxy.core.auth import Authenticator, Challenge
from proxy.core.contacts import CONTACT_METHODS, Contacts
from proxy.core.effects import Effect, Note, Send
from proxy.core.flow import Address, Flow, may_send_to
from proxy.core.forking import ResponseContext
from proxy.core.forwarding import FLOW, Forwarding, flow_of
from proxy.core.identity import Identity
from proxy.core.keepalive import Keepalive
from proxy.core.listeners import Listeners, hostport
from proxy.core.location import Location
from proxy.core.media import Media
from proxy.core.party import Side
from proxy.core.remedies import Remedies
from proxy.core.route import Router
from proxy.core.signer import SIGNATURE_BYTES, Signer
from proxy.core.target import Target
from proxy.core.transaction import ACCEPTED, ACK, REQUEST, Times
from proxy.core.transactions import MAGIC, Transactions, client_key, input_of, server_key
from proxy.sip import framing, grammar, stun
from proxy.sip.errors import REASONS, NotSip, SipError
from proxy.sip.headers import Via, parse_cseq, parse_name_addr, parse_via
from proxy.sip.memory import remembered_by_parts
from proxy.sip.message import Request, Response, answer
from proxy.sip.parse import parse
from proxy.sip.uri import Uri

LINGERING = 20  # transactions that only absorb retransmissions may be so many times those that wait for an answer
IN_DIALOG = 1000  # what bears a To tag may be so much more, or twice as much: calls that are up shall end
PENDING_BYTES = 4096  # of a request that waits for its answer, on the average
BREADTH = 60  # Max-Breadth of a request that has none (RFC 5393 §5.3.3)
RETRY_AFTER_S = 10
_FLOW_PARAM = b";%b=" % FLOW
ALLOW = b"INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, PRACK, UPDATE, INFO, MESSAGE, REFER, SUBSCRIBE, NOTIFY, PUBLISH"


@dataclass(slots=True)
class Policy:
    """What the engine is told beside its parts; plain values. Times in seconds."""

    remedies: Remedies = field(default_factory=Remedies)
    times: Times = field(default_factory=Times)
    terms: registrar.Terms = field(default_factory=registrar.Terms)
    max_transactions: int = 50_000  # requests that wait for their final response; with more, new ones get 503
    keepalive_s: int = 25  # 0: never
    keepalive_misses: int = 3
    is_allowed: Callable[[str], bool] = lambda host: False  # hosts that may send through us without a password


class Engine:
    """The proxy without its sockets. `signer` signs what is to come back.

    `relay`: whose media comes through it ("auto", "always"), and by which even ports; None: nobody's.
    """

    def __init__(
        self, listeners: Listeners, router: Router, location: Location, sink: list[Effect], signer: Signer,
        policy: Policy, authenticator: Authenticator | None = None, admission: Admission | None = None,
        relay: tuple[str, Sequence[int]] | None = None,
    ) -> None:  # fmt: skip
        self.counts: Counter[str] = Counter()
        self.is_draining = False
        self.location = location
        self.policy = policy
        self._listeners = listeners
        self._router = router
        self._signer = signer
        self._way_back = remembered_by_parts(self._find_way_back)
        self._contacts = Contacts(signer)
        self._sink = sink
        self.identity = Identity(authenticator, admission, router.is_ours, self.counts)
        self.transactions = Transactions(policy.times, sink)
        self.media: Media | None = None
        if relay is not None and policy.remedies.relay:
            self.media = Media(*relay, sink, self.counts, listeners.is_host, listeners.is_here)
        self.forwarding = Forwarding(
            listeners, location, policy.remedies, self._signer, self._contacts, self.transactions, sink, self.media
        )
        self.keepalive = Keepalive(
            location, listeners, self._signer, self.transactions.timers, sink,
            policy.keepalive_s if policy.remedies.keepalive else 0, policy.keepalive_misses,
        )  # fmt: skip

    # What happens

    def start(self, now: float) -> list[Effect]:
        """Begin to keep the registered phones alive. `now` is in Unix seconds, of a clock that does not run back."""
        self.keepalive.tick(None, now)
        return self._effects()

    def receive(self, data: bytes, flow: Flow, now: float) -> list[Effect]:
        """Return what a message leads to, or a datagram that is none."""
        if data[:1] < b"A" and framing.is_keep_alive(data):
            self._keep_alive(data, flow)
            return self._effects()
        try:
            message = parse(data[: validate.MAX_MESSAGE_BYTES])  # the head is enough to say 513
        except NotSip as error:
            self._drop("not-sip", flow, str(error))
            return self._effects()
        if isinstance(message, Request):
            self._request(message, flow, now, len(data))
        else:
            try:
                self._response(message, flow, now)
            except SipError as error:
                self._drop("bad-response", flow, str(error))
        return self._effects()

    def handle_timer(self, now: float) -> list[Effect]:
        """Return what follows from the time that has passed."""
        self.transactions.timers.run(now)
        return self._effects()

    def next_deadline(self, lateness: float = 0.0) -> float | None:
        """Return when `handle_timer` is to be called next; timers may be late by that share of their delay."""
        return self.transactions.timers.next_deadline(lateness)

    def has_earlier(self, deadline: float) -> bool:
        """Say whether something was started since `next_deadline` was asked for that ends before this."""
        return self.transactions.timers.soonest < deadline

    def failed(self, token: bytes, now: float) -> list[Effect]:
        """Return what follows when a Send with this token could not be carried out."""
        self.counts["send-failures"] += 1
        server = self.transactions.servers.get(token)
        if server is not None and isinstance(server.user, ResponseContext):
            self.forwarding.reopen(server, server.user.sent_by, now)
        else:
            self.transactions.fail(token, now)
        return self._effects()

    def located(self, token: bytes, hops: Sequence[tuple[str, Address]], status: int, now: float) -> list[Effect]:
        """Return what follows from a Locate: (transport, address) in order, or none and a status that says why."""
        self.forwarding.located(token, list(hops), status, now)
        return self._effects()

    def relay_silent(self, session: int, now: float) -> list[Effect]:
        """Return what follows when no media has come through a session for long."""
        if self.media is not None:
            self.media.silent(session)
        return self._effects()

    def relay_unopened(self, session: int, ports: Sequence[int], now: float) -> list[Effect]:
        """Return what follows when an OpenRelay could not be carried out: `ports` are somebody else's."""
        if self.media is not None:
            self.media.unopened(session, ports)
        return self._effects()

    def pending(self) -> int:
        """Return how many requests wait for their final response: what a proxy that shuts down waits for."""
        return self.transactions.pending

    def _effects(self) -> list[Effect]:
        effects = self._sink[:]
        self._sink.clear()
        return effects

    def _keep_alive(self, data: bytes, flow: Flow) -> None:
        self.counts["keep-alives"] += 1
        if stun.is_stun(data) and may_send_to(*flow.remote, flow.local[0]):
            reply = stun.answer(data, flow.remote)
            if reply is not None:
                self._sink.append(Send(flow, reply))

    # Requests

    def _request(self, request: Request, flow: Flow, now: float, size: int) -> None:
        self.counts["requests"] += 1
        try:
            came, answer_to = nat.stamp_source(request, flow.remote, self.policy.remedies)
            back = self._way_back((answer_to, flow))
        except SipError as error:
            self._drop("no-way-back", flow, str(error))
            return
        try:
            if size > validate.MAX_MESSAGE_BYTES:
                raise SipError(513)
            if flow.transport != "udp" and request.header(b"content-length") is None:
                raise SipError(400, b"No Content-Length")  # §18.3: on a stream it is a must
            key = server_key(request, came, b"INVITE" if request.method == b"ACK" else request.method)
            known = self.transactions.servers.get(key)
            if known is not None and known.step(ACK if request.method == b"ACK" else REQUEST, now):
                self.counts["absorbed"] += 1
                return
            if known is not None and (request.method != b"ACK" or known.state != ACCEPTED):
                return  # a retransmission that needs no answer; an ACK for a 2xx goes on (RFC 6026 §7.1)
            if request.method == b"CANCEL":
                self._cancel(request, came, back, now)
            elif request.method == b"ACK":
                self._acknowledge(request, came, answer_to, flow, now)
            else:
                self._new(request, key, came, answer_to, flow, back, size, now)
        except SipError as error:
            self._refuse(request, flow, back, error, now)

    def _find_way_back(self, given: tuple[Address, Flow]) -> Flow:
        """Return the flow that answers take (RFC 3261 §18.2.2). Raises SipError when the Via names no address."""
        address, flow = given
        if flow.connection:
            return flow
        if not may_send_to(*address, flow.local[0]) or self._listeners.is_here(address):
            raise SipError(400, b"No Way Back")
        return flow if address == flow.remote else Flow(flow.transport, flow.local, address)

    def _new(
        self, request: Request, key: bytes, came: Via, answer_to: Address, flow: Flow, back: Flow, size: int, now: float
    ) -> None:
        """A request that begins a transaction (§16.3 to §16.6). Raises SipError."""
        uri = validate.validate(request)
        in_dialog = _to_tag(request) is not None
        self._shed(in_dialog)
        self._check_loop(request)
        routes = _routes(request)
        targets, is_trusted = self._targets(request, uri, in_dialog, flow, now)
        if targets is None:
            self._serve(request, came, flow, back, now)
            return
        base = MAGIC + self._sign_branch(request, came.branch, answer_to, routes)
        self.identity.drop_credentials(request)
        if nat.is_behind_nat(request, came, flow):
            if self.policy.remedies.contact and request.method in CONTACT_METHODS:
                self._contacts.publish(request, flow, now)
            natted = True
        else:
            natted = False
        if self.media is not None:
            callees = [Side(target.flow or flow, target.natted) for target in targets]
            self.media.admit(request, Side(flow, natted), callees)
        groups: tuple[Sequence[Target], ...] = (targets,)
        if len(targets) > 1:
            groups = tuple(list(group) for _, group in groupby(targets, key=lambda target: target.q))
        self._share_breadth(request, max(map(len, groups)))
        route.decrement_max_forwards(request)
        server = self.transactions.serve(key, request, back, None, size)
        server.natted = natted
        context = server.user = ResponseContext(self.forwarding, server, request, groups, flow, came.sent_by, base)
        context.vouched = is_trusted or flow.remote in self.location.targets
        if context.is_invite:
            self.transactions.respond(server, answer(request, 100, REASONS[100], (), None), now)
        else:
            times = self.transactions.times
            context.trying = self.transactions.timers.start(now, times.late_trying, self._late_trying, context)
        if request.method in {b"INVITE", b"BYE"}:
            name = "invite-forwarded" if context.is_invite else "bye-forwarded"
            self._note(name, request, source=flow, target=targets[0].uri)
        context.begin(now)

    def _targets(
        self, request: Request, uri: Uri, in_dialog: bool, flow: Flow, now: float
    ) -> tuple[list[Target] | None, bool]:
        """Return where a request may go, None when it is for us; and whether its sender may send anywhere.

        Raises SipError.
        """
        vouched = False
        if request.header(b"route") is not None:
            token = self._flow_token(request)
            uri, vouched = self._router.preprocess(request, uri, flow.remote[0], now)
            if token is not None:
                return [Target(uri, uri, flow_of(token, self._signer, now), natted=True, is_edge=True)], False
        if uri.params and request.header(b"route") is None:
            own = self._contacts.restore(uri, now)
            if own is not None:
                contact, transport, address = own
                if not in_dialog:
                    if address not in self.location.targets:
                        raise SipError(403, b"Contact Outside Its Dialog")  # it may be somebody else's by now
                    if not self.policy.is_allowed(flow.remote[0]):
                        self.identity.is_user(request, flow, now)  # whoever claims to be one of ours proves it here too
                way = self._listeners.flow_to(transport, address, flow)
                if way is None:
                    raise SipError(480)
                return [Target(contact, contact, way, natted=True)], vouched
        # OPTIONS for us needs no password, and REGISTER is asked for its own.
        is_for_us = (uri.user is None or request.method == b"REGISTER") and self._router.is_us(uri)
        is_trusted = (
            (vouched and in_dialog)  # the token opens its own dialog, and nothing new
            or self.policy.is_allowed(flow.remote[0])
            or (not is_for_us and self.identity.is_user(request, flow, now))
        )
        if not is_trusted and request.header(b"p-asserted-identity") is not None:
            request.replace_values(b"P-Asserted-Identity", [])  # RFC 3325 §5: nobody has vouched for him
        return self._router.targets(request, uri, is_trusted, now), is_trusted

    def _flow_token(self, request: Request) -> bytes | None:
        """Return the flow token in a topmost Route that names us."""
        top = request.top(b"route")
        if top is None or top.find(_FLOW_PARAM) < 0:
            return None
        own = parse_name_addr(top).parsed()
        return own.param(FLOW) if self._router.is_us(own) else None

    def _serve(self, request: Request, came: Via, flow: Flow, back: Flow, now: float) -> None:
        """A request for the proxy itself: REGISTER, OPTIONS. Raises SipError."""
        validate.check_extensions(request, b"require", validate.REGISTRAR)
        if request.method == b"REGISTER":
            self._register(request, came, flow, back, now)
        elif request.method == b"OPTIONS":
            headers = ((b"Accept", b"*/*"), (b"Allow", ALLOW), (b"Supported", b"path, outbound, gruu"))
            self._answer(request, back, 200, REASONS[200], headers)
        else:
            raise SipError(404, b"No User in Request-URI")

    def _register(self, request: Request, came: Via, flow: Flow, back: Flow, now: float) -> None:
        address = registrar.aor_of(request)
        if not self._router.is_ours(address):
            raise SipError(404, b"Not Our Domain")  # §10.3 step 5
        self.identity.check_registrant(request, address, flow, now)
        natted = nat.is_behind_nat(request, came, flow)
        headers = registrar.register(request, flow, natted, self.location, self.policy.terms, now)
        self.counts["registrations"] += 1
        if request.count(b"contact"):
            saved = any(name == b"Contact" for name, _ in headers)
            self._note("binding-saved" if saved else "binding-removed", request, flow=flow)
        self._answer(request, back, 200, REASONS[200], headers)

    def _cancel(self, request: Request, came: Via, back: Flow, now: float) -> None:
        """§16.10: answered at once, and passed on on every branch. Raises SipError."""
        validate.check_head(request)
        invite = self.transactions.servers.get(server_key(request, came, b"INVITE"))
        if invite is None or not isinstance(invite.user, ResponseContext):
            raise SipError(481)
        self._answer(request, back, 200, REASONS[200])
        if not invite.user.answered and not invite.user.cancelled:
            self._note("invite-cancelled", request)
            invite.user.cancel(now)

    def _acknowledge(self, request: Request, came: Via, answer_to: Address, flow: Flow, now: float) -> None:
        """An ACK that no transaction waits for: for an answer of our own, or for a 2xx, end to end. Raises SipError."""
        uri = validate.validate(request)
        tag = _to_tag(request)
        if self._is_tag(tag, request):
            return
        base = MAGIC + self._sign_branch(request, came.branch, answer_to, _routes(request))
        targets, _ = self._targets(request, uri, tag is not None, flow, now)
        self.identity.drop_credentials(request)
        if targets:
            self.forwarding.send_once(request, targets[0], base, flow, now)

    def _shed(self, in_dialog: bool) -> None:
        """Refuse what is new when there is too much to do, or when the end is near. Raises SipError 503."""
        most = self.policy.max_transactions
        transactions = self.transactions
        is_too_much = (
            self.is_draining or transactions.pending >= most or transactions.pending_bytes >= PENDING_BYTES * most
        )
        if not is_too_much and len(transactions) < LINGERING * most:
            return
        is_far_too_much = transactions.pending >= most + max(most, IN_DIALOG) or len(transactions) >= LINGERING * max(
            most, IN_DIALOG
        )
        if (is_too_much and not in_dialog) or is_far_too_much:
            self.counts["shed"] += 1
            raise SipError(503, headers=((b"Retry-After", b"%d" % RETRY_AFTER_S),))

    def _check_loop(self, request: Request) -> None:
        """Has this very request been here before (§16.3 step 4, RFC 5393 §4.2)? Raises SipError 482.

        With another Request-URI or Route it is a spiral, and fine.
        """
        if request.only(b"via") is not None:
            return
        vias = request.values(b"via")
        for number in range(1, len(vias) - 1):
            via = parse_via(vias[number])
            if self._listeners.is_here(via.sent_by):
                below = parse_via(vias[number + 1])
                answer_to = nat.answer_address(below, self.policy.remedies)
                made = MAGIC + self._sign_branch(request, below.branch, answer_to, _routes(request))
                if via.branch.startswith(made):
                    raise SipError(482)

    def _share_breadth(self, request: Request, most: int) -> None:
        """Divide Max-Breadth among the branches (RFC 5393 §5.3.3). Raises SipError 440."""
        given = request.header(b"max-breadth")
        breadth = BREADTH if given is None else grammar.decimal(given, 2**31) or 0
        if most > breadth:
            raise SipError(440)
        request.set(b"Max-Breadth", b"%d" % (breadth // most))

    def _late_trying(self, context: ResponseContext, now: float) -> None:
        """RFC 4320 §4.1: a non-INVITE gets its 100 when Timer E has come to T2."""
        context.trying = None
        if context.request is not None:
            self.transactions.respond(context.server, answer(context.request, 100, REASONS[100], (), None), now)

    def _refuse(self, request: Request, flow: Flow, back: Flow, error: SipError, now: float) -> None:
        self.counts["refused"] += 1
        if error.status != 503 and not self.policy.is_allowed(flow.remote[0]):
            self.identity.refused(flow, now)
        if not isinstance(error, Challenge):
            self._note("request-refused", request, flow=flow, method=request.method, why=str(error))
        elif error.failed:
            self._note("wrong-password", request, flow=flow, user=error.user)
        if request.method == b"ACK":  # never answered (§17)
            return
        # Whoever has registered from there is answered all the same: others may write his address into their packets.
        if self.identity.is_flooding(flow, now) and flow.remote not in self.location.targets:
            self.counts["silenced"] += 1
            return
        self._answer(request, back, error.status, error.reason, error.headers)

    def _answer(
        self, request: Request, back: Flow, status: int, reason: bytes, headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        """Answer without a transaction (§8.2.7); over a connection only while it lasts."""
        self._sink.append(Send(back, answer(request, status, reason, headers, self._tag(request)).encode()))

    # Responses

    def _response(self, response: Response, flow: Flow, now: float) -> None:
        """Find the client transaction (§17.1.3); what belongs to none is dropped (RFC 6026 §7). Raises SipError."""
        self.counts["responses"] += 1
        validate.check_head(response)
        framing.cut_body(response)
        top = response.top(b"via")
        if top is None:
            raise SipError(400, b"No Via")
        is_alone = response.keys.count(b"via") == 1 and response.only(b"via") is not None
        ours = parse_via(top)
        if not self._listeners.is_here(ours.sent_by):
            self._drop("foreign-response", flow, "the top Via is not ours")
            return
        method = parse_cseq(response.header(b"cseq") or b"")[1]
        client = self.transactions.clients.get(client_key(ours.branch, method))
        if client is None:
            if not is_alone or method != b"OPTIONS" or not self.keepalive.answered(response, flow):
                self._drop("stray-response", flow, f"{response.status} belongs to no transaction")
        elif is_alone and method != b"CANCEL":
            self._drop("bad-response", flow, "no Via below ours")
        else:
            client.step(input_of(response.status), now, response)

    # What both need

    def _sign_branch(self, request: Request, below: bytes, answer_to: Address, routes: bytes) -> bytes:
        """Sign what makes a request this request, the branch `below` ours among it, and where its answer goes.

        `routes` are its Routes as they came. The same for every copy that we make, and for the same request when it
        comes again after a restart; another one when it comes back to us with another Request-URI or Route
        (RFC 5393 §4.2.1).
        """
        return self._signer.sign(
            b"branch",
            below,
            hostport(answer_to),
            request.uri,
            routes,
            request.header(b"call-id") or b"",
            parse_name_addr(request.header(b"from") or b"").tag or b"",
            request.header(b"cseq") or b"",
        )

    def _tag(self, request: Request) -> bytes:
        """Our To tag for this request: the same for every copy of it (§8.2.7)."""
        return self._signer.sign(b"tag", request.header(b"call-id") or b"", request.header(b"from") or b"")

    def _is_tag(self, tag: bytes | None, request: Request) -> bool:
        return tag is not None and len(tag) == SIGNATURE_BYTES and tag == self._tag(request)

    def _note(self, name: str, request: Request, **fields: object) -> None:
        self._sink.append(Note(name, {"call_id": request.header(b"call-id"), **fields}))

    def _drop(self, reason: str, flow: Flow, why: str) -> None:
        self.counts[reason] += 1
        self._sink.append(Note("message-dropped", {"reason": reason, "flow": flow, "why": why}))


def _routes(request: Request) -> bytes:
    return b"" if request.header(b"route") is None else b",".join(request.values(b"route"))


def _to_tag(request: Request) -> bytes | None:
    return parse_name_addr(request.header(b"to") or b"").tag
