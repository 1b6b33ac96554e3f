"""The four machines (RFC 3261 §17 figures 5 to 8, RFC 6026 §7, RFC 4320): every state meets every input.

`FIGURES` are the arrows of the RFCs, `EXPECTED` what a transaction does on each of them over UDP; what is in neither
is absorbed without a trace.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from proxy.core.effects import Effect, Send
from proxy.core.flow import Flow
from proxy.core.timers import Timer
from proxy.core.transaction import (
    ACCEPTED,
    ACK,
    CALLING,
    COMPLETED,
    CONFIRMED,
    ERROR,
    FAILURE,
    PROCEEDING,
    PROVISIONAL,
    REQUEST,
    RETRANSMIT,
    SUCCESS,
    TABLES,
    TERMINATED,
    TIMEOUT,
    TRYING,
    Times,
    Transaction,
    follow_up,
)
from proxy.core.transactions import Transactions
from proxy.sip.message import Request, Response
from proxy.sip.parse import parse

INPUTS = (REQUEST, ACK, PROVISIONAL, SUCCESS, FAILURE, RETRANSMIT, TIMEOUT, ERROR)
STATUS = {PROVISIONAL: 183, SUCCESS: 200, FAILURE: 486}
GIVE_UP = 32.0  # 64*T1
T4 = 5.0

# RFC 3261 figures 5, 6, 7 and 8; 5 and 7 as RFC 6026 §7.1 and §7.2 have changed them. ACK and responses that change
# nothing there ("-") are left out, but for Confirmed, whose purpose they are.
FIGURES = """
INVITE client: calling --retransmit--> calling
INVITE client: calling --timeout--> terminated
INVITE client: calling --error--> terminated
INVITE client: calling --1xx--> proceeding
INVITE client: calling --2xx--> accepted
INVITE client: calling --300-699--> completed
INVITE client: proceeding --1xx--> proceeding
INVITE client: proceeding --2xx--> accepted
INVITE client: proceeding --300-699--> completed
INVITE client: completed --300-699--> completed
INVITE client: completed --timeout--> terminated
INVITE client: completed --error--> terminated
INVITE client: accepted --2xx--> accepted
INVITE client: accepted --timeout--> terminated
non-INVITE client: trying --retransmit--> trying
non-INVITE client: trying --timeout--> terminated
non-INVITE client: trying --error--> terminated
non-INVITE client: trying --1xx--> proceeding
non-INVITE client: trying --2xx--> completed
non-INVITE client: trying --300-699--> completed
non-INVITE client: proceeding --retransmit--> proceeding
non-INVITE client: proceeding --timeout--> terminated
non-INVITE client: proceeding --error--> terminated
non-INVITE client: proceeding --1xx--> proceeding
non-INVITE client: proceeding --2xx--> completed
non-INVITE client: proceeding --300-699--> completed
non-INVITE client: completed --timeout--> terminated
INVITE server: proceeding --request--> proceeding
INVITE server: proceeding --1xx--> proceeding
INVITE server: proceeding --2xx--> accepted
INVITE server: proceeding --300-699--> completed
INVITE server: proceeding --error--> terminated
INVITE server: completed --request--> completed
INVITE server: completed --retransmit--> completed
INVITE server: completed --ack--> confirmed
INVITE server: completed --timeout--> terminated
INVITE server: completed --error--> terminated
INVITE server: confirmed --ack--> confirmed
INVITE server: confirmed --timeout--> terminated
INVITE server: accepted --2xx--> accepted
INVITE server: accepted --timeout--> terminated
non-INVITE server: trying --1xx--> proceeding
non-INVITE server: trying --2xx--> completed
non-INVITE server: trying --300-699--> completed
non-INVITE server: proceeding --request--> proceeding
non-INVITE server: proceeding --1xx--> proceeding
non-INVITE server: proceeding --2xx--> completed
non-INVITE server: proceeding --300-699--> completed
non-INVITE server: proceeding --error--> terminated
non-INVITE server: completed --request--> completed
non-INVITE server: completed --timeout--> terminated
non-INVITE server: completed --error--> terminated
"""

# A proxy whose provisional response could not be sent goes on: the final one may find another way (§18.2.2).
LEFT_OUT = {
    ("INVITE server", PROCEEDING, ERROR),
    ("non-INVITE server", PROCEEDING, ERROR),
}
ADDED = {
    ("INVITE server", COMPLETED, SUCCESS): COMPLETED,  # §16.7 step 5: a late 2xx is forwarded all the same
    ("INVITE server", CONFIRMED, SUCCESS): CONFIRMED,
    ("non-INVITE server", TRYING, TIMEOUT): TERMINATED,  # RFC 4320 §4.2: no answer is better than a 408
    ("non-INVITE server", PROCEEDING, TIMEOUT): TERMINATED,
}


@dataclass(slots=True)
class Row:
    """What one input does. Timers in seconds from then; "runs on" is one that was running before."""

    next: str
    sent: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    retransmit: float | str | None = None
    timeout: float | str | None = None


ON = "runs on"
EXPECTED: dict[tuple[str, str, str], Row] = {
    ("INVITE client", CALLING, RETRANSMIT): Row(CALLING, ["INVITE"], [], 1.0, ON),  # A
    ("INVITE client", CALLING, TIMEOUT): Row(TERMINATED, [], ["timeout"]),  # B
    ("INVITE client", CALLING, ERROR): Row(TERMINATED, [], ["error"]),
    ("INVITE client", CALLING, PROVISIONAL): Row(PROCEEDING, [], ["183"]),
    ("INVITE client", CALLING, SUCCESS): Row(ACCEPTED, [], ["200"], None, GIVE_UP),  # M
    ("INVITE client", CALLING, FAILURE): Row(COMPLETED, ["ACK"], ["486"], None, GIVE_UP),  # D
    ("INVITE client", PROCEEDING, PROVISIONAL): Row(PROCEEDING, [], ["183"]),
    ("INVITE client", PROCEEDING, SUCCESS): Row(ACCEPTED, [], ["200"], None, GIVE_UP),
    ("INVITE client", PROCEEDING, FAILURE): Row(COMPLETED, ["ACK"], ["486"], None, GIVE_UP),
    ("INVITE client", COMPLETED, FAILURE): Row(COMPLETED, ["ACK"], [], None, ON),
    ("INVITE client", COMPLETED, TIMEOUT): Row(TERMINATED),
    ("INVITE client", COMPLETED, ERROR): Row(TERMINATED),
    ("INVITE client", ACCEPTED, SUCCESS): Row(ACCEPTED, [], ["200"], None, ON),
    ("INVITE client", ACCEPTED, TIMEOUT): Row(TERMINATED),
    ("non-INVITE client", TRYING, RETRANSMIT): Row(TRYING, ["OPTIONS"], [], 1.0, ON),  # E
    ("non-INVITE client", TRYING, TIMEOUT): Row(TERMINATED, [], ["timeout"]),  # F
    ("non-INVITE client", TRYING, ERROR): Row(TERMINATED, [], ["error"]),
    ("non-INVITE client", TRYING, PROVISIONAL): Row(PROCEEDING, [], ["183"], ON, ON),
    ("non-INVITE client", TRYING, SUCCESS): Row(COMPLETED, [], ["200"], None, T4),  # K
    ("non-INVITE client", TRYING, FAILURE): Row(COMPLETED, [], ["486"], None, T4),
    ("non-INVITE client", PROCEEDING, RETRANSMIT): Row(PROCEEDING, ["OPTIONS"], [], 4.0, ON),
    ("non-INVITE client", PROCEEDING, TIMEOUT): Row(TERMINATED, [], ["timeout"]),
    ("non-INVITE client", PROCEEDING, ERROR): Row(TERMINATED, [], ["error"]),
    ("non-INVITE client", PROCEEDING, PROVISIONAL): Row(PROCEEDING, [], ["183"], ON, ON),
    ("non-INVITE client", PROCEEDING, SUCCESS): Row(COMPLETED, [], ["200"], None, T4),
    ("non-INVITE client", PROCEEDING, FAILURE): Row(COMPLETED, [], ["486"], None, T4),
    ("non-INVITE client", COMPLETED, TIMEOUT): Row(TERMINATED),
    ("INVITE server", PROCEEDING, REQUEST): Row(PROCEEDING, ["100"]),
    ("INVITE server", PROCEEDING, PROVISIONAL): Row(PROCEEDING, ["183"]),
    ("INVITE server", PROCEEDING, SUCCESS): Row(ACCEPTED, ["200"], [], None, GIVE_UP),  # L
    ("INVITE server", PROCEEDING, FAILURE): Row(COMPLETED, ["486"], [], 0.5, GIVE_UP),  # G, H
    ("INVITE server", COMPLETED, REQUEST): Row(COMPLETED, ["486"], [], ON, ON),
    ("INVITE server", COMPLETED, RETRANSMIT): Row(COMPLETED, ["486"], [], 1.0, ON),
    ("INVITE server", COMPLETED, ACK): Row(CONFIRMED, [], [], None, T4),  # I
    ("INVITE server", COMPLETED, SUCCESS): Row(COMPLETED, ["200"], [], ON, ON),
    ("INVITE server", COMPLETED, TIMEOUT): Row(TERMINATED),
    ("INVITE server", COMPLETED, ERROR): Row(TERMINATED),
    ("INVITE server", CONFIRMED, ACK): Row(CONFIRMED, [], [], None, ON),
    ("INVITE server", CONFIRMED, SUCCESS): Row(CONFIRMED, ["200"], [], None, ON),
    ("INVITE server", CONFIRMED, TIMEOUT): Row(TERMINATED),
    ("INVITE server", ACCEPTED, SUCCESS): Row(ACCEPTED, ["200"], [], None, ON),
    ("INVITE server", ACCEPTED, TIMEOUT): Row(TERMINATED),
    ("non-INVITE server", TRYING, PROVISIONAL): Row(PROCEEDING, ["183"]),
    ("non-INVITE server", TRYING, SUCCESS): Row(COMPLETED, ["200"], [], None, GIVE_UP),  # J
    ("non-INVITE server", TRYING, FAILURE): Row(COMPLETED, ["486"], [], None, GIVE_UP),
    ("non-INVITE server", TRYING, TIMEOUT): Row(TERMINATED),
    ("non-INVITE server", PROCEEDING, REQUEST): Row(PROCEEDING, ["100"]),
    ("non-INVITE server", PROCEEDING, PROVISIONAL): Row(PROCEEDING, ["183"]),
    ("non-INVITE server", PROCEEDING, SUCCESS): Row(COMPLETED, ["200"], [], None, GIVE_UP),
    ("non-INVITE server", PROCEEDING, FAILURE): Row(COMPLETED, ["486"], [], None, GIVE_UP),
    ("non-INVITE server", PROCEEDING, TIMEOUT): Row(TERMINATED),
    ("non-INVITE server", COMPLETED, REQUEST): Row(COMPLETED, ["200"], [], None, ON),
    ("non-INVITE server", COMPLETED, TIMEOUT): Row(TERMINATED),
    ("non-INVITE server", COMPLETED, ERROR): Row(TERMINATED),
}

# How a transaction comes into each state.
WAYS: dict[str, dict[str, list[str]]] = {
    "INVITE client": {
        CALLING: [], PROCEEDING: [PROVISIONAL], COMPLETED: [FAILURE], ACCEPTED: [SUCCESS], TERMINATED: [TIMEOUT],
    },
    "non-INVITE client": {TRYING: [], PROCEEDING: [PROVISIONAL], COMPLETED: [SUCCESS], TERMINATED: [ERROR]},
    "INVITE server": {
        PROCEEDING: ["trying"], COMPLETED: [FAILURE], CONFIRMED: [FAILURE, ACK], ACCEPTED: [SUCCESS],
        TERMINATED: [FAILURE, TIMEOUT],
    },
    "non-INVITE server": {
        TRYING: [], PROCEEDING: ["trying"], COMPLETED: [SUCCESS], TERMINATED: [SUCCESS, TIMEOUT],
    },
}  # fmt: skip


class Witness:
    """The user of a transaction: writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def responded(self, response: Response, now: float) -> None:
        self.told.append(str(response.status))

    def timed_out(self, now: float) -> None:
        self.told.append("timeout")

    def unreachable(self, now: float) -> None:
        self.told.append("error")

    def ended(self) -> None:
        """Nothing that the figures speak of."""


