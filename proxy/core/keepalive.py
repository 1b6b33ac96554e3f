"""Keeping the holes of registered phones open: stateless OPTIONS on their flows, and answers to their own keep-alives.

Every phone behind a NAT is asked once an interval, spread over it. The From tag names the binding, signed, so that the
answer needs no transaction; any answer is a sign of life. One that stays silent too often is removed.
"""

from __future__ import annotations

from collections import deque

from proxy.core.effects import Effect, Note, Send
from proxy.core.flow import Flow
from proxy.core.listeners import Listeners, hostport
from proxy.core.location import Binding, Location
from proxy.core.signer import Signer
from proxy.core.timers import Timers
from proxy.sip.headers import parse_name_addr
from proxy.sip.message import Response

TICK_S = 1.0
SWEEP_S = 60  # where nobody is asked, expired bindings are looked for all the same
BRANCH = b"z9hG4bKalive-"  # no transaction has such a branch


class Keepalive:
    """Goes round all bindings. `interval_s` is in whole seconds, 0: never; `misses` is how many are forgiven."""

    def __init__(
        self, location: Location, listeners: Listeners, signer: Signer, timers: Timers, sink: list[Effect],
        interval_s: int, misses: int,
    ) -> None:  # fmt: skip
        self.removed = 0
        self.sent = 0
        self._location = location
        self._listeners = listeners
        self._signer = signer
        self._timers = timers
        self._sink = sink
        self._interval_s = interval_s
        self._misses = misses
        self._round: deque[int] = deque()
        self._next_round_at = 0.0
        self._a_tick = 0

    def tick(self, argument: object, now: float) -> None:
        """Ask those whose turn it is, and come again in a second."""
        self._timers.start(now, TICK_S, self.tick, None)
        if not self._round and now >= self._next_round_at:
            self._round.extend(self._location.by_id)
            interval_s = self._interval_s or SWEEP_S
            self._a_tick = -(-len(self._round) // interval_s)
            self._next_round_at = now + interval_s
        for _ in range(min(self._a_tick, len(self._round))):
            binding = self._location.by_id.get(self._round.popleft())
            if binding is not None and binding.expires_at <= now:
                self._location.remove(binding)
            elif binding is not None and binding.natted and self._interval_s:
                self._ask(binding)

    def answered(self, response: Response, flow: Flow) -> bool:
        """Take the answer to one of our OPTIONS; False when it is none."""
        tag = parse_name_addr(response.header(b"from") or b"").tag or b""
        number, _, signature = tag.partition(b".")
        if not number.isdigit() or not self._signer.verify(signature, b"alive", number):
            return False
        binding = self._location.by_id.get(int(number))
        if binding is not None and binding.flow.remote == flow.remote:
            binding.misses = 0
        return True

    def _ask(self, binding: Binding) -> None:
        if binding.misses >= self._misses or not self._listeners.has(binding.flow):
            self.removed += 1
            self._location.remove(binding)
            self._sink.append(Note("binding-dead", {"aor": binding.aor, "flow": binding.flow}))
            return
        binding.misses += 1
        self.sent += 1
        number = b"%d" % binding.id
        here = hostport(binding.flow.local)
        token = self._signer.sign(b"alive", number)
        lines = (
            b"OPTIONS %b SIP/2.0" % binding.contact,
            b"Via: " + self._listeners.via(binding.flow, BRANCH + b"%b-%d" % (number, self.sent)),
            b"Max-Forwards: 70",
            b"From: <sip:alive@%b>;tag=%b.%b" % (here, number, token),
            b"To: <%b>" % binding.contact,
            b"Call-ID: alive-%b-%d@%b" % (number, self.sent, here),
            b"CSeq: 1 OPTIONS",
            b"Content-Length: 0",
            b"",
            b"",
        )
        self._sink.append(Send(binding.flow, b"\r\n".join(lines)))
