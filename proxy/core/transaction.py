"""The four transaction machines as tables (RFC 3261 §17, with RFC 6026's Accepted state and RFC 4320).

`TABLE[state][input] = (next state, actions)`. A pair that is not listed is absorbed: retransmissions that need no
answer, responses and timers that come too late. The invariant: a transaction that has terminated runs no timer and is
in no table.

What a transaction has to say goes to its user through `tell`: a response, TIMEOUT or ERROR.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from proxy.core.effects import Send
from proxy.core.flow import Flow
from proxy.core.timers import Timer
from proxy.sip.message import Message, Request, Response

if TYPE_CHECKING:
    from proxy.core.transactions import Transactions

# States
CALLING, TRYING, PROCEEDING, COMPLETED = "calling", "trying", "proceeding", "completed"
CONFIRMED, ACCEPTED, TERMINATED = "confirmed", "accepted", "terminated"

# Inputs
REQUEST, ACK = "request", "ack"  # from the network: a retransmission of the request, the ACK for a final response
PROVISIONAL, SUCCESS, FAILURE = "1xx", "2xx", "300-699"  # a response, from the network or from the user
RETRANSMIT, TIMEOUT = "retransmit", "timeout"  # timers A, E, G; all others, which end a state
ERROR = "error"  # the transport could not send

D_S = 32.0  # seconds: the least that Timer D may be (Table 4)


@dataclass(slots=True, frozen=True)
class Times:
    """The base timers in seconds (RFC 3261 §17.1.1.1, Table 4); the others follow from them."""

    t1: float = 0.5  # round-trip time
    t2: float = 4.0  # the longest interval between retransmissions
    t4: float = 5.0  # the longest that a message stays in the network
    c: float = 181.0  # how long an INVITE may ring (§16.6 step 11: more than three minutes)

    give_up: float = field(init=False)  # 64*T1: timers B, F, H, J, L, M
    d: float = field(init=False)  # Timer D: the server's T1 may be another (§17.1.1.2)
    late_trying: float = field(init=False)  # when a non-INVITE gets its 100 (RFC 4320 §4.1): when Timer E comes to T2

    def __post_init__(self) -> None:
        """Work out what follows: each transaction asks."""
        interval, passed = self.t1, 0.0
        while interval < self.t2:
            passed += interval
            interval *= 2
        for name, value in (("give_up", 64 * self.t1), ("d", max(D_S, 64 * self.t1)), ("late_trying", passed)):
            object.__setattr__(self, name, value)


class Transaction:
    """One transaction: what it is about, where it sends, and its place in its table.

    `last` is what a retransmission sends again. `user` is who made it: for a client transaction it is told responses,
    TIMEOUT and ERROR; for a server transaction ERROR and the end.
    """

    __slots__ = (
        "flow", "interval", "is_pending", "is_reliable", "is_server", "key", "last", "layer", "natted", "request",
        "retransmit", "server_name", "size", "state", "table", "timeout", "user",
    )  # fmt: skip

    def __init__(
        self, layer: Transactions, key: bytes, table: Table, state: str, flow: Flow, request: Request | None, user: Any
    ) -> None:
        self.layer = layer
        self.key = key
        self.table = table
        self.state = state
        self.flow = flow
        self.is_reliable = flow.transport != "udp"  # the transport retransmits by itself
        self.request = request
        self.user = user
        self.last = b""
        self.interval = layer.times.t1
        self.retransmit: Timer | None = None
        self.timeout: Timer | None = None
        self.server_name = ""
        self.is_pending = False
        self.is_server = False
        self.size = 0  # bytes of the request, while it waits for its answer
        self.natted = False  # the other end is a phone behind a NAT: no connection is ever opened towards it

    def step(self, happened: str, now: float, message: Message | None = None) -> bool:
        """Let one input happen; return False when the table has no place for it."""
        row = self.table[self.state].get(happened)
        if row is None:
            return False
        self.state, actions = row
        for action in actions:
            action(self, now, message)
        if self.state is TERMINATED:
            self.user = None  # else it and its user would hold each other until the garbage collector comes
        return True

    def send(self, data: bytes) -> None:
        """Hand bytes to the transport."""
        may_open = self.flow.connection == 0 and not self.natted
        self.layer.sink.append(Send(self.flow, data, self.key, may_open, self.server_name))

    def wait_out(self, now: float) -> None:
        """Give no answer: absorb retransmissions until whoever asked has given up too."""
        self.layer.settled(self)
        give_up(self, now, None)


Action = Callable[[Transaction, float, Message | None], None]
Table = dict[str, dict[str, tuple[str, tuple[Action, ...]]]]


# Actions. What is sent for the first time has been put into `last` by whoever made the input.


def send(transaction: Transaction, now: float, message: Message | None) -> None:
    """Send `last`, or send it again."""
    transaction.send(transaction.last)


def pass_by(transaction: Transaction, now: float, message: Message | None) -> None:
    """Send a response that is not the transaction's last word: a 2xx after another final response."""
    if message is not None:
        transaction.send(message.encode())