class Bench:
    """One transaction on real timers, and everything that it sends and says."""

    def __init__(self, machine: str, transport: str = "udp", times: Times | None = None) -> None:
        self.sink: list[Effect] = []
        self.layer = Transactions(times or Times(), self.sink)
        self.user = Witness()
        self.is_client = machine.endswith("client")
        request = self.request = asked(b"INVITE" if machine.startswith("INVITE") else b"OPTIONS")
        flow = Flow(transport, ("198.51.100.10", 5060), ("198.51.100.20", 40000), 0 if transport == "udp" else 1)
        if self.is_client:
            self.it = self.layer.ask(b"z9hG4bK1", request, flow, 0.0, self.user)
        else:
            self.it = self.layer.serve(b"key", request, flow, self.user)

    def happen(self, what: str, now: float) -> None:
        """Let one input happen, from where it comes in life."""
        it = self.it
        if what == "trying":
            self.layer.respond(it, response(self.request, 100), now)
        elif what in STATUS and not self.is_client:
            self.layer.respond(it, response(self.request, STATUS[what]), now)
        else:
            fired = it.retransmit if what == RETRANSMIT else it.timeout if what == TIMEOUT else None
            if fired is not None:
                fired.cancel()
            it.step(what, now, response(self.request, STATUS[what]) if what in STATUS else None)

    def into(self, machine: str, state: str) -> Bench:
        """Bring it into a state."""
        for what in WAYS[machine][state]:
            self.happen(what, 0.0)
        assert self.it.state == state
        return self

    def sent(self) -> list[str]:
        """Return what was sent since the last time: methods and statuses."""
        assert all(isinstance(each, Send) for each in self.sink)
        words = [each.data.split() for each in self.sink if isinstance(each, Send)]
        self.sink.clear()
        return [(word[1] if word[0] == b"SIP/2.0" else word[0]).decode() for word in words]

    def timeline(self, until: float) -> list[tuple[float, str]]:
        """Return when what was sent until then."""
        seen = [(0.0, each) for each in self.sent()]
        while (at := self.layer.timers.next_deadline()) is not None and at <= until:
            self.layer.timers.run(at)
            seen += [(at, each) for each in self.sent()]
        return seen

    def is_known(self) -> bool:
        """Say whether its layer still has it."""
        return self.it in [*self.layer.clients.values(), *self.layer.servers.values()]


