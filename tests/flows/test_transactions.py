"""Which transaction a message belongs to (RFC 3261 §17.1.3, §17.2.3), and what is refused before one is made."""

from __future__ import annotations

import pytest

from tests.flows.follow import ack, cancel
from tests.flows.ladder import MAPPED_BOB, Dialog, Ladder, Phone, Sent, alice, arrows, bob

A, B = alice().seen, bob().seen
MAGIC, OLD = b"z9hG4bK-alice-1", b"1"  # a branch of RFC 3261's making, and one of RFC 2543's


def invite(branch: bytes = MAGIC, own: tuple[str, int] = alice().own) -> bytes:
    phone = Phone("alice", own, A)
    return phone.request(b"INVITE", bob().aor, branch=branch)


def answered(ladder: Ladder, data: bytes, status: int) -> Sent:
    """Let an INVITE arrive and Bob answer; return the answer as it goes up."""
    (request,) = ladder.send(data, A)
    return ladder.says(bob(), bob().answer(request, status))[-1]


@pytest.mark.parametrize("branch", [MAGIC, b"Z9HG4BK-alice-1", OLD, b"z9hG4bK"])
def test_a_copy_of_a_request_is_absorbed_whatever_its_branch(branch: bytes) -> None:
    """§17.2.3; RFC 3261 §8.1.1.7: the magic cookie in any case; it alone is no branch."""
    ladder = Ladder(mapping=MAPPED_BOB)
    data = invite(branch)
    assert arrows(ladder.send(data, A)) == [("INVITE", B)]
    for _ in range(3):
        assert arrows(ladder.says_all(alice(), data)) == [("100", A)]
    assert ladder.engine.counts["absorbed"] == 3


@pytest.mark.parametrize("branch", [MAGIC, OLD])
def test_the_ack_for_a_refusal_finds_its_invite(branch: bytes) -> None:
    ladder = Ladder(mapping=MAPPED_BOB)
    data = invite(branch)
    refusal = answered(ladder, data, 486)
    for _ in range(2):  # the second finds it confirmed
        assert ladder.send(ack(data, refusal), A) == []
    assert ladder.wait(4.9) == []  # Timer G has stopped


@pytest.mark.parametrize("branch", [MAGIC, OLD])
def test_a_cancel_finds_its_invite(branch: bytes) -> None:
    ladder = Ladder(mapping=MAPPED_BOB)
    data = invite(branch)
    (request,) = ladder.send(data, A)
    ladder.says(bob(), bob().answer(request, 180))
    assert arrows(ladder.send(cancel(data), A)) == [("200", A), ("CANCEL", B)]


@pytest.mark.parametrize("branch", [MAGIC, OLD])
def test_the_ack_for_a_2xx_is_passed_on_although_it_looks_like_the_invites(branch: bytes) -> None:
    """RFC 6026 §7.1: an old phone gives it the INVITE's branch."""
    ladder = Ladder(mapping=MAPPED_BOB)
    data = invite(branch)
    dialog = Dialog.of_caller(alice(), answered(ladder, data, 200))
    end_to_end = dialog.request(b"ACK", cseq=1).replace(b"z9hG4bK-alice-ACK-1", branch)
    assert arrows(ladder.send(end_to_end, A)) == [("ACK", B)]


