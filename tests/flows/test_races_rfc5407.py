"""Races that pass a proxy, as RFC 5407 §3 lists them: what crosses on the wire arrives at both ends, and ends."""

from __future__ import annotations

from tests.flows.follow import ack, cancel
from tests.flows.ladder import Dialog, Ladder, Sent, alice, arrows, bob

A, B = alice().seen, bob().seen


def ringing() -> tuple[Ladder, bytes, Sent]:
    """Return a proxy through which Alice calls Bob, her INVITE, and the INVITE as Bob has it; he rings."""
    ladder, data, invite = called()
    assert arrows(ladder.says(bob(), bob().answer(invite, 180))) == [("180", A)]
    return ladder, data, invite


def called() -> tuple[Ladder, bytes, Sent]:
    """As `ringing`, but he does not ring yet."""
    ladder, caller, callee = Ladder(), alice(), bob()
    ladder.says(callee, callee.register())
    ladder.says(caller, caller.register())
    data = caller.request(b"INVITE", callee.aor, cseq=1)
    (invite,) = ladder.says(caller, data)
    return ladder, data, invite


def established() -> tuple[Ladder, Dialog, Dialog, bytes]:
    """Return the two sides of a call before the ACK, and Bob's 200."""
    ladder, _, invite = ringing()
    ok = bob().answer(invite, 200)
    (answer,) = ladder.says(bob(), ok)
    return ladder, Dialog.of_caller(alice(), answer), Dialog.of_callee(bob(), invite), ok


def ends(ladder: Ladder) -> None:
    """All transactions end, and nothing is said any more."""
    ladder.wait(300)
    assert len(ladder.engine.transactions) == 0
    assert ladder.wait(300) == []


def test_3_1_1_an_invite_that_comes_again_after_the_200_is_absorbed() -> None:
    ladder, data, invite = ringing()
    ladder.says(bob(), bob().answer(invite, 200))
    assert ladder.says_all(alice(), data) == []
    ends(ladder)


def test_a_cancel_before_any_provisional_response_waits_for_one() -> None:
    """RFC 3261 §9.1: no CANCEL is sent before a 1xx; the caller hears 200 at once."""
    ladder, data, invite = called()
    assert arrows(ladder.says(alice(), cancel(data))) == [("200", A)]
    (passed,) = ladder.says(bob(), bob().answer(invite, 180))
    assert arrows([passed]) == [("CANCEL", B)]  # and no 180 to somebody who has given up
    ladder.says(bob(), bob().answer(passed, 200, contact=b""))
    assert arrows(ladder.says(bob(), bob().answer(invite, 487))) == [("ACK", B), ("487", A)]
    ends(ladder)


def test_a_cancel_before_any_provisional_response_and_none_ever_comes() -> None:
    ladder, data, _ = called()
    ladder.says(alice(), cancel(data))
    sent = ladder.wait(40)
    assert not any(each.what == "CANCEL" for _, each in sent)
    assert (32, "487") in [(after, each.what) for after, each in sent if each.to == A]
    ends(ladder)


def test_3_1_2_a_cancel_that_crosses_the_200_loses() -> None:
    """The 200 goes up, the caller acknowledges and hangs up."""
    ladder, data, invite = ringing()
    ok, passed = ladder.says(alice(), cancel(data))
    assert arrows([ok, passed]) == [("200", A), ("CANCEL", B)]
    (answer,) = ladder.says(bob(), bob().answer(invite, 200))
    assert (answer.what, answer.to, answer.header("CSeq")) == ("200", A, b"1 INVITE")
    assert ladder.says(bob(), bob().answer(passed, 481, contact=b"")) == []
    dialog = Dialog.of_caller(alice(), answer)
    assert arrows(ladder.says(alice(), dialog.request(b"ACK", cseq=1))) == [("ACK", B)]
    assert arrows(ladder.says(alice(), dialog.request(b"BYE"))) == [("BYE", B)]
    ends(ladder)


