"""Which transaction a message belongs to (RFC 3261 §17.1.3, §17.2.3), and the tables that hold them all.

Invariant: a transaction is in its table from its making until it terminates, under one bytes key.
"""

from __future__ import annotations

from typing import Any

from proxy.core import transaction as machine
from proxy.core.effects import Effect
from proxy.core.flow import Flow
from proxy.core.timers import Timers
from proxy.core.transaction import ERROR, FAILURE, PROVISIONAL, SUCCESS, Times, Transaction
from proxy.sip.headers import Via, parse_cseq, parse_name_addr
from proxy.sip.message import Request, Response

MAGIC = b"z9hG4bK"  # RFC 3261 §8.1.1.7: a branch of this RFC's making


class Transactions:
    """All transactions, their timers, and the list into which they put what is to be sent."""

    def __init__(self, times: Times, sink: list[Effect]) -> None:
        self.times = times
        self.timers = Timers()
        self.sink = sink
        self.retransmissions = 0  # sent by our timers
        self.servers: dict[bytes, Transaction] = {}
        self.clients: dict[bytes, Transaction] = {}
        self.pending = 0  # server transactions that have no final response yet
        self.pending_bytes = 0  # of their requests

    def __len__(self) -> int:
        """Return how many transactions live."""
        return len(self.servers) + len(self.clients)

    def serve(self, key: bytes, request: Request, flow: Flow, user: Any, size: int = 0) -> Transaction:
        """Return a new server transaction for a request of `size` bytes; its user is told when it has `ended`."""
        invite = request.method == b"INVITE"
        table, state = (
            (machine.INVITE_SERVER, machine.PROCEEDING) if invite else (machine.NON_INVITE_SERVER, machine.TRYING)
        )
        transaction = self.servers[key] = Transaction(self, key, table, state, flow, request, user)
        transaction.is_pending = transaction.is_server = True
        transaction.size = size
        self.pending += 1
        self.pending_bytes += size
        return transaction

    def ask(
        self, branch: bytes, request: Request, flow: Flow, now: float, user: Any, *,
        data: bytes = b"", natted: bool = False, server_name: str = "",
    ) -> Transaction:  # fmt: skip
        """Send a request in a new client transaction; its answers go to `user`. `data` is it encoded, if it is."""
        key = client_key(branch, request.method)
        invite = request.method == b"INVITE"
        table, state = (
            (machine.INVITE_CLIENT, machine.CALLING) if invite else (machine.NON_INVITE_CLIENT, machine.TRYING)
        )
        transaction = self.clients[key] = Transaction(self, key, table, state, flow, request, user)
        transaction.natted = natted
        transaction.server_name = server_name
        transaction.last = data or request.encode()
        machine.send(transaction, now, None)
        machine.run_retransmit(transaction, now, None)
        machine.give_up(transaction, now, None)
        return transaction

    def respond(self, transaction: Transaction, response: Response, now: float) -> None:
        """Send a response in a server transaction."""
        if transaction.state in {machine.PROCEEDING, machine.TRYING}:
            transaction.last = response.encode()
            if response.status >= 200:
                self.settled(transaction)
        transaction.step(input_of(response.status), now, response)

    def fail(self, token: bytes, now: float) -> None:
        """Tell the transaction that the transport could not send what it sent."""
        transaction = self.clients.get(token) or self.servers.get(token)
        if transaction is not None:
            transaction.step(ERROR, now)

    def settled(self, transaction: Transaction) -> None:
        """Count a server transaction as done: it has its final response, or will get none."""
        if transaction.is_pending:
            transaction.is_pending = False
            self.pending -= 1
            self.pending_bytes -= transaction.size

    def forget(self, transaction: Transaction) -> None:
        """Take a terminated transaction out of its table."""
        self.settled(transaction)
        if transaction.is_server and transaction.user is not None:
            transaction.user.ended()
        table = self.servers if transaction.is_server else self.clients
        if table.get(transaction.key) is transaction:
            del table[transaction.key]


_INPUTS = (PROVISIONAL,) * 200 + (SUCCESS,) * 100 + (FAILURE,) * 400
input_of = _INPUTS.__getitem__  # which input of the machines a status is


def client_key(branch: bytes, method: bytes) -> bytes:
    """Return the key of a client transaction: our branch, and the CSeq's method (§17.1.3)."""
    return branch + b" " + method


def server_key(request: Request, via: Via, method: bytes) -> bytes:
    """Return the key of the server transaction that a request belongs to (§17.2.3), or would begin.

    `via` is the top one as it came, `method` the request's, but INVITE for an ACK, and for a CANCEL what it cancels.
    A branch without the magic cookie is RFC 2543's: then everything that is the same in an ACK and a CANCEL counts.
    Raises SipError 400.
    """
    branch = via.branch
    if branch[:7].lower() == b"z9hg4bk" and len(branch) > len(MAGIC):
        return b"%b %b:%d %b" % (branch, via.host, via.port or 0, method)
    number, _ = parse_cseq(request.header(b"cseq") or b"")
    sender = parse_name_addr(request.header(b"from") or b"").tag or b""
    call_id = request.header(b"call-id") or b""
    return b"\0".join((b"2543", request.uri, sender, call_id, b"%d" % number, via.encode(), method))