def test_an_ack_before_any_final_response_goes_nowhere() -> None:
    ladder = Ladder(mapping=MAPPED_BOB)
    data = invite()
    (request,) = ladder.send(data, A)
    assert ladder.send(ack(data, request), A) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"UDP 10.77.1.100:5060", b"UDP 10.77.1.101:5060"),  # sent-by: another phone's branch may be the same
        (b"UDP 10.77.1.100:5060", b"UDP 10.77.1.100:5062"),
        (b"-alice-1", b"-alice-x"),
    ],
)
def test_another_branch_or_another_sent_by_is_another_transaction(old: bytes, new: bytes) -> None:
    ladder = Ladder(mapping=MAPPED_BOB)
    assert arrows(ladder.send(invite(), A)) == [("INVITE", B)]
    other = invite().replace(old, new)
    assert arrows(ladder.send(cancel(other), A)) == [("481", A)]
    assert arrows(ladder.send(other, A)) == [("INVITE", B)]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"sip:bob@198.51.100.10 SIP", b"sip:bob@198.51.100.10:5060 SIP"),
        (b"tag=alice", b"tag=alice2"),
        (b"Call-ID: call", b"Call-ID: call2"),
        (b"CSeq: 1", b"CSeq: 2"),
        (b"branch=1", b"branch=2"),
    ],
)
def test_of_an_old_request_everything_counts(old: bytes, new: bytes) -> None:
    """§17.2.3, the second list: Request-URI, From tag, Call-ID, CSeq number, top Via."""
    ladder = Ladder(mapping=MAPPED_BOB)
    assert arrows(ladder.send(invite(OLD), A)) == [("INVITE", B)]
    assert arrows(ladder.send(invite(OLD).replace(old, new), A)) == [("INVITE", B)]


def test_a_cancel_for_nothing_is_481_and_for_a_refused_invite_too() -> None:
    """§9.2; an INVITE that was refused without a transaction has left none."""
    ladder, phone = Ladder(mapping=MAPPED_BOB), alice()
    assert ladder.status(cancel(invite()), A) == 481
    data = phone.request(b"INVITE", b"sip:nobody@198.51.100.10")
    assert ladder.status(data, A) == 404
    assert ladder.status(cancel(data), A) == 481


def test_one_request_by_two_ways_is_passed_on_twice() -> None:
    """§8.2.2.2: merged requests are the callee's to refuse; a proxy that did would break forking before it."""
    ladder = Ladder(mapping=MAPPED_BOB, allowed=["198.51.100.50", "198.51.100.51"])
    below = b"Via: SIP/2.0/UDP 10.77.1.100:5060;branch=z9hG4bK-alice-1"
    for host in (b"198.51.100.50", b"198.51.100.51"):
        above = b"Via: SIP/2.0/UDP %b:5060;branch=z9hG4bK-%b\r\n%b" % (host, host, below)
        (sent,) = ladder.send(invite().replace(below, above), (host.decode(), 5060))
        assert arrows([sent]) == [("INVITE", B)]
        assert len(sent.values("Via")) == 3


# Loops and spirals (§16.3 step 4, RFC 5393 §4.2): another proxy sends back what we sent to it


def through(ladder: Ladder, sent: Sent, uri: bytes) -> list[Sent]:
    """Let the proxy at 198.51.100.50 send a request back to us, for another Request-URI."""
    data = sent.data.replace(sent.start, b"INVITE %b SIP/2.0" % uri)
    via = b"\r\nVia: SIP/2.0/UDP 198.51.100.50:5060;branch=z9hG4bK-%d\r\nVia: " % len(sent.values("Via"))
    return ladder.send(data.replace(b"\r\nVia: ", via, 1), ("198.51.100.50", 5060))


def test_a_request_that_comes_back_unchanged_is_482() -> None:
    ladder = Ladder(allowed=[A[0], "198.51.100.50"])
    uri = b"sip:x@198.51.100.50"
    (sent,) = ladder.send(alice().request(b"INVITE", uri), A)
    *_, refused = through(ladder, sent, uri)
    assert arrows([refused]) == [("482", ("198.51.100.50", 5060))]


def test_a_loop_is_found_when_it_has_been_round_by_other_names() -> None:
    """x becomes y there, y becomes x: the second x is the first one."""
    ladder = Ladder(allowed=[A[0], "198.51.100.50"])
    x, y = b"sip:x@198.51.100.50", b"sip:y@198.51.100.50"
    (sent,) = ladder.send(alice().request(b"INVITE", x), A)
    (sent,) = through(ladder, sent, y)
    assert arrows([sent]) == [("INVITE", ("198.51.100.50", 5060))]
    assert arrows(through(ladder, sent, x)) == [("482", ("198.51.100.50", 5060))]