def asked(method: bytes, *lines: bytes) -> Request:
    head = (
        b"%b sip:b@198.51.100.200 SIP/2.0" % method, b"Via: SIP/2.0/UDP 198.51.100.10;branch=z9hG4bK1",
        b"Via: SIP/2.0/UDP 10.0.0.5;branch=z9hG4bKbelow", b"Max-Forwards: 69", b"f: <sip:a@x>;tag=1", b"t: <sip:b@x>",
        b"i: c", b"CSeq: 7 %b" % method, *lines, b"", b"body",
    )  # fmt: skip
    message = parse(b"\r\n".join(head))
    assert isinstance(message, Request)
    return message


def response(request: Request, status: int) -> Response:
    lines = [line + b";tag=2" if line.startswith(b"t:") else line for line in request.lines]
    message = parse(b"\r\n".join((b"SIP/2.0 %d x" % status, *lines, b"", b"")))
    assert isinstance(message, Response)
    return message


def delay(timer: Timer | None, before: Timer | None, now: float) -> float | str | None:
    if timer is None or timer.action is None:
        return None
    return ON if timer is before else timer.deadline - now


def figures() -> dict[tuple[str, str, str], str]:
    found = {}
    for line in FIGURES.strip().splitlines():
        machine, _, arrow = line.partition(": ")
        state, what, after = arrow.replace("-->", "--").split("--")
        found[machine, state.strip(), what] = after.strip()
    return found


