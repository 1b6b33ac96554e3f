"""Which transaction a message belongs to (RFC 3261 §17.1.3, §17.2.3)."""

from __future__ import annotations

import pytest

from proxy.core.effects import Effect, Send
from proxy.core.flow import Flow
from proxy.core.transaction import ACCEPTED, COMPLETED, TERMINATED, TRYING, Times
from proxy.core.transactions import Transactions, client_key, input_of, server_key
from proxy.sip.errors import SipError
from proxy.sip.headers import parse_via
from proxy.sip.message import Request, answer
from proxy.sip.parse import parse

FLOW = Flow("udp", ("198.51.100.10", 5060), ("198.51.100.20", 40000))
VIA = b"SIP/2.0/UDP 10.0.0.5:5070;branch=z9hG4bKabc;rport"
OLD = b"SIP/2.0/UDP 10.0.0.5:5070;branch=1"


class Deaf:
    """A user who is told, and does nothing."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def responded(self, response: object, now: float) -> None:
        self.told.append("response")

    def timed_out(self, now: float) -> None:
        self.told.append("timeout")

    def unreachable(self, now: float) -> None:
        self.told.append("error")


def request(
    method: bytes = b"INVITE", uri: bytes = b"sip:b@x", cseq: bytes = b"1", tag: bytes = b"1", call_id: bytes = b"c"
) -> Request:
    head = (
        b"%b %b SIP/2.0" % (method, uri), b"Via: " + VIA, b"f: <sip:a@x>;tag=" + tag, b"t: <sip:b@x>",
        b"i: " + call_id, b"CSeq: %b %b" % (cseq, method), b"", b"",
    )  # fmt: skip
    message = parse(b"\r\n".join(head))
    assert isinstance(message, Request)
    return message


def key(via: bytes = VIA, message: Request | None = None, method: bytes = b"INVITE") -> bytes:
    return server_key(message or request(), parse_via(via), method)


def layer() -> tuple[Transactions, list[Effect]]:
    sink: list[Effect] = []
    return Transactions(Times(), sink), sink


# Keys


def test_with_the_magic_cookie_branch_sent_by_and_method_decide_and_nothing_else() -> None:
    assert key() == key(message=request(uri=b"sip:other", cseq=b"9", tag=b"x", call_id=b"y"))
    assert key() == key(VIA.replace(b";rport", b";received=192.0.2.1;rport=7"))
    assert key() != key(VIA.replace(b"abc", b"abd"))
    assert key() != key(VIA.replace(b"5070", b"5071"))
    assert key() != key(VIA.replace(b"10.0.0.5", b"10.0.0.6"))
    assert key() != key(method=b"BYE")


def test_the_cookie_counts_in_any_case_and_alone_it_is_no_branch() -> None:
    upper = VIA.replace(b"z9hG4bK", b"Z9HG4BK")
    assert key(upper) == key(upper, request(tag=b"other"))
    alone = VIA.replace(b"abc", b"")
    assert key(alone) != key(alone, request(tag=b"other"))


@pytest.mark.parametrize("via", [OLD, OLD.replace(b";branch=1", b"")])
@pytest.mark.parametrize(
    "other",
    [
        request(uri=b"sip:other"), request(tag=b"2"), request(call_id=b"d"), request(cseq=b"2"),
    ],
)  # fmt: skip
def test_without_the_cookie_all_that_rfc_2543_compares_decides(via: bytes, other: Request) -> None:
    assert key(via) == key(via, request())
    assert key(via) != key(via, other)
    assert key(via) != key(via + b";x", request())
    assert key(via) != key(via, method=b"BYE")


@pytest.mark.parametrize("method", [b"ACK", b"CANCEL"])
@pytest.mark.parametrize("via", [VIA, OLD])
def test_an_ack_and_a_cancel_find_the_invite(via: bytes, method: bytes) -> None:
    assert server_key(request(method), parse_via(via), b"INVITE") == key(via)


def test_an_unreadable_cseq_matters_only_where_it_is_compared() -> None:
    bad = request(cseq=b"x")
    assert key(VIA, bad) == key()
    with pytest.raises(SipError, match="400 Bad CSeq"):
        key(OLD, bad)


def test_a_client_key_tells_a_cancel_from_its_invite() -> None:
    assert client_key(b"z9hG4bK1", b"INVITE") != client_key(b"z9hG4bK1", b"CANCEL")


@pytest.mark.parametrize(
    ("status", "what"), [(100, "1xx"), (199, "1xx"), (200, "2xx"), (299, "2xx"), (300, "300-699"), (699, "300-699")]
)
def test_a_status_is_one_of_three_inputs(status: int, what: str) -> None:
    assert input_of(status) == what


# Tables


def test_what_is_asked_is_sent_at_once_and_kept_until_it_is_over() -> None:
    transactions, sink = layer()
    asked = request()
    it = transactions.ask(b"z9hG4bK1", asked, FLOW, 0.0, Deaf(), natted=True, server_name="example.org")
    assert sink == [Send(FLOW, asked.encode(), client_key(b"z9hG4bK1", b"INVITE"), False, "example.org")]
    assert transactions.clients == {it.key: it}
    assert len(transactions) == 1
    transactions.timers.run(32.0)
    assert (it.state, len(transactions)) == (TERMINATED, 0)


def test_a_server_transaction_sends_its_last_word_again_and_no_other() -> None:
    transactions, sink = layer()
    asked = request(b"OPTIONS")
    it = transactions.serve(b"k", asked, FLOW, None)
    assert (it.state, sink) == (TRYING, [])
    assert it.step("request", 0.0) is False  # nothing to say yet
    transactions.respond(it, answer(asked, 200, b"OK", (), b"t"), 0.0)
    transactions.respond(it, answer(asked, 500, b"Too Late", (), b"t"), 0.0)
    assert it.step("request", 0.0)
    assert it.state == COMPLETED
    assert [each.data.split(b"\r\n")[0] for each in sink if isinstance(each, Send)] == [b"SIP/2.0 200 OK"] * 2


def test_a_2xx_after_another_final_response_goes_out_and_is_not_what_is_sent_again() -> None:
    transactions, sink = layer()
    asked = request()
    it = transactions.serve(b"k", asked, FLOW, None)
    for status in (486, 200):
        transactions.respond(it, answer(asked, status, b"x", (), b"t"), 0.0)
    assert it.step("request", 0.0)
    assert [each.data[8:11] for each in sink if isinstance(each, Send)] == [b"486", b"200", b"486"]


def test_every_2xx_of_an_invite_goes_out() -> None:
    transactions, sink = layer()
    asked = request()
    it = transactions.serve(b"k", asked, FLOW, None)
    for tag in (b"1", b"2", b"1"):
        transactions.respond(it, answer(asked, 200, b"OK", (), tag), 0.0)
    assert it.state == ACCEPTED
    assert [each.data.partition(b";tag=")[2].partition(b"tag=")[2][:1] for each in sink if isinstance(each, Send)] == [
        b"1", b"2", b"1",
    ]  # fmt: skip


def test_a_send_that_failed_is_told_to_the_transaction_whose_token_it_bore() -> None:
    transactions, _ = layer()
    user, other = Deaf(), Deaf()
    it = transactions.ask(b"z9hG4bK1", request(), FLOW, 0.0, user)
    transactions.ask(b"z9hG4bK2", request(), FLOW, 0.0, other)
    server = transactions.serve(b"k", request(), FLOW, None)
    transactions.respond(server, answer(request(), 486, b"x", (), b"t"), 0.0)
    for token in (b"", b"unknown", it.key, it.key, b"k"):
        transactions.fail(token, 1.0)
    assert (user.told, other.told) == (["error"], [])
    assert (it.state, server.state, len(transactions)) == (TERMINATED, TERMINATED, 1)


def test_a_transaction_that_ends_does_not_take_another_of_its_key_with_it() -> None:
    transactions, _ = layer()
    first = transactions.ask(b"z9hG4bK1", request(), FLOW, 0.0, Deaf())
    second = transactions.ask(b"z9hG4bK1", request(), FLOW, 0.0, Deaf())
    first.step("error", 0.0)
    assert transactions.clients == {second.key: second}
    second.step("error", 0.0)
    assert transactions.clients == {}


def test_retransmissions_are_counted() -> None:
    transactions, _ = layer()
    transactions.ask(b"z9hG4bK1", request(), FLOW, 0.0, Deaf())
    for at in (0.5, 1.5, 3.5):
        transactions.timers.run(at)
    assert transactions.retransmissions == 3