def tell(transaction: Transaction, now: float, message: Message | None) -> None:
    """Hand a response to the user."""
    assert isinstance(message, Response)
    transaction.user.responded(message, now)


def tell_timeout(transaction: Transaction, now: float, message: Message | None) -> None:
    """Tell the user that nobody answered."""
    transaction.user.timed_out(now)


def tell_error(transaction: Transaction, now: float, message: Message | None) -> None:
    """Tell the user that the transport could not send."""
    transaction.user.unreachable(now)


def acknowledge(transaction: Transaction, now: float, message: Message | None) -> None:
    """Send the ACK for a final response other than 2xx (§17.1.1.3): same Via, same Request-URI, To of the response."""
    assert transaction.request is not None
    assert message is not None
    transaction.last = follow_up(transaction.request, b"ACK", to=message.header(b"to")).encode()
    transaction.send(transaction.last)


def _run_timeout(delay: Callable[[Times], float]) -> Action:
    def run(transaction: Transaction, now: float, message: Message | None) -> None:
        if transaction.timeout is not None:
            transaction.timeout.cancel()
        layer = transaction.layer
        transaction.timeout = layer.timers.start(now, delay(layer.times), _timed_out, transaction)

    return run


def _absorb_for(delay: Callable[[Times], float]) -> Action:
    """Stay a while to absorb retransmissions; not on a reliable transport, where none come."""
    run = _run_timeout(delay)

    def stay(transaction: Transaction, now: float, message: Message | None) -> None:
        stop(transaction, now, message)
        transaction.request = None
        if transaction.is_reliable:
            end(transaction, now, message)
        else:
            run(transaction, now, message)

    return stay


def run_retransmit(transaction: Transaction, now: float, message: Message | None) -> None:
    """Start Timer A, E or G: T1 at first."""
    if not transaction.is_reliable:
        layer = transaction.layer
        transaction.interval = layer.times.t1
        transaction.retransmit = layer.timers.start(now, transaction.interval, _retransmit, transaction)


def double(transaction: Transaction, now: float, message: Message | None) -> None:
    """Start Timer A again, after twice as long (§17.1.1.2)."""
    transaction.interval *= 2
    transaction.retransmit = transaction.layer.timers.start(now, transaction.interval, _retransmit, transaction)


def double_to_t2(transaction: Transaction, now: float, message: Message | None) -> None:
    """Start Timer E or G again, after twice as long but T2 at most."""
    transaction.interval = min(2 * transaction.interval, transaction.layer.times.t2)
    transaction.retransmit = transaction.layer.timers.start(now, transaction.interval, _retransmit, transaction)