def arrows() -> dict[tuple[str, str, str], str]:
    return {
        (machine, state, what): after
        for machine, table in TABLES.items()
        for state, row in table.items()
        for what, (after, _) in row.items()
    }


CASES = [(machine, state, what) for machine, states in WAYS.items() for state in states for what in INPUTS]


def test_the_tables_are_the_figures_but_for_what_is_named_here() -> None:
    wanted = {pair: after for pair, after in figures().items() if pair not in LEFT_OUT}
    assert set(figures()) >= LEFT_OUT
    assert not set(wanted) & set(ADDED)
    assert arrows() == wanted | ADDED


def test_every_state_and_every_arrow_of_the_tables_is_tried_here() -> None:
    assert {machine: set(table) for machine, table in TABLES.items()} == {
        machine: set(states) for machine, states in WAYS.items()
    }
    assert set(arrows()) == set(EXPECTED)
    assert {what for _, _, what in arrows()} == set(INPUTS)


@pytest.mark.parametrize(("machine", "state", "what"), CASES, ids=["-".join(case) for case in CASES])
def test_each_input_in_each_state_does_what_the_figure_says_or_nothing_at_all(
    machine: str, state: str, what: str
) -> None:
    bench = Bench(machine).into(machine, state)
    bench.sent()
    bench.user.told.clear()
    it, now = bench.it, 0.25
    timers = it.retransmit, it.timeout
    wanted = EXPECTED.get((machine, state, what))
    if wanted is None:
        message = response(bench.request, STATUS[what]) if what in STATUS else None
        assert it.step(what, now, message) is False
        assert (it.state, bench.sent(), bench.user.told) == (state, [], [])
        assert (it.retransmit, it.timeout) == timers
        return
    bench.happen(what, now)
    done = delay(it.retransmit, timers[0], now), delay(it.timeout, timers[1], now)
    assert Row(it.state, bench.sent(), bench.user.told, *done) == wanted
    assert bench.is_known() == (wanted.next != TERMINATED)
    assert len(bench.layer.timers) == sum(each is not None for each in done)


