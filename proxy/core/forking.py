"""The response context (RFC 3261 §16.7 to §16.10): one request, the branches it was forwarded on, and the best answer.

Targets of one q are tried together, groups one after another. The invariant: upstream gets every 2xx to an INVITE, and
exactly one other final response at the most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from proxy.core.flow import Address, Flow
from proxy.core.target import Target
from proxy.core.timers import Timer
from proxy.core.transaction import Transaction, end
from proxy.sip.message import Request, Response

# The 4xx that tell the caller how to do better (§16.7 step 6).
_INSTRUCTIVE = frozenset((401, 407, 415, 420, 484))
_CHALLENGES = {401: b"www-authenticate", 407: b"proxy-authenticate"}


class Forwarder(Protocol):
    """What a response context needs of the engine."""

    def forward(self, branch: Branch, now: float) -> None:
        """Send the branch's request to its target, or to the next hop that the target has left."""

    def relay(self, branch: Branch, response: Response, now: float) -> None:
        """Pass a response upstream."""

    def answer_for(self, context: ResponseContext, status: int, now: float) -> None:
        """Answer upstream ourselves."""

    def aggregate(self, response: Response, others: list[Response]) -> None:
        """Add the challenges of other responses to the one that is forwarded."""

    def cancel(self, branch: Branch, now: float) -> None:
        """Send a CANCEL on a branch, and have `gone` called if that leads to nothing."""

    def start_timer_c(self, branch: Branch, now: float) -> Timer:
        """Have `rang_too_long` called after Timer C."""

    def flow_failed(self, branch: Branch) -> None:
        """A registered flow does not exist any more."""

    def failed(self, branch: Branch) -> None:
        """A branch whose media comes through us has no success to wait for any more."""


class Branch:
    """One target of a request: the user of its client transaction.

    `hops` are flows still to be tried, in order (RFC 3263 §4.3); `final` is a final response, a status of our own
    making, or None while the branch is pending. `media` is the forwarder's: set when media comes through us.
    """

    __slots__ = (
        "cancelled", "context", "final", "hops", "may_grow", "media", "ringing", "server_name", "target", "timer_c",
        "transaction",
    )  # fmt: skip

    def __init__(self, context: ResponseContext, target: Target) -> None:
        self.context = context
        self.target = target
        self.may_grow = True  # may still be sent by TCP for its length
        self.transaction: Transaction | None = None
        self.hops: tuple[Flow, ...] | None = None  # None: not located yet
        self.server_name = ""
        self.final: Response | int | None = None
        self.ringing = False
        self.cancelled = False
        self.timer_c: Timer | None = None
        self.media: Any = None

    def responded(self, response: Response, now: float) -> None:
        """Take a response from the client transaction."""
        context = self.context
        if response.status < 200:
            self._provisional(response, now)
        elif response.status < 300:
            self._finish(response.status)
            context.core.relay(self, response, now)
            context.succeeded(now)
        elif response.status == 503 and self.hops and not self.cancelled:
            self._try_next(now)
        elif response.status == 430 and self.target.spares:
            self.fail(430, now)
        else:
            self._finish(response)
            context.settle(now)

    def timed_out(self, now: float) -> None:
        """Nobody answered (§16.7: as if a 408 had come)."""
        self.fail(408, now)

    def unreachable(self, now: float) -> None:
        """The transport could not send (§16.9: as if a 503 had come); the flow of a phone is gone (RFC 5626 §5.3)."""
        if self.target.flow is not None and not self.hops:
            self.context.core.flow_failed(self)
            self.fail(430, now)
        else:
            self.fail(503, now)

    def fail(self, status: int, now: float) -> None:
        """End with a status of our own, if there is no other hop to try, and no other flow of the same phone."""
        if self.final is not None:
            return
        if self.hops and status in {408, 503} and not self.cancelled:
            self._try_next(now)
            return
        if self.target.spares and status in {408, 430} and not self.cancelled:  # RFC 5626 §5.3
            spare = self.target.spares[0]
            spare.spares = self.target.spares[1:]
            self.target, self.hops, self.may_grow = spare, None, True
            self._try_next(now)
            return
        self._finish(487 if self.cancelled else status)
        self.context.settle(now)

    def cancel(self, now: float) -> None:
        """Have a pending branch end: at once if it was not sent yet, with a CANCEL when somebody is there (§9.1)."""
        if self.final is not None or self.cancelled:
            return
        self.cancelled = True
        if self.transaction is None:
            self.final = 487
        elif self.ringing and self.context.is_invite:
            self.context.core.cancel(self, now)

    def gone(self, now: float) -> None:
        """There is no final response to the INVITE 64*T1 after its CANCEL: it counts as cancelled (§9.1)."""
        if self.final is None and self.transaction is not None:
            end(self.transaction, now, None)
            self.fail(487, now)

    def rang_too_long(self, now: float) -> None:
        """Timer C (§16.8): a CANCEL; before the first provisional response Timer B ends the branch."""
        self.timer_c = None
        if self.final is None:
            self.cancel(now)

    def _provisional(self, response: Response, now: float) -> None:
        context = self.context
        is_first, self.ringing = not self.ringing, True
        if not context.is_invite:
            return  # RFC 4320 §4.1: none but 100, and that is hop by hop
        if self.cancelled:
            if is_first:
                context.core.cancel(self, now)
            return
        if response.status > 100 or self.timer_c is None:
            if self.timer_c is not None:
                self.timer_c.cancel()
            self.timer_c = context.core.start_timer_c(self, now)
        if response.status > 100:
            context.core.relay(self, response, now)

    def _try_next(self, now: float) -> None:
        """Forward once more; there nobody rings yet."""
        self._stop_timer_c()
        self.ringing = False
        self.transaction = None
        self.context.core.forward(self, now)

    def _finish(self, final: Response | int) -> None:
        self.final = final
        self._stop_timer_c()
        if self.media is not None and _status(final) >= 300:
            self.context.core.failed(self)

    def _stop_timer_c(self) -> None:
        if self.timer_c is not None:
            self.timer_c.cancel()
            self.timer_c = None