def again_at_t2(transaction: Transaction, now: float, message: Message | None) -> None:
    """Start Timer E again after T2: somebody is there and works on it (§17.1.2.2)."""
    transaction.interval = transaction.layer.times.t2
    transaction.retransmit = transaction.layer.timers.start(now, transaction.interval, _retransmit, transaction)


def stop(transaction: Transaction, now: float, message: Message | None) -> None:
    """Stop both timers."""
    for timer in (transaction.retransmit, transaction.timeout):
        if timer is not None:
            timer.cancel()
    transaction.retransmit = transaction.timeout = None


def let_go(transaction: Transaction, now: float, message: Message | None) -> None:
    """Keep no request that nobody needs again: many transactions wait here for retransmissions."""
    transaction.request = None


def let_go_of_all(transaction: Transaction, now: float, message: Message | None) -> None:
    """Nor what was sent, where nothing is sent again. A stream may break under it, and be opened anew (§18.4)."""
    transaction.request = None
    if not transaction.is_reliable:
        transaction.last = b""


def end(transaction: Transaction, now: float, message: Message | None) -> None:
    """Leave the table and let go of everything."""
    stop(transaction, now, message)
    transaction.state = TERMINATED
    transaction.layer.forget(transaction)
    transaction.request = None


def _retransmit(transaction: Transaction, now: float) -> None:
    transaction.layer.retransmissions += 1
    transaction.step(RETRANSMIT, now)


def _timed_out(transaction: Transaction, now: float) -> None:
    transaction.step(TIMEOUT, now)


give_up = _run_timeout(attrgetter("give_up"))  # Timers B, F, H, L, M: RFC 6026 keeps L and M on any transport
_linger = _absorb_for(attrgetter("give_up"))  # Timer J
_linger_d = _absorb_for(attrgetter("d"))  # Timer D
_linger_t4 = _absorb_for(attrgetter("t4"))  # Timers I and K

INVITE_CLIENT: Table = {
    CALLING: {
        RETRANSMIT: (CALLING, (send, double)),  # Timer A
        TIMEOUT: (TERMINATED, (end, tell_timeout)),  # Timer B
        PROVISIONAL: (PROCEEDING, (stop, tell)),
        SUCCESS: (ACCEPTED, (stop, let_go_of_all, give_up, tell)),  # Timer M
        FAILURE: (COMPLETED, (acknowledge, _linger_d, tell)),  # Timer D
        ERROR: (TERMINATED, (end, tell_error)),
    },
    PROCEEDING: {
        PROVISIONAL: (PROCEEDING, (tell,)),
        SUCCESS: (ACCEPTED, (let_go_of_all, give_up, tell)),
        FAILURE: (COMPLETED, (acknowledge, _linger_d, tell)),
    },
    COMPLETED: {
        FAILURE: (COMPLETED, (send,)),  # the same ACK again (§17.1.1.2)
        TIMEOUT: (TERMINATED, (end,)),
        ERROR: (TERMINATED, (end,)),
    },
    ACCEPTED: {
        SUCCESS: (ACCEPTED, (tell,)),
        TIMEOUT: (TERMINATED, (end,)),
    },
    TERMINATED: {},
}

NON_INVITE_CLIENT: Table = {
    TRYING: {
        RETRANSMIT: (TRYING, (send, double_to_t2)),  # Timer E
        TIMEOUT: (TERMINATED, (end, tell_timeout)),  # Timer F
        PROVISIONAL: (PROCEEDING, (tell,)),
        SUCCESS: (COMPLETED, (let_go_of_all, _linger_t4, tell)),  # Timer K
        FAILURE: (COMPLETED, (let_go_of_all, _linger_t4, tell)),
        ERROR: (TERMINATED, (end, tell_error)),
    },
    PROCEEDING: {
        RETRANSMIT: (PROCEEDING, (send, again_at_t2)),
        TIMEOUT: (TERMINATED, (end, tell_timeout)),
        PROVISIONAL: (PROCEEDING, (tell,)),
        SUCCESS: (COMPLETED, (let_go_of_all, _linger_t4, tell)),
        FAILURE: (COMPLETED, (let_go_of_all, _linger_t4, tell)),
        ERROR: (TERMINATED, (end, tell_error)),
    },
    COMPLETED: {TIMEOUT: (TERMINATED, (end,))},
    TERMINATED: {},
}