def doubling(most: float, until: float) -> list[float]:
    times, at, step = [], 0.0, 0.5
    while at < until:
        times.append(at)
        at, step = at + step, min(2 * step, most)
    return times


def test_an_invite_that_nobody_answers_is_sent_seven_times_and_given_up_after_32_seconds() -> None:
    bench = Bench("INVITE client")
    assert bench.timeline(31.9) == [(at, "INVITE") for at in (0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5)]
    assert bench.user.told == []
    assert bench.timeline(32.0) == []
    assert (bench.user.told, bench.it.state, len(bench.layer)) == (["timeout"], TERMINATED, 0)


def test_another_request_is_sent_at_intervals_of_t2_at_the_most() -> None:
    bench = Bench("non-INVITE client")
    assert [at for at, _ in bench.timeline(100)] == doubling(4.0, 32)
    assert (bench.user.told, len(bench.layer)) == (["timeout"], 0)


def test_once_somebody_works_on_it_a_request_is_sent_again_every_t2() -> None:
    bench = Bench("non-INVITE client")
    bench.it.step(PROVISIONAL, 0.1, response(bench.request, 100))
    assert [at for at, _ in bench.timeline(100)] == [0, *(0.5 + 4 * number for number in range(8))]
    assert bench.user.told == ["100", "timeout"]


def test_a_failure_is_sent_until_its_ack_comes_or_32_seconds_are_over() -> None:
    bench = Bench("INVITE server")
    bench.happen(FAILURE, 0.0)
    assert bench.timeline(100) == [(at, "486") for at in doubling(4.0, 32)]
    assert (bench.it.state, len(bench.layer)) == (TERMINATED, 0)


@pytest.mark.parametrize(
    ("machine", "inputs", "over"),
    [
        ("INVITE client", [SUCCESS], 32.0), ("INVITE client", [FAILURE], 32.0), ("non-INVITE client", [SUCCESS], 5.0),
        ("INVITE server", [SUCCESS], 32.0), ("INVITE server", [FAILURE, ACK], 5.0),
        ("non-INVITE server", [SUCCESS], 32.0), ("non-INVITE server", [FAILURE], 32.0),
    ],
)  # fmt: skip
def test_an_ended_transaction_waits_for_late_copies_and_then_is_gone(
    machine: str, inputs: list[str], over: float
) -> None:
    bench = Bench(machine)
    for what in inputs:
        bench.happen(what, 0.0)
    assert bench.it.request is None  # many wait here: what nobody needs again is not kept
    assert bench.layer.timers.next_deadline() == over
    bench.timeline(over)
    assert (bench.it.state, len(bench.layer), len(bench.layer.timers)) == (TERMINATED, 0, 0)


@pytest.mark.parametrize("machine", TABLES)
def test_a_reliable_transport_is_not_helped(machine: str) -> None:
    bench = Bench(machine, "tcp")
    if not bench.is_client:
        bench.happen(FAILURE, 0.0)
    assert len(bench.timeline(100)) == 1
    assert bench.it.state == TERMINATED


@pytest.mark.parametrize(
    ("machine", "inputs", "state"),
    [
        ("INVITE client", [FAILURE], TERMINATED), ("INVITE client", [SUCCESS], ACCEPTED),
        ("non-INVITE client", [SUCCESS], TERMINATED), ("INVITE server", [SUCCESS], ACCEPTED),
        ("INVITE server", [FAILURE], COMPLETED), ("INVITE server", [FAILURE, ACK], TERMINATED),
        ("non-INVITE server", [FAILURE], TERMINATED),
    ],
)  # fmt: skip
def test_on_a_reliable_transport_nobody_waits_for_copies_but_for_the_2xx_and_the_ack(
    machine: str, inputs: list[str], state: str
) -> None:
    bench = Bench(machine, "tls")
    for what in inputs:
        bench.happen(what, 0.0)
    assert bench.it.state == state
    assert bench.is_known() == (state != TERMINATED)
    assert len(bench.layer.timers) == (state != TERMINATED)
    if bench.is_client:
        assert bench.user.told == [str(STATUS[inputs[0]])]


