"""Coverage-guided: the whole engine, by a sequence of steps: datagrams, pieces of streams, answers, failures, time.

An input is a first byte that chooses the proxy, and steps with SEPARATOR between them. A step is a byte for what
happens, a byte that says where or how much, and bytes that go along. Of every step: nothing is raised, what leaves is
SIP without a defect, and goes only where a proxy may send. In the end: nothing is left. See README.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext

try:
    import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]
except ModuleNotFoundError:  # requirements.txt; test_targets.py does without
    atheris = None

with atheris.instrument_imports(include=["proxy"]) if atheris else nullcontext():
    from proxy.core.effects import Effect, Locate, Send
    from proxy.core.flow import Address, Flow, may_send_to
    from proxy.sip.framing import PING, StreamError, StreamReader
    from proxy.sip.message import Request
    from proxy.sip.parse import parse
    from tests.flows.follow import users
    from tests.flows.ladder import MAPPED_BOB, Ladder, Sent

SEPARATOR = b"\xf5\xf5"  # in no UTF-8 text
MOST_STEPS = 20
MOST_EFFECTS = 400  # of one step: some requests that time out together
SOURCES: list[Address] = [
    ("198.51.100.20", 40_000), ("198.51.100.200", 5060), ("10.77.1.100", 5060), ("2001:db8::1", 9),
    ("198.51.100.10", 5060), ("127.0.0.1", 1),
]  # fmt: skip
DELAYS = [0.0, 0.1, 0.5, 5.0, 25.0, 33.0, 182.0, 4000.0]  # seconds
STATUSES = [100, 180, 183, 199, 200, 202, 302, 401, 407, 408, 430, 480, 486, 487, 500, 503, 600, 603, 699]
FOR_EVER = 600.0  # seconds: longer than Timer C, its CANCEL and what comes after
MEDIA_PORTS = range(30_000, 30_016, 2)
COPIED = {b"via", b"from", b"to", b"call-id", b"cseq", b"record-route"}
SDP = b"v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\nc=IN IP4 10.0.0.1\r\nm=audio 6000 RTP/AVP 0\r\n"
USERS = users(b"alice", b"bob")
PROXIES: list[Callable[[], Ladder]] = [
    lambda: Ladder(mapping=MAPPED_BOB, also=("2001:db8::10", 5060), transports=("udp", "tcp", "tls")),
    lambda: Ladder(mapping=MAPPED_BOB, users=USERS),
    lambda: Ladder(mapping=MAPPED_BOB, allowed=["198.51.100.20"], keepalive_s=25),
    lambda: Ladder(mapping=MAPPED_BOB, without=["received", "rport", "contact", "record_route", "flow"]),
    lambda: Ladder(mapping=MAPPED_BOB, allowed=["198.51.100.20"], domains=["example.com", "example.net"]),
    lambda: Ladder(mapping=MAPPED_BOB, also=("2001:db8::10", 5060), relay=("always", MEDIA_PORTS)),
]


def is_stun(effect: Effect) -> bool:
    return isinstance(effect, Send) and effect.data.startswith(b"\1\1")


class Run:
    """One proxy, and all that it sent."""

    def __init__(self, ladder: Ladder) -> None:
        self.ladder = ladder
        self.sent: list[Sent] = []
        self.readers: dict[int, StreamReader] = {}
        if ladder.engine.policy.keepalive_s:
            self.take(ladder.engine.start(ladder.now))

    def take(self, effects: list[Effect]) -> None:
        """Look at what a step led to."""
        assert len(effects) <= MOST_EFFECTS, "one step led to very much"
        for effect in effects:
            if isinstance(effect, Send):
                flow = effect.flow
                assert flow.connection or may_send_to(*flow.remote, flow.local[0]), f"sent to {flow}"
                if not is_stun(effect):
                    message = parse(effect.data)
                    assert not isinstance(message, Request) or message.defect is None, message.defect
        self.check_ports()
        if effects:
            self.sent += self.ladder.carry_out([each for each in effects if not is_stun(each)])

    def receive(self, data: bytes, flow: Flow) -> None:
        self.take(self.ladder.engine.receive(data, flow, self.ladder.now))

    def check_ports(self) -> None:
        """Every media port is free, or one session's."""
        media = self.ladder.engine.media
        if media is not None:
            streams = [stream for session in media.sessions.values() for stream in session.streams.values()]
            known = [*media.free, *(port for stream in streams for _, port in stream.here)]
            assert sorted(known) == list(MEDIA_PORTS), "ports are lost, or used twice"

    # The steps: `more` is the second byte, `data` what follows

    def datagram(self, more: int, data: bytes) -> None:
        source = SOURCES[more % len(SOURCES)]
        flow = self.ladder.listeners.flow_to("udp", source)
        if flow is not None:
            self.receive(data, flow)

    def stream(self, more: int, data: bytes) -> None:
        """More bytes on one of four connections."""
        number = more % 4 + 1
        transport = "tls" if number == 4 and self.ladder.listeners.speaks("tls") else "tcp"
        reader = self.readers.setdefault(number, StreamReader(16_384, 65_535))
        flow = self.ladder.flow(SOURCES[0], transport, number)
        head = None
        try:
            items = reader.feed(data)
        except StreamError as error:
            items, head = error.before, error.head
            del self.readers[number]
        for item in items:
            if item != PING:
                self.receive(item, flow)
        if head is not None:
            self.receive(head, flow)

    def wait(self, more: int, data: bytes) -> None:
        self.pass_time(DELAYS[more % len(DELAYS)])

    def answer(self, more: int, data: bytes) -> None:
        """A request that was sent is answered; `data` are a status and more lines.

        With an "S" at their end they are a session description; without any, the usual one.
        """
        requests = [each for each in self.sent if isinstance(each.message, Request)]
        if requests:
            request = requests[-1 - more % len(requests)]
            pairs = zip(request.message.keys, request.message.lines, strict=True)
            head = [line + b";tag=far" * (key == b"to") for key, line in pairs if key in COPIED]
            status = STATUSES[data[0] % len(STATUSES)] if data else 200
            lines, body = data[1:], b""
            if lines.endswith(b"S"):
                lines, body = b"Content-Type: application/sdp", lines[:-1] or SDP
            head = [b"SIP/2.0 %d X" % status, *head, *lines.split(b"\r\n"), b"", body]
            self.receive(b"\r\n".join(head), request.flow)

    def fail(self, more: int, data: bytes) -> None:
        """Something that was sent does not arrive."""
        if self.sent:
            token = self.sent[-1 - more % len(self.sent)].token
            self.take(self.ladder.engine.failed(token, self.ladder.now))

    def locate(self, more: int, data: bytes) -> None:
        """A name is found, or not."""
        if self.ladder.lookups:
            found: Locate = self.ladder.lookups.pop(more % len(self.ladder.lookups))
            hops = [(("udp", "tcp", "tls")[each % 3], SOURCES[each % len(SOURCES)]) for each in data[:4]]
            self.take(self.ladder.engine.located(found.token, hops, 504 if more & 1 else 502, self.ladder.now))

    def echo(self, more: int, data: bytes) -> None:
        """Something that was sent comes back, with bytes in the place of some of its own: so come signatures back."""
        if self.sent and len(data) > 3:
            old = self.sent[-1 - more % len(self.sent)].data
            at = int.from_bytes(data[:2], "big") % (len(old) + 1)
            self.datagram(data[2] >> 4, old[:at] + data[3:] + old[at + (data[2] & 15) :])

    def again(self, more: int, data: bytes) -> None:
        """What was sent to somebody is sent on by him, or sent twice."""
        if self.sent:
            self.datagram(more >> 4, self.sent[-1 - (more & 15) % len(self.sent)].data)

    def pass_time(self, seconds: float) -> None:
        ladder, end = self.ladder, self.ladder.now + seconds
        for _ in range(100_000):
            deadline = ladder.engine.next_deadline()
            if deadline is None or deadline > end:
                break
            ladder.now = max(ladder.now, deadline)
            self.take(ladder.engine.handle_timer(ladder.now))
        else:
            raise AssertionError("time stands still")
        ladder.now = end


STEPS = (Run.datagram, Run.stream, Run.wait, Run.answer, Run.fail, Run.locate, Run.echo, Run.again)


def check(data: bytes) -> None:
    """What the fuzzer calls."""
    run = Run(PROXIES[data[0] % len(PROXIES) if data else 0]())
    for step in data[1:].split(SEPARATOR)[:MOST_STEPS]:
        if len(step) > 1:
            STEPS[step[0] % len(STEPS)](run, step[1], step[2:])
    while run.ladder.lookups:
        run.locate(0, b"")
    run.pass_time(FOR_EVER)
    engine = run.ladder.engine
    if engine.media is not None:
        for session in list(engine.media.sessions):
            run.take(engine.relay_silent(session, run.ladder.now))
        assert not engine.media.sessions, "a session is left"
    assert len(engine.transactions) == engine.pending() == 0, "transactions are left"
    assert not engine.receive(b"\0", run.ladder.flow(SOURCES[0]), run.ladder.now), "effects were left"


if __name__ == "__main__":
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