def test_a_cancel_after_the_200_is_answered_and_goes_no_further() -> None:
    ladder, data, invite = ringing()
    ladder.says(bob(), bob().answer(invite, 200))
    (answer,) = ladder.says(alice(), cancel(data))
    assert (answer.what, answer.to, answer.header("CSeq")) == ("200", A, b"1 CANCEL")
    ends(ladder)


def test_a_cancel_that_crosses_a_refusal_loses() -> None:
    ladder, data, invite = ringing()
    ladder.says(alice(), cancel(data))
    ours, refused = ladder.says(bob(), bob().answer(invite, 486))
    assert arrows([ours, refused]) == [("ACK", B), ("486", A)]
    assert ladder.says(alice(), ack(data, refused)) == []
    ends(ladder)


def test_a_cancel_that_comes_twice_is_passed_on_once() -> None:
    ladder, data, _ = ringing()
    assert arrows(ladder.says(alice(), cancel(data))) == [("200", A), ("CANCEL", B)]
    assert arrows(ladder.says(alice(), cancel(data))) == [("200", A)]
    ends(ladder)


def test_a_cancel_that_overtakes_its_invite_is_481() -> None:
    """UDP keeps no order; the INVITE that comes after it is a call like any other."""
    ladder, caller, callee = Ladder(), alice(), bob()
    ladder.says(callee, callee.register())
    data = caller.request(b"INVITE", callee.aor)
    assert arrows(ladder.says(caller, cancel(data))) == [("481", A)]
    assert arrows(ladder.says(caller, data)) == [("INVITE", B)]
    ends(ladder)


def test_3_1_3_an_early_bye_of_the_caller_passes_and_the_invite_ends_with_487() -> None:
    ladder, _, invite = ringing()
    (early,) = ladder.says(bob(), bob().answer(invite, 183))
    dialog = Dialog.of_caller(alice(), early)
    (bye,) = ladder.says(alice(), dialog.request(b"BYE"))
    assert arrows([bye]) == [("BYE", B)]
    assert arrows(ladder.says(bob(), bob().answer(bye, 200, contact=b""))) == [("200", A)]
    assert arrows(ladder.says(bob(), bob().answer(invite, 487))) == [("ACK", B), ("487", A)]
    ends(ladder)


def test_3_1_4_a_reinvite_before_the_ack_arrives_is_passed_on() -> None:
    """The ACK was lost, or is late: the proxy does not judge the order within a dialog."""
    ladder, hers, _, ok = established()
    (again,) = ladder.says(alice(), hers.request(b"INVITE"))
    assert arrows([again]) == [("INVITE", B)]
    assert arrows(ladder.says(bob(), bob().answer(again, 491))) == [("ACK", B), ("491", A)]
    assert arrows(ladder.says(bob(), ok)) == [("200", A)]
    assert arrows(ladder.says(alice(), hers.request(b"ACK", cseq=1))) == [("ACK", B)]
    ends(ladder)


def test_the_ack_is_lost_and_the_200_comes_again_until_it_arrives() -> None:
    """RFC 3261 §13.3.1.4: Bob repeats his 200, Alice her ACK; nothing of it is absorbed."""
    ladder, hers, _, ok = established()
    data = hers.request(b"ACK", cseq=1)
    (first,) = ladder.says(alice(), data)
    for interval in (0.5, 1, 2, 4, 4, 4):
        ladder.wait(interval)
        assert arrows(ladder.says(bob(), ok)) == [("200", A)]
        (again,) = ladder.says(alice(), data)
        assert (again.to, again.data) == (B, first.data)
    ends(ladder)


def test_a_200_that_comes_after_timer_m_is_dropped() -> None:
    """RFC 6026 §7.2: the transaction has waited 64*T1 for copies; what belongs to none is not forwarded."""
    ladder, _, _, ok = established()
    ladder.wait(31)
    assert arrows(ladder.says(bob(), ok)) == [("200", A)]
    ladder.wait(2)
    assert ladder.says(bob(), ok) == []
    assert ladder.engine.counts["stray-response"] == 1