def test_a_server_transaction_that_gives_no_answer_absorbs_copies_for_32_seconds() -> None:
    bench = Bench("non-INVITE server")
    bench.it.wait_out(1.0)
    assert bench.it.step(REQUEST, 2.0) is False
    assert bench.timeline(32.9) == []
    assert bench.is_known()
    bench.timeline(33.0)
    assert not bench.is_known()


def test_the_ack_for_a_failure_takes_the_way_and_the_branch_of_its_invite() -> None:
    bench = Bench("INVITE client")
    bench.request.push(b"Route", b"<sip:next;lr>")
    bench.sent()
    bench.happen(FAILURE, 0.0)
    (ack,) = bench.sink
    assert isinstance(ack, Send)
    assert (ack.flow, ack.token) == (bench.it.flow, bench.it.key)
    message = parse(ack.data)
    assert message.start == b"ACK sip:b@198.51.100.200 SIP/2.0"
    assert message.values(b"via") == [b"SIP/2.0/UDP 198.51.100.10;branch=z9hG4bK1"]
    assert message.values(b"route") == [b"<sip:next;lr>"]
    assert message.header(b"to") == b"<sip:b@x>;tag=2"
    assert (message.header(b"cseq"), message.header(b"call-id")) == (b"7 ACK", b"c")
    assert message.header(b"from") == b"<sip:a@x>;tag=1"


def test_the_same_ack_is_sent_for_every_copy_of_the_failure() -> None:
    bench = Bench("INVITE client")
    bench.sent()
    for _ in range(3):
        bench.happen(FAILURE, 0.0)
    assert bench.user.told == ["486"]
    assert len(bench.sink) == 3
    assert bench.sink == bench.sink[:1] * 3


def test_a_cancel_has_the_branch_of_its_invite_and_no_to_tag() -> None:
    cancel = follow_up(asked(b"INVITE", b"Route: <sip:one;lr>, <sip:two;lr>"), b"CANCEL")
    assert cancel.start == b"CANCEL sip:b@198.51.100.200 SIP/2.0"
    assert cancel.values(b"via") == [b"SIP/2.0/UDP 198.51.100.10;branch=z9hG4bK1"]
    assert cancel.values(b"route") == [b"<sip:one;lr>", b"<sip:two;lr>"]
    assert (cancel.header(b"cseq"), cancel.header(b"to")) == (b"7 CANCEL", b"<sip:b@x>")
    assert parse(cancel.encode()).encode() == cancel.encode()
    assert cancel.encode().endswith(b"Content-Length: 0\r\n\r\n")


def test_a_connection_is_opened_only_where_none_is_named_and_no_nat_stands_between() -> None:
    def may_open(connection: int, natted: bool) -> bool:
        bench = Bench("INVITE server")
        it: Transaction = bench.it
        it.flow, it.natted = it.flow._replace(transport="tcp", connection=connection), natted
        bench.happen(PROVISIONAL, 0.0)
        (sent,) = bench.sink
        assert isinstance(sent, Send)
        return sent.may_open

    assert may_open(0, False)
    assert not may_open(0, True)
    assert not may_open(1, False)


def test_all_times_follow_from_the_base_timers() -> None:
    assert Times().give_up == 32.0
    assert Times().late_trying == 3.5  # RFC 4320 §4.1: 0.5 + 1 + 2, then Timer E is at T2
    assert Times(t1=0.1, t2=0.4).give_up == pytest.approx(6.4)
    assert Times(t1=0.1, t2=0.4).late_trying == pytest.approx(0.3)
    assert Times().c > 180  # §16.6 step 11: more than three minutes
    bench = Bench("INVITE client", times=Times(t1=0.25))
    assert bench.layer.timers.next_deadline() == 0.25
    assert [at for at, _ in bench.timeline(100)] == [0, 0.25, 0.75, 1.75, 3.75, 7.75, 15.75]


def test_the_ack_is_sent_again_for_32_seconds_however_short_our_own_t1_is() -> None:
    """Timer D: the server's T1 may be another (§17.1.1.2)."""
    bench = Bench("INVITE client", times=Times(t1=0.1))
    bench.happen(FAILURE, 0.0)
    assert bench.layer.timers.next_deadline() == 32.0
    long = Bench("INVITE client", times=Times(t1=1.0))
    long.happen(FAILURE, 0.0)
    assert long.layer.timers.next_deadline() == 64.0
