"""Requests on their way down, responses on their way up (RFC 3261 §16.6, §16.7 steps 3 to 9, §16.10).

The response context decides what is forwarded when; this decides how it looks and which way it takes. The invariant:
a phone behind a NAT is reached on its flow or not at all, and nothing is sent to where `may_send_to` forbids.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count

from proxy.core import nat, route
from proxy.core.contacts import CONTACT_METHODS, Contacts
from proxy.core.effects import Effect, Locate, Note, Send
from proxy.core.flow import Address, Flow, is_literal, is_private, may_send_to
from proxy.core.forking import Branch, ResponseContext, challenges
from proxy.core.listeners import Listeners, hostport
from proxy.core.location import Location
from proxy.core.media import METHODS as MEDIA_METHODS
from proxy.core.media import Media
from proxy.core.party import Side
from proxy.core.remedies import Remedies
from proxy.core.signer import Signer, pack, unpack
from proxy.core.target import Target
from proxy.core.timers import Timer
from proxy.core.transaction import Transaction, follow_up
from proxy.core.transactions import Transactions
from proxy.sip.errors import REASONS, SipError
from proxy.sip.memory import remembered_by_parts
from proxy.sip.message import Request, Response, answer
from proxy.sip.uri import Uri

DIALOG_FORMING = frozenset((b"INVITE", b"SUBSCRIBE", b"NOTIFY", b"REFER", b"UPDATE"))
MAX_UDP_REQUEST = 1300  # bytes; a longer request goes by TCP (RFC 3261 §18.1.1)
LOCATE_S = 10.0  # for a look-up, whatever the resolver is waiting for
GoOn = Callable[[tuple[Flow, ...], int, float], None]  # what a look-up led to: flows, or a status that says why not
FLOW = b"f"  # the parameter in our Path that names a flow, signed (RFC 5626 §5.2)


class Forwarding:
    """Implements what response contexts need (`forking.Forwarder`)."""

    def __init__(
        self, listeners: Listeners, location: Location, remedies: Remedies, signer: Signer, contacts: Contacts,
        transactions: Transactions, sink: list[Effect], media: Media | None,
    ) -> None:  # fmt: skip
        self._listeners = listeners
        self._location = location
        self._remedies = remedies
        self._signer = signer
        self._contacts = contacts
        self._transactions = transactions
        self._sink = sink
        self._media = media
        self._refusal = remembered_by_parts(self._judge)
        self._locating: dict[bytes, tuple[Flow, GoOn]] = {}
        self._numbers = count(1)
        self.flows_failed = 0

    # Down

    def forward(self, branch: Branch, now: float) -> None:
        """Send the branch's request to its next hop; find out first where that is."""
        if branch.hops is None:
            branch.hops = self._hops(branch, now)
            if branch.hops is None:
                return
        request = branch.context.request
        if not branch.hops or request is None:
            branch.fail(503, now)
            return
        flow = branch.hops[0]
        branch.hops = branch.hops[1:]
        refusal = self._refusal(flow)
        if refusal is not None:
            branch.fail(refusal[0], now)
            return
        name = b"%b.%d" % (branch.context.base, next(self._numbers))
        try:
            copy = self._copy(branch, request, flow, name, now)
        except SipError as error:
            branch.fail(error.status, now)
            return
        data = copy.encode()
        if len(data) > MAX_UDP_REQUEST and flow.transport == "udp" and branch.target.flow is None and branch.may_grow:
            branch.may_grow = False
            stream = self._listeners.flow_to("tcp", flow.remote)
            if stream is not None:
                branch.hops = (flow, *branch.hops)  # the fallback, where nobody listens (§18.1.1)
                flow = stream
                copy = self._copy(branch, request, flow, name, now)
                data = copy.encode()
        branch.transaction = self._transactions.ask(
            name, copy, flow, now, branch, data=data, natted=branch.target.natted, server_name=branch.server_name
        )

    def located(self, token: bytes, hops: list[tuple[str, Address]], status: int, now: float) -> None:
        """Take what a Locate led to: (transport, address) in the order of preference, or why there is none."""
        if token not in self._locating:
            return
        came, go_on = self._locating.pop(token)
        flows = [self._listeners.flow_to(transport, address, came) for transport, address in hops]
        go_on(tuple(flow for flow in flows if flow is not None), status, now)

    def send_once(self, request: Request, target: Target, base: bytes, came: Flow, now: float) -> None:
        """Forward a request without a transaction: an ACK for a 2xx (§16.11). Raises SipError."""
        request.uri = target.uri.encode()
        route.decrement_max_forwards(request)
        if self._media is not None and request.body:
            self._media.follow(request)
        flow, host = target.flow or self._literal(target.hop, came), target.hop.address[0]
        if flow is not None:
            refusal = self._refusal(flow)
            if refusal is not None:
                raise SipError(*refusal)
            request.push(b"Via", self._listeners.via(flow, base))
            may_open = flow.connection == 0 and not target.natted
            self._sink.append(Send(flow, request.encode(), may_open=may_open))
        elif not is_literal(host):
            self._locate(target.hop, came, partial(self._once_located, request, host, base), now)

    def _once_located(
        self, request: Request, host: str, base: bytes, flows: tuple[Flow, ...], status: int, now: float
    ) -> None:
        for flow in flows[:1]:  # nobody hears of it when there is none, or a wrong one: an ACK has no answer
            if self._refusal(flow) is None:
                request.push(b"Via", self._listeners.via(flow, base))
                self._sink.append(Send(flow, request.encode(), may_open=True, server_name=host))

    def cancel(self, branch: Branch, now: float) -> None:
        """Send a CANCEL (§9.1); wait 64*T1 for the INVITE's final response, and no longer."""
        invite = branch.transaction
        if invite is None or invite.request is None:
            return
        request = follow_up(invite.request, b"CANCEL")
        branch_of_both = invite.key.partition(b" ")[0]
        self._transactions.ask(
            branch_of_both, request, invite.flow, now, _Ignored(), natted=invite.natted,
            server_name=invite.server_name,
        )  # fmt: skip
        self._transactions.timers.start(now, self._transactions.times.give_up, Branch.gone, branch)

    def start_timer_c(self, branch: Branch, now: float) -> Timer:
        """Have the branch told when it has rung too long."""
        return self._transactions.timers.start(now, self._transactions.times.c, Branch.rang_too_long, branch)

    def flow_failed(self, branch: Branch) -> None:
        """Forget a binding whose connection is gone: nobody else could use it either (RFC 5626 §5.3.2)."""
        self.flows_failed += 1
        flow, binding = branch.target.flow, branch.target.binding
        if flow is None or binding is None or flow.transport == "udp":
            return
        found = self._location.by_id.get(binding[1])
        if found is not None and found.flow == flow:
            self._location.remove(found)

    def _hops(self, branch: Branch, now: float) -> tuple[Flow, ...] | None:
        """Return the flows to try; None while a name is looked up."""
        target, came = branch.target, branch.context.came
        if target.flow is not None:
            fresh = None if target.natted or target.flow.transport == "udp" else self._literal(target.hop, came)
            return (target.flow,) if fresh is None else (target.flow, fresh)
        flow = self._literal(target.hop, came)
        if flow is not None:
            return (flow,)
        host = target.hop.address[0]
        if is_literal(host):
            return ()  # a transport or an address family that we do not speak
        branch.server_name = host
        self._locate(target.hop, came, partial(self._branch_located, branch), now)
        return None

    def _locate(self, hop: Uri, came: Flow, go_on: GoOn, now: float) -> None:
        """Have a name looked up (RFC 3263), and `go_on(flows, status, now)` called with what was found."""
        token = b"%d" % next(self._numbers)
        self._locating[token] = came, go_on
        self._transactions.timers.start(now, LOCATE_S, self._not_located, token)
        secure = hop.scheme.lower() == b"sips"
        self._sink.append(Locate(token, hop.address[0], hop.port, hop.wanted_transport, secure))

    def _not_located(self, token: bytes, now: float) -> None:
        """Nobody could say where a name is for so long: as if the name servers were silent."""
        if token in self._locating:
            self.located(token, [], 504, now)

    def _branch_located(self, branch: Branch, flows: tuple[Flow, ...], status: int, now: float) -> None:
        if branch.final is not None:
            return
        branch.hops = flows
        if flows:
            self.forward(branch, now)
        else:
            branch.fail(status, now)

    def _literal(self, hop: Uri, came: Flow) -> Flow | None:
        """Return the flow to a URI whose host is an address: IP literals take no detour (RFC 3263 §4.2)."""
        address = hop.address
        if not is_literal(address[0]):
            return None
        return self._listeners.flow_to(hop.wanted_transport or "udp", address, came)

    def _judge(self, flow: Flow) -> tuple[int, bytes] | None:
        """Return why nothing may be sent there: 403, 482 for ourselves, 430 where we listen no more."""
        if not self._listeners.has(flow):
            return 430, REASONS[430]
        if self._listeners.is_here(flow.remote):
            return 482, b"Loops to This Proxy"
        if not may_send_to(*flow.remote, flow.local[0]):
            return 403, b"Address Not Allowed"
        return None

    def _copy(self, branch: Branch, request: Request, flow: Flow, name: bytes, now: float) -> Request:
        """Make the copy for one target (§16.6 steps 1 to 8); what is the same for all targets was done before.

        Raises SipError when its media cannot come through us.
        """
        target, context = branch.target, branch.context
        copy = request.copy()
        copy.uri = target.uri.encode()
        for value in reversed(target.routes):
            copy.push(b"Route", value)
        if request.method == b"REGISTER":
            if b"path" in [value.lower() for value in request.values(b"supported")]:
                # Only the phone's own first hop keeps its flow (RFC 5626 §5.1).
                is_first = len(request.values(b"via")) == 1
                params = b";ob" + self._flow_token(context.came, now) if is_first else b""
                copy.push(b"Path", self._listeners.route(flow, params, False))
        elif self._remedies.record_route and request.method in DIALOG_FORMING:
            ours = (context.came.remote[0] if context.vouched else "", flow.remote[0] if target.is_ours else "")
            token = route.dialog_token(self._signer, request.header(b"call-id") or b"", ours, now)
            secure = target.uri.scheme.lower() == b"sips"
            if (context.came.transport, context.came.local) != (flow.transport, flow.local):  # RFC 5658 §5
                copy.push(b"Record-Route", self._listeners.route(context.came, b";r2=on" + token, secure))
                token = b";r2=on" + token
            copy.push(b"Record-Route", self._listeners.route(flow, token, secure))
        if self._media is not None:
            caller, callee = Side(context.came, context.server.natted), Side(flow, target.natted)
            branch.media = self._media.down(copy, branch.media, caller, callee)
        copy.push(b"Via", self._listeners.via(flow, name))
        return copy

    # Up

    def relay(self, branch: Branch, response: Response, now: float) -> None:
        """Pass a response upstream."""
        context, transaction = branch.context, branch.transaction
        assert transaction is not None
        response.pop_top(b"Via")
        if self._remedies.contact and 100 < response.status < 300 and context.method in CONTACT_METHODS:
            flow = transaction.flow
            if transaction.natted or nat.has_private_contact(response, flow):
                self._contacts.publish(response, flow, now)
        if self._media is not None:
            self._relay_media(self._media, branch, transaction, response)
        if response.status >= 200:
            self._stop_trying(context)
            if context.is_invite and context.server.is_pending:
                fields = {"call_id": response.header(b"call-id"), "status": response.status, "source": transaction.flow}
                self._sink.append(Note("invite-answered", fields))
        self._transactions.respond(context.server, response, now)

    def _relay_media(self, media: Media, branch: Branch, transaction: Transaction, response: Response) -> None:
        context = branch.context
        if context.method in MEDIA_METHODS:
            caller, callee = Side(context.came, context.server.natted), Side(transaction.flow, transaction.natted)
            branch.media = media.up(response, branch.media, context.request, caller, callee)
        if branch.media is not None and 200 <= response.status < 300:
            media.settled(branch.media, context.method, response.status, response)

    def failed(self, branch: Branch) -> None:
        """Let the media of a branch go that has no success to wait for."""
        final, request = branch.final, branch.context.request
        if self._media is None or branch.media is None or final is None:
            return
        status, message = (final.status, final) if isinstance(final, Response) else (final, request)
        self._media.settled(branch.media, branch.context.method, status, message)

    def answer_for(self, context: ResponseContext, status: int, now: float) -> None:
        """Answer upstream ourselves; a non-INVITE never with 408, which would come too late (RFC 4320 §4.2)."""
        self._stop_trying(context)
        if context.request is None:
            return
        if status == 408 and not context.is_invite:
            context.server.wait_out(now)
            return
        tag = self._signer.sign(b"tag", context.base)
        self._transactions.respond(context.server, answer(context.request, status, REASONS[status], (), tag), now)

    def aggregate(self, response: Response, others: list[Response]) -> None:
        """Add the challenges of other branches (§16.7 step 7)."""
        for other in others:
            for name, value in challenges(other):
                response.keys.append(name.lower())  # below its own: the topmost is preferred (RFC 8760 §2.4)
                response.lines.append(b"%b: %b" % (name, value))

    def reopen(self, transaction: Transaction, sent_by: Address, now: float) -> None:
        """The connection that a request came by is gone: answer to its Via, unless a NAT is in between (§18.2.2)."""
        host, port = sent_by
        came = transaction.flow
        is_phone_behind_nat = host != came.remote[0] or is_private(host)
        if came.connection == 0 or is_phone_behind_nat or not may_send_to(host, port, came.local[0]):
            self._transactions.fail(transaction.key, now)
            return
        transaction.flow = Flow(came.transport, came.local, (host, port))
        if transaction.last:
            transaction.send(transaction.last)

    def _stop_trying(self, context: ResponseContext) -> None:
        if context.trying is not None:
            context.trying.cancel()
            context.trying = None

    # Flow tokens

    def _flow_token(self, flow: Flow, now: float) -> bytes:
        text = b"%b/%b/%b/%d" % (
            flow.transport.encode(), hostport(flow.local), hostport(flow.remote), flow.connection,
        )  # fmt: skip
        return b";%b=%b.%b" % (FLOW, pack(text), self._signer.sign_until(now, b"flow", text))


def flow_of(token: bytes, signer: Signer, now: float) -> Flow:
    """Return the flow that a token in our Path names. Raises SipError 403 for one that is not ours or has expired."""
    packed, _, signature = token.partition(b".")
    try:
        text = unpack(packed)
    except ValueError:
        raise SipError(403, b"Forged Flow Token") from None
    if not signer.is_current(signature, now, b"flow", text):
        raise SipError(403, b"Forged Flow Token")
    transport, local, remote, connection = text.decode("ascii").split("/")
    return Flow(transport, _address(local), _address(remote), int(connection))


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


class _Ignored:
    """Whoever asked for a CANCEL does not wait for its answer."""

    def responded(self, response: Response, now: float) -> None:
        """Nothing follows."""

    def timed_out(self, now: float) -> None:
        """Nothing follows."""

    def unreachable(self, now: float) -> None:
        """Nothing follows."""