class ResponseContext:
    """One request on its way.

    `request` is what the copies for the targets are made of, None once it is answered; `came` is the flow it came by,
    and `sent_by` where its top Via says that it came from; `base` is what the branches of all its copies begin with.
    """

    __slots__ = (
        "answered", "base", "branches", "came", "cancelled", "core", "groups", "is_invite", "method", "request",
        "sent_by", "server", "trying", "vouched",
    )  # fmt: skip

    def __init__(
        self, core: Forwarder, server: Transaction, request: Request, groups: tuple[Sequence[Target], ...], came: Flow,
        sent_by: Address, base: bytes,
    ) -> None:  # fmt: skip
        self.core = core
        self.server = server
        self.request: Request | None = request
        self.groups = groups
        self.came = came
        self.sent_by = sent_by
        self.base = base
        self.branches: tuple[Branch, ...] = ()
        self.method = request.method
        self.is_invite = request.method == b"INVITE"
        self.answered = False  # a final response went upstream
        self.cancelled = False
        self.trying: Timer | None = None
        self.vouched = False  # the sender may send through us to anywhere

    def ended(self) -> None:
        """The server transaction is over: let go of the branches, which hold us too."""
        self.branches = ()

    def begin(self, now: float) -> None:
        """Forward to the next group of targets."""
        branches = [Branch(self, target) for target in self.groups[0]]
        self.groups = self.groups[1:]
        self.branches += tuple(branches)
        for branch in branches:
            self.core.forward(branch, now)

    def cancel(self, now: float) -> None:
        """The caller gave up (§16.10): every pending branch ends, no other begins."""
        self.cancelled = True
        self.groups = ()
        for branch in self.branches:
            branch.cancel(now)
        self.settle(now)

    def succeeded(self, now: float) -> None:
        """A 2xx has been forwarded: the others have lost."""
        self.answered = True
        self._let_go()
        for branch in self.branches:
            branch.cancel(now)

    def settle(self, now: float) -> None:
        """See whether the best answer is known (§16.7 step 6), or the next group's turn has come."""
        if self.answered:
            return
        if any(_status(branch.final) >= 600 for branch in self.branches):
            self.groups = ()
            for branch in self.branches:
                branch.cancel(now)
        if any(branch.final is None for branch in self.branches):
            return
        if self.groups:
            self.begin(now)
            return
        self.answered = True
        best = min((branch for branch in self.branches), key=lambda branch: _rank(_status(branch.final)))
        status = _status(best.final)
        if isinstance(best.final, Response) and status not in {430, 503} and (status != 408 or self.is_invite):
            if status in _CHALLENGES:
                others = [branch.final for branch in self.branches if branch is not best]
                self.core.aggregate(best.final, [other for other in others if isinstance(other, Response)])
            self.core.relay(best, best.final, now)
            for branch in self.branches:
                branch.final = _status(branch.final)  # the responses themselves are of no more use
        else:
            # A 503 is about the next hop, not about us; so is a flow that failed, but to the proxy that chose it
            # (§16.7 step 6, RFC 5626 §5.3). Nor is somebody else's 408 to a non-INVITE passed on: it comes too late
            # (RFC 4320 §4.2).
            instead = {503: 500, 430: 430 if best.target.is_edge else 480}
            self.core.answer_for(self, instead.get(status, status), now)
        self._let_go()

    def _let_go(self) -> None:
        """Keep nothing for a request that is answered: thousands of them wait for retransmissions."""
        self.request = None
        self.groups = ()
        self.base = b""


def challenges(response: Response) -> list[tuple[bytes, bytes]]:
    """Return the (name, value) of each challenge header line in a 401 or 407."""
    names = {b"www-authenticate": b"WWW-Authenticate", b"proxy-authenticate": b"Proxy-Authenticate"}
    return [
        (names[key], line.partition(b":")[2].strip())
        for key, line in zip(response.keys, response.lines, strict=True)
        if response.status in _CHALLENGES and key in names
    ]


def _status(final: Response | int | None) -> int:
    return final.status if isinstance(final, Response) else final or 0


def _rank(status: int) -> tuple[int, bool, bool]:
    """6xx before all, then the lowest class; within 4xx what helps the caller; what is about one next hop last."""
    kind = status // 100
    return (0 if kind == 6 else kind, status not in _INSTRUCTIVE, status in {430, 503})
