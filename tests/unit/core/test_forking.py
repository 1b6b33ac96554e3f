"""The response context alone: what goes upstream when branches answer in any order (RFC 3261 §16.7 to §16.10)."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.effects import Effect
from proxy.core.flow import Flow
from proxy.core.forking import Branch, ResponseContext, challenges
from proxy.core.location import Binding
from proxy.core.target import Target
from proxy.core.timers import Timer
from proxy.core.transaction import Times
from proxy.core.transactions import Transactions, input_of
from proxy.sip.headers import parse_via
from proxy.sip.message import Request, Response
from proxy.sip.parse import parse
from proxy.sip.uri import parse_uri

FLOW = Flow("udp", ("198.51.100.10", 5060), ("198.51.100.20", 40000))
VIA = parse_via(b"SIP/2.0/UDP 198.51.100.20;branch=z9hG4bKup")


class Upstream:
    """A forwarder that writes down what it is asked to do; `dead` are targets to which nothing can be sent.

    What goes upstream is a status, one of our own making with an exclamation mark.
    """

    def __init__(self, method: bytes, *groups: str, dead: str = "", unlocated: str = "", natted: bool = False) -> None:
        sink: list[Effect] = []
        self.layer = Transactions(Times(), sink)
        self.done: list[str] = []  # "INVITE a", "CANCEL a", "180", "408!"
        self.aggregated: list[int] = []
        self.failed_flows = self.media_gone = ""
        self.dead, self.unlocated = dead, unlocated
        request = asked(method)
        server = self.layer.serve(b"key", request, FLOW, None)
        targets = tuple([target(name, natted) for name in group] for group in groups)
        self.context = ResponseContext(self, server, request, targets, FLOW, VIA.sent_by, b"z9hG4bKbase")
        self.context.begin(0.0)

    # What the context asks for

    def forward(self, branch: Branch, now: float) -> None:
        name = name_of(branch)
        if name in self.unlocated and branch.hops is None:
            return
        request = self.context.request
        assert request is not None
        if branch.hops:
            branch.hops = branch.hops[1:]
        self.done.append(f"{request.method.decode()} {name}")
        if name in self.dead:
            branch.unreachable(now)
        else:
            token = b"z9hG4bK%d" % len(self.done)
            branch.transaction = self.layer.ask(token, request, FLOW, now, branch)

    def relay(self, branch: Branch, response: Response, now: float) -> None:
        self.done.append(str(response.status))

    def answer_for(self, context: ResponseContext, status: int, now: float) -> None:
        assert context is self.context
        self.done.append(f"{status}!")

    def aggregate(self, response: Response, others: list[Response]) -> None:
        self.aggregated = [other.status for other in others]

    def cancel(self, branch: Branch, now: float) -> None:
        self.done.append(f"CANCEL {name_of(branch)}")

    def start_timer_c(self, branch: Branch, now: float) -> Timer:
        return self.layer.timers.start(now, self.layer.times.c, Branch.rang_too_long, branch)

    def flow_failed(self, branch: Branch) -> None:
        self.failed_flows += name_of(branch)

    def failed(self, branch: Branch) -> None:
        self.media_gone += name_of(branch)

    # What the network does

    def says(self, name: str, status: int, now: float = 1.0, *lines: bytes) -> list[str]:
        """Let the newest branch of a name answer; return what follows."""
        transaction = self.branch(name).transaction
        assert transaction is not None
        message = parse(b"\r\n".join((b"SIP/2.0 %d x" % status, b"t: <sip:b@x>;tag=2", *lines, b"", b"")))
        assert isinstance(message, Response)
        before = len(self.done)
        transaction.step(input_of(status), now, message)
        return self.done[before:]

    def passes(self, until: float) -> list[str]:
        """Let time pass; return what follows."""
        before = len(self.done)
        while (at := self.layer.timers.next_deadline()) is not None and at <= until:
            self.layer.timers.run(at)
        return self.done[before:]

    def gives_up(self, now: float = 1.0) -> list[str]:
        before = len(self.done)
        self.context.cancel(now)
        return self.done[before:]

    def branch(self, name: str) -> Branch:
        return next(branch for branch in reversed(self.context.branches) if name_of(branch) == name)


def asked(method: bytes) -> Request:
    head = (
        b"%b sip:b@x SIP/2.0" % method, b"Via: SIP/2.0/UDP 198.51.100.10;branch=z9hG4bK1", b"f: <sip:a@x>;tag=1",
        b"t: <sip:b@x>", b"i: c", b"CSeq: 1 %b" % method, b"", b"",
    )  # fmt: skip
    message = parse(b"\r\n".join(head))
    assert isinstance(message, Request)
    return message


def target(name: str, natted: bool) -> Target:
    uri = parse_uri(b"sip:%b@10.0.0.1" % name.encode())
    binding = Binding(b"b", uri.encode(), b"", FLOW, 1.0, b"", 1)
    return Target(uri, uri, binding.flow if natted else None, natted)


def name_of(branch: Branch) -> str:
    return (branch.target.uri.user or b"").decode()


def invite(*groups: str, dead: str = "", unlocated: str = "") -> Upstream:
    return Upstream(b"INVITE", *groups, dead=dead, unlocated=unlocated)


def options(*groups: str, dead: str = "") -> Upstream:
    return Upstream(b"OPTIONS", *groups, dead=dead)


# In parallel


def test_all_targets_of_a_group_are_tried_at_once_and_ringing_is_passed_on_from_each() -> None:
    up = invite("ab")
    assert up.done == ["INVITE a", "INVITE b"]
    assert up.says("a", 100) == []
    assert up.says("a", 180) == ["180"]
    assert up.says("b", 183) == ["183"]
    assert up.says("a", 180) == ["180"]


def test_the_first_2xx_is_passed_on_at_once_and_those_that_ring_are_cancelled() -> None:
    up = invite("abc")
    up.says("a", 180)
    up.says("b", 180)
    assert up.says("a", 200) == ["200", "CANCEL b"]
    assert up.says("c", 180) == ["CANCEL c"]
    assert up.says("c", 180) == []
    assert up.says("b", 487) == up.says("c", 487) == []


def test_every_2xx_goes_upstream_even_when_another_came_first() -> None:
    up = invite("ab")
    assert up.says("a", 200) == ["200"]
    assert up.says("a", 200) == ["200"]  # a retransmission: the caller's ACK was lost
    assert up.says("b", 200) == ["200"]


def test_a_2xx_that_crosses_the_cancel_goes_upstream() -> None:
    up = invite("ab")
    up.says("a", 180)
    up.says("b", 486)
    assert up.gives_up() == ["CANCEL a"]
    assert up.says("a", 200) == ["200"]


def test_who_has_failed_does_not_succeed_afterwards() -> None:
    up = invite("a")
    assert up.says("a", 486) == ["486"]
    assert up.says("a", 200) == []


def test_failures_wait_until_all_have_answered() -> None:
    up = invite("abc")
    assert up.says("a", 404) == up.says("b", 486) == []
    assert up.says("c", 302) == ["302"]


def test_a_6xx_cancels_the_others_and_wins_when_they_have_ended() -> None:
    up = invite("ab", "c")
    up.says("a", 180)
    assert up.says("b", 603) == ["CANCEL a"]
    assert up.says("a", 487) == ["603"]
    assert "INVITE c" not in up.done


def test_a_2xx_beats_a_6xx_that_came_first() -> None:
    up = invite("ab")
    up.says("a", 180)
    up.says("b", 603)
    assert up.says("a", 200) == ["200"]


@pytest.mark.parametrize(
    ("statuses", "best"),
    [
        ((486, 404), "486"), ((404, 486), "404"),  # one of the lowest class: the first branch's
        ((500, 404), "404"), ((404, 302), "302"), ((302, 603), "603"), ((500, 603), "603"), ((486, 401), "401"),
        ((404, 407), "407"), ((404, 415), "415"), ((404, 420), "420"), ((404, 484), "484"), ((503, 500), "500"),
        ((503, 502), "502"), ((503, 486), "486"), ((503, 503), "500!"), ((401, 302), "302"),
    ],
)  # fmt: skip
def test_the_best_response_is_a_6xx_then_the_lowest_class_then_what_helps_the_caller(
    statuses: tuple[int, int], best: str
) -> None:
    up = invite("ab")
    assert up.says("a", statuses[0]) == []
    assert up.says("b", statuses[1]) == [best]


def test_a_503_is_not_passed_on_because_it_is_about_the_next_hop() -> None:
    assert invite("a").says("a", 503) == ["500!"]


def test_challenges_of_all_branches_are_aggregated() -> None:
    up = invite("abc")
    up.says("a", 407)
    up.says("b", 401)
    assert up.says("c", 404) == ["407"]
    assert up.aggregated == [401, 404]
    up = invite("ab")
    up.says("a", 404)
    up.says("b", 486)
    assert up.aggregated == []


def test_challenges_are_the_lines_of_a_401_or_407_and_of_no_other() -> None:
    lines = b"WWW-Authenticate: Digest a, b\r\nX: y\r\nproxy-authenticate:\r\n Digest c\r\n\r\n"
    wanted = [(b"WWW-Authenticate", b"Digest a, b"), (b"Proxy-Authenticate", b"Digest c")]
    for status, found in ((401, wanted), (407, wanted), (403, [])):
        message = parse(b"SIP/2.0 %d x\r\n" % status + lines)
        assert isinstance(message, Response)
        assert challenges(message) == found


# One after another


def test_the_next_group_is_tried_when_the_one_before_has_failed() -> None:
    up = invite("ab", "c")
    assert up.done == ["INVITE a", "INVITE b"]
    assert up.says("a", 486) == []
    assert up.says("b", 404) == ["INVITE c"]
    assert up.says("c", 480) == ["486"]


def test_a_2xx_ends_the_search() -> None:
    up = invite("a", "b")
    assert up.says("a", 200) == ["200"]
    assert up.passes(1000) == []


def test_a_target_that_nothing_can_be_sent_to_is_a_failure_like_any_other() -> None:
    assert invite("ab", "c", dead="ab").done == ["INVITE a", "INVITE b", "INVITE c"]
    assert invite("a", "b", "c", dead="abc").done == ["INVITE a", "INVITE b", "INVITE c", "500!"]


def test_somebody_elses_answer_is_better_than_that_we_could_not_send() -> None:
    up = invite("ab", dead="a")
    assert up.says("b", 486) == ["486"]
    up = Upstream(b"INVITE", "ab", dead="a", natted=True)
    assert up.failed_flows == "a"
    assert up.says("b", 486) == ["486"]  # not "480": the phone that is there is busy


def test_a_phone_whose_flow_is_gone_is_unavailable() -> None:
    up = Upstream(b"INVITE", "a", dead="a", natted=True)
    assert up.done == ["INVITE a", "480!"]


def test_where_a_name_has_several_addresses_the_next_is_tried_after_silence_or_a_503() -> None:
    up = invite("a")
    up.branch("a").hops = (FLOW, FLOW)
    assert up.says("a", 503) == ["INVITE a"]
    assert up.passes(40) == ["INVITE a"]
    assert up.says("a", 503) == ["500!"]
    up = invite("a")
    up.branch("a").hops = (FLOW,)
    assert up.says("a", 486) == ["486"]


def test_another_flow_of_the_same_phone_is_tried_when_one_has_failed_or_is_silent() -> None:
    def with_spares() -> Upstream:
        up = Upstream(b"INVITE", "a", natted=True)
        up.branch("a").target.spares = (target("b", True), target("c", True))
        return up

    up = with_spares()
    branch = up.branch("a")
    branch.unreachable(1.0)
    assert up.done == ["INVITE a", "INVITE b"]
    assert up.failed_flows == "a"
    assert up.says("b", 430) == ["INVITE c"]
    assert up.says("c", 430) == ["480!"]
    up = with_spares()
    assert up.passes(32) == ["INVITE b"]
    assert up.passes(64) == ["INVITE c"]
    assert up.passes(96) == ["408!"]
    up = with_spares()
    assert up.says("a", 486) == ["486"]  # the phone has answered: it is the same on all its flows
    up = with_spares()
    up.says("a", 180)
    up.gives_up()
    assert up.says("a", 430) == ["487!"]


def test_a_failed_flow_is_told_to_the_proxy_that_chose_it_and_to_nobody_else() -> None:
    for is_edge, told in ((True, "430!"), (False, "480!")):
        up = Upstream(b"INVITE", "a", natted=True)
        up.branch("a").target.is_edge = is_edge
        up.branch("a").unreachable(1.0)
        assert up.done == ["INVITE a", told]


def test_who_is_tried_anew_has_not_rung_yet() -> None:
    up = invite("a")
    up.branch("a").hops = (FLOW,)
    up.says("a", 180, 1.0)
    assert up.says("a", 503, 2.0) == ["INVITE a"]
    assert up.gives_up(3.0) == []
    assert up.says("a", 100, 4.0) == ["CANCEL a"]


# Silence


def test_who_never_answers_counts_as_408() -> None:
    up = invite("ab")
    up.says("a", 486)
    assert up.passes(31) == []
    assert up.passes(32) == ["486"]
    assert invite("a").passes(32) == ["408!"]


def test_who_rings_for_three_minutes_is_cancelled() -> None:
    up = invite("a")
    up.says("a", 180, 1.0)
    assert up.passes(181) == []
    assert up.passes(182) == ["CANCEL a"]
    assert up.says("a", 487, 183.0) == ["487"]


def test_each_ringing_starts_timer_c_again_but_a_100_does_not() -> None:
    up = invite("a")
    up.says("a", 180, 1.0)
    up.says("a", 183, 100.0)
    up.says("a", 100, 200.0)
    assert up.passes(280) == []
    assert up.passes(281) == ["CANCEL a"]


def test_a_100_alone_starts_timer_c() -> None:
    up = invite("a")
    up.says("a", 100, 1.0)
    assert up.passes(182) == ["CANCEL a"]


def test_a_branch_whose_cancel_leads_to_nothing_ends_at_last() -> None:
    up = invite("a")
    up.says("a", 180)
    assert up.gives_up() == ["CANCEL a"]
    branch = up.branch("a")
    branch.gone(33.0)
    assert up.done[-1] == "487!"
    assert not up.layer.clients
    branch.gone(33.0)
    assert up.done.count("487!") == 1


# CANCEL


def test_a_cancel_waits_for_the_first_provisional_response() -> None:
    up = invite("ab", "c")
    up.says("a", 180)
    assert up.gives_up() == ["CANCEL a"]
    assert up.says("b", 100) == ["CANCEL b"]
    assert up.says("a", 487) == []
    assert up.says("b", 487) == ["487"]
    assert "INVITE c" not in up.done


def test_who_gave_up_is_not_rung_any_more() -> None:
    up = invite("a")
    up.says("a", 180)
    up.gives_up()
    assert up.says("a", 180) == []


def test_a_branch_that_was_not_sent_yet_ends_at_once() -> None:
    up = invite("a", unlocated="a")
    assert up.done == []
    assert up.gives_up() == ["487!"]


def test_silence_after_a_cancel_is_487_not_408() -> None:
    up = invite("a")
    assert up.gives_up() == []
    assert up.passes(32) == ["487!"]


def test_a_503_after_a_cancel_does_not_lead_to_another_try() -> None:
    up = invite("a")
    up.branch("a").hops = (FLOW,)
    up.says("a", 180)
    up.gives_up()
    assert up.says("a", 503) == ["500!"]


# Other methods


def test_a_request_that_is_no_invite_passes_on_no_provisional_response_and_one_final() -> None:
    up = options("ab")
    assert up.says("a", 100) == up.says("a", 180) == []
    assert up.says("a", 200) == ["200"]
    assert "CANCEL b" not in up.done


def test_a_408_to_a_request_that_is_no_invite_is_not_passed_on() -> None:
    """RFC 4320 §4.2; what `answer_for` makes of it is the forwarder's business."""
    assert options("a").says("a", 408) == ["408!"]
    assert options("a").passes(32) == ["408!"]
    assert invite("a").says("a", 408) == ["408"]