def test_a_spiral_is_fine() -> None:
    """RFC 3261 §6: it comes back for another Request-URI, and goes elsewhere."""
    ladder = Ladder(mapping=MAPPED_BOB, allowed=[A[0], "198.51.100.50"])
    (sent,) = ladder.send(alice().request(b"INVITE", b"sip:x@198.51.100.50"), A)
    (again,) = through(ladder, sent, bob().aor)
    assert arrows([again]) == [("INVITE", B)]
    assert again.header("Max-Forwards") == b"68"


# Too much to do, or the end is near


def live_call(ladder: Ladder) -> tuple[Dialog, Dialog, bytes, Sent]:
    """Return both sides of a call that stands, and an INVITE that rings: as sent, and as Bob has it."""
    data = alice().request(b"INVITE", bob().aor, call_id=b"stands", branch=b"z9hG4bK-stands")
    (request,) = ladder.send(data, A)
    (ok,) = ladder.says(bob(), bob().answer(request, 200))
    ringing = invite()
    (called,) = ladder.send(ringing, A)
    ladder.says(bob(), bob().answer(called, 180))
    return Dialog.of_caller(alice(), ok), Dialog.of_callee(bob(), request), ringing, called


@pytest.mark.parametrize("why", ["too much", "draining"])
def test_new_requests_are_refused_with_retry_after_while_live_calls_go_on(why: str) -> None:
    """§21.5.4: 503; whoever is in a call can end it, and whoever rings can be answered."""
    ladder = Ladder(mapping=MAPPED_BOB)
    hers, his, ringing, called = live_call(ladder)
    if why == "draining":
        ladder.engine.is_draining = True
    else:
        ladder.engine.policy.max_transactions = 1
    for data in (alice().request(b"INVITE", bob().aor, cseq=5), alice().register()):
        refused = ladder.one(data, A)
        assert (refused.what, refused.header("Retry-After")) == ("503", b"10")
    assert ladder.engine.counts["shed"] == 2
    assert arrows(ladder.send(ringing, A)) == [("180", A)]
    assert arrows(ladder.says(bob(), his.request(b"INVITE"))) == [("INVITE", A)]
    assert arrows(ladder.send(hers.request(b"ACK", cseq=1), A)) == [("ACK", B)]
    assert arrows(ladder.send(hers.request(b"BYE"), A)) == [("BYE", B)]
    assert arrows(ladder.send(cancel(ringing), A)) == [("200", A), ("CANCEL", B)]
    assert arrows(ladder.says(bob(), bob().answer(called, 200))) == [("200", A)]


def test_a_draining_proxy_counts_what_still_waits_for_an_answer() -> None:
    ladder = Ladder(mapping=MAPPED_BOB)
    assert ladder.engine.pending() == 0
    (request,) = ladder.send(invite(), A)
    assert ladder.engine.pending() == 1
    ladder.says(bob(), bob().answer(request, 200))
    assert ladder.engine.pending() == 0


# In the order of §16.3


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        (((b"Max-Forwards: 70", b"Max-Forwards: 0\r\nProxy-Require: x"), (b"INVITE sip:", b"INVITE tel:")), 416),
        (((b"Max-Forwards: 70", b"Max-Forwards: 0\r\nProxy-Require: x"),), 483),
        (((b"Max-Forwards: 70", b"Proxy-Require: x\r\nMax-Forwards: 70"),), 420),
        (((b"sip:bob@198.51.100.10 SIP", b"sip:bob@198.51.100.77 SIP"),), 403),
    ],
)
def test_of_several_faults_the_first_in_the_rfcs_order_is_named(
    changes: tuple[tuple[bytes, bytes], ...], status: int
) -> None:
    data = invite()
    for old, new in changes:
        assert old in data
        data = data.replace(old, new)
    assert Ladder(mapping=MAPPED_BOB).status(data, A) == status