def test_3_2_1_byes_that_cross_pass_each_other() -> None:
    ladder, hers, his, _ = established()
    (down,) = ladder.says(alice(), hers.request(b"BYE"))
    (up,) = ladder.says(bob(), his.request(b"BYE"))
    assert arrows([down, up]) == [("BYE", B), ("BYE", A)]
    assert arrows(ladder.says(bob(), bob().answer(down, 481, contact=b""))) == [("481", A)]
    assert arrows(ladder.says(alice(), alice().answer(up, 200, contact=b""))) == [("200", B)]
    ends(ladder)


def test_3_3_1_reinvites_that_cross_are_both_refused_with_491() -> None:
    ladder, hers, his, _ = established()
    (down,) = ladder.says(alice(), hers.request(b"INVITE"))
    (up,) = ladder.says(bob(), his.request(b"INVITE"))
    assert arrows([down, up]) == [("INVITE", B), ("INVITE", A)]
    assert arrows(ladder.says(bob(), bob().answer(down, 491))) == [("ACK", B), ("491", A)]
    assert arrows(ladder.says(alice(), alice().answer(up, 491))) == [("ACK", A), ("491", B)]
    ends(ladder)


def test_3_2_2_a_bye_that_crosses_a_reinvite_ends_both() -> None:
    ladder, hers, his, _ = established()
    (again,) = ladder.says(alice(), hers.request(b"INVITE"))
    (bye,) = ladder.says(bob(), his.request(b"BYE"))
    assert arrows([again, bye]) == [("INVITE", B), ("BYE", A)]
    assert arrows(ladder.says(alice(), alice().answer(bye, 200, contact=b""))) == [("200", B)]
    assert arrows(ladder.says(bob(), bob().answer(again, 481))) == [("ACK", B), ("481", A)]
    ends(ladder)


def test_3_2_3_a_200_for_a_reinvite_that_crosses_a_bye_is_acknowledged_all_the_same() -> None:
    ladder, hers, _, _ = established()
    (down,) = ladder.says(alice(), hers.request(b"INVITE"))
    (bye,) = ladder.says(alice(), hers.request(b"BYE", cseq=10))
    (ok,) = ladder.says(bob(), bob().answer(down, 200))
    assert arrows([down, bye, ok]) == [("INVITE", B), ("BYE", B), ("200", A)]
    assert arrows(ladder.says(alice(), hers.request(b"ACK"))) == [("ACK", B)]
    assert arrows(ladder.says(bob(), bob().answer(bye, 200, contact=b""))) == [("200", A)]
    ends(ladder)


def test_3_3_2_an_update_that_crosses_a_reinvite_is_refused_with_491_end_to_end() -> None:
    ladder, hers, his, _ = established()
    (down,) = ladder.says(alice(), hers.request(b"UPDATE"))
    (up,) = ladder.says(bob(), his.request(b"INVITE"))
    assert arrows([down, up]) == [("UPDATE", B), ("INVITE", A)]
    assert arrows(ladder.says(bob(), bob().answer(down, 491))) == [("491", A)]
    assert arrows(ladder.says(alice(), alice().answer(up, 491))) == [("ACK", A), ("491", B)]
    ends(ladder)


def test_3_1_6_and_3_2_4_a_bye_that_overtakes_the_ack_passes_and_so_does_the_ack() -> None:
    ladder, hers, _, _ = established()
    (bye,) = ladder.says(alice(), hers.request(b"BYE"))
    assert arrows(ladder.says(bob(), bob().answer(bye, 200, contact=b""))) == [("200", A)]
    assert arrows(ladder.says(alice(), hers.request(b"ACK", cseq=1))) == [("ACK", B)]
    ends(ladder)