def test_no_timer_c_runs_for_what_does_not_ring() -> None:
    up = options("a")
    up.says("a", 100)
    up.says("a", 200)
    assert up.passes(1000) == []


# Any order

EVENTS = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from([100, 180, 200, 302, 401, 404, 408, 486, 487, 500, 503, 603, 0, -1]),
    ),
    max_size=14,
)


@settings(max_examples=500, deadline=None, database=None, derandomize=True)
@given(st.sampled_from([("abc",), ("ab", "c"), ("a", "b", "c")]), st.sampled_from(["", "a", "bc"]), EVENTS)
def test_upstream_gets_every_2xx_and_one_other_final_response_at_the_most(
    groups: tuple[str, ...], dead: str, events: list[tuple[str, int]]
) -> None:
    up = invite(*groups, dead=dead)
    now, successes = 1.0, 0
    for name, status in events:
        now += 1
        if status == -1:
            up.gives_up(now)
        elif status == 0:
            up.passes(now + 40)
            now += 40
        elif any(name_of(branch) == name and branch.transaction for branch in up.context.branches):
            transaction = up.branch(name).transaction
            is_over = transaction is None or transaction.state in {"completed", "terminated"}
            successes += status == 200 and not is_over
            up.says(name, status, now)
    up.passes(now + 2000)
    for branch in up.context.branches:  # what the forwarder does 64*T1 after each CANCEL
        branch.gone(now + 2000)
    up.passes(now + 5000)
    seen = Counter(word.rstrip("!") for word in up.done if word[0].isdigit())
    finals = [word for word in up.done if word[0] in "23456"]
    assert "200" not in finals or set(finals[finals.index("200") :]) == {"200"}
    others = sum(count for status, count in seen.items() if int(status) >= 300)
    assert seen["200"] == successes
    assert others <= 1
    assert others or successes
    assert up.context.answered
    assert len(up.layer.timers) == 0
    assert not up.layer.clients
    asks = Counter(word for word in up.done if word.startswith(("INVITE", "CANCEL")))
    assert all(count == 1 for count in asks.values())