INVITE_SERVER: Table = {
    PROCEEDING: {
        REQUEST: (PROCEEDING, (send,)),
        PROVISIONAL: (PROCEEDING, (send,)),
        SUCCESS: (ACCEPTED, (send, let_go_of_all, give_up)),  # Timer L
        FAILURE: (COMPLETED, (send, let_go, run_retransmit, give_up)),  # Timers G and H
    },
    COMPLETED: {
        REQUEST: (COMPLETED, (send,)),
        RETRANSMIT: (COMPLETED, (send, double_to_t2)),
        ACK: (CONFIRMED, (let_go_of_all, _linger_t4)),  # Timer I
        SUCCESS: (COMPLETED, (pass_by,)),  # RFC 3261 §16.7 step 5: a 2xx is forwarded, come when it may
        TIMEOUT: (TERMINATED, (end,)),
        ERROR: (TERMINATED, (end,)),
    },
    CONFIRMED: {
        ACK: (CONFIRMED, ()),  # to absorb it is what this state is for (§17.2.1)
        SUCCESS: (CONFIRMED, (pass_by,)),
        TIMEOUT: (TERMINATED, (end,)),
    },
    ACCEPTED: {
        SUCCESS: (ACCEPTED, (pass_by,)),  # a retransmission, or another branch's
        TIMEOUT: (TERMINATED, (end,)),
    },
    TERMINATED: {},
}

NON_INVITE_SERVER: Table = {
    TRYING: {
        PROVISIONAL: (PROCEEDING, (send,)),
        SUCCESS: (COMPLETED, (send, _linger)),  # Timer J
        FAILURE: (COMPLETED, (send, _linger)),
        TIMEOUT: (TERMINATED, (end,)),
    },
    PROCEEDING: {
        REQUEST: (PROCEEDING, (send,)),
        PROVISIONAL: (PROCEEDING, (send,)),
        SUCCESS: (COMPLETED, (send, _linger)),
        FAILURE: (COMPLETED, (send, _linger)),
        TIMEOUT: (TERMINATED, (end,)),
    },
    COMPLETED: {
        REQUEST: (COMPLETED, (send,)),
        TIMEOUT: (TERMINATED, (end,)),
        ERROR: (TERMINATED, (end,)),
    },
    TERMINATED: {},
}

TABLES = {
    "INVITE client": INVITE_CLIENT,
    "non-INVITE client": NON_INVITE_CLIENT,
    "INVITE server": INVITE_SERVER,
    "non-INVITE server": NON_INVITE_SERVER,
}


def follow_up(request: Request, method: bytes, to: bytes | None = None) -> Request:
    """Return the ACK or CANCEL for a request that we sent (§9.1, §17.1.1.3): its top Via, Request-URI, Routes."""
    number = (request.header(b"cseq") or b"").split()[0]
    fields = [(b"Via", request.values(b"via")[0])]
    fields += [(b"Route", route) for route in request.values(b"route")]
    fields += [
        (b"Max-Forwards", b"70"),
        (b"From", request.header(b"from") or b""),
        (b"To", to or request.header(b"to") or b""),
        (b"Call-ID", request.header(b"call-id") or b""),
        (b"CSeq", b"%b %b" % (number, method)),
        (b"Content-Length", b"0"),
    ]
    keys = [name.lower() for name, _ in fields]
    lines = [b"%b: %b" % field for field in fields]
    first = dict(zip(reversed(keys), [value for _, value in reversed(fields)], strict=True))
    return Request(method, request.uri, b"SIP/2.0", lines, keys, first, b"")
