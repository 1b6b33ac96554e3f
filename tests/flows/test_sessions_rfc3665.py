"""Calls as RFC 3665 §3 shows them, as far as one proxy sees them. F numbers are those of the arrows that touch it."""

from __future__ import annotations

import pytest

from tests.flows.follow import ack, cancel, credentials, users
from tests.flows.ladder import Dialog, Ladder, Sent, alice, arrows, bob

A, B = alice().seen, bob().seen


def registered(*names: bytes, with_passwords: bool = False) -> Ladder:
    """Return a proxy where both phones are registered; with passwords for all when it wants them."""
    ladder = Ladder(users=users(b"alice", b"bob") if with_passwords else None)
    for phone in (alice(), bob()):
        answer = ladder.one(phone.register(), phone.seen)
        if with_passwords:
            line = credentials(answer, phone.name.encode(), b"REGISTER", b"sip:198.51.100.10")
            answer = ladder.one(phone.register(line), phone.seen)
        assert answer.what == "200"
    return ladder


def test_3_2_success() -> None:
    """INVITE, 100, 180, 200, ACK, BYE, 200: whatever else leaves the proxy would be seen here."""
    ladder, caller, callee = registered(), alice(), bob()
    trying, invite = ladder.says_all(caller, caller.request(b"INVITE", callee.aor, body=b"v=0\r\n"))  # F1 to F3
    assert arrows([trying, invite]) == [("100", A), ("INVITE", B)]
    assert b";tag=" not in (trying.header("To") or b"")
    (ringing,) = ladder.says(callee, callee.answer(invite, 180))
    assert arrows([ringing]) == [("180", A)]
    (ok,) = ladder.says(callee, callee.answer(invite, 200))
    assert arrows([ok]) == [("200", A)]
    hers, his = Dialog.of_caller(caller, ok), Dialog.of_callee(callee, invite)
    assert arrows(ladder.says(caller, hers.request(b"ACK", cseq=1))) == [("ACK", B)]
    (bye,) = ladder.says(callee, his.request(b"BYE"))
    assert arrows([bye]) == [("BYE", A)]
    assert arrows(ladder.says(caller, caller.answer(bye, 200, contact=b""))) == [("200", B)]
    assert ladder.wait(200) == []
    assert len(ladder.engine.transactions) == 0


def test_3_3_the_callers_password_is_asked_for_and_stays_with_us() -> None:
    ladder, caller, callee = registered(with_passwords=True), alice(), bob()
    data = caller.request(b"INVITE", callee.aor)
    (refused,) = ladder.says_all(caller, data)  # F1, F2: no 100, no transaction
    assert arrows([refused]) == [("407", A)]
    assert ladder.says(caller, ack(data, refused)) == []  # F3
    password = credentials(refused, b"alice", b"INVITE", callee.aor)
    (invite,) = ladder.says(caller, caller.request(b"INVITE", callee.aor, password))  # F4
    assert arrows([invite]) == [("INVITE", B)]
    assert invite.header("Proxy-Authorization") is None
    (ok,) = ladder.says(callee, callee.answer(invite, 200))
    dialog = Dialog.of_caller(caller, ok)
    for method in (b"ACK", b"INVITE", b"BYE"):  # within the dialog nobody asks again
        assert arrows(ladder.says(caller, dialog.request(method))) == [(method.decode(), B)]


@pytest.mark.parametrize(
    "status",
    [pytest.param(302, id="3.6 redirected"), pytest.param(486, id="3.9 busy"), pytest.param(480, id="3.11 away")],
)
def test_an_unsuccessful_call_is_acknowledged_hop_by_hop(status: int) -> None:
    ladder, caller, callee = registered(), alice(), bob()
    data = caller.request(b"INVITE", callee.aor)
    (invite,) = ladder.says(caller, data)
    ours, refusal = ladder.says(callee, callee.answer(invite, status))
    assert arrows([ours, refusal]) == [("ACK", B), (str(status), A)]
    assert ladder.says(caller, ack(data, refusal)) == []
    assert ladder.wait(200) == []
    assert len(ladder.engine.transactions) == 0


def test_3_8_no_answer_and_the_caller_gives_up() -> None:
    ladder, caller, callee = registered(), alice(), bob()
    data = caller.request(b"INVITE", callee.aor)
    (invite,) = ladder.says(caller, data)
    ladder.says(callee, callee.answer(invite, 180))
    ok, passed = ladder.says(caller, cancel(data))  # F9 CANCEL, F10 200, F11 CANCEL
    assert arrows([ok, passed]) == [("200", A), ("CANCEL", B)]
    assert ladder.says(callee, callee.answer(passed, 200, contact=b"")) == []  # F12
    ours, terminated = ladder.says(callee, callee.answer(invite, 487))  # F13, F14 ACK, F15
    assert arrows([ours, terminated]) == [("ACK", B), ("487", A)]
    assert ladder.says(caller, ack(data, terminated)) == []  # F16
    assert ladder.wait(200) == []
    assert len(ladder.engine.transactions) == 0


def test_a_callee_who_only_rings_is_cancelled_by_timer_c() -> None:
    """RFC 3261 §16.8."""
    ladder, caller, callee = registered(), alice(), bob()
    (invite,) = ladder.says(caller, caller.request(b"INVITE", callee.aor))
    ladder.says(callee, callee.answer(invite, 180))
    after, passed = next(each for each in ladder.wait(182) if each[1].to == B)
    assert (after, passed.what) == (181, "CANCEL")


def test_3_11_a_callee_who_is_not_there_is_480_and_an_unknown_one_404() -> None:
    ladder, caller = Ladder(), alice()
    callee = bob()
    data = caller.request(b"INVITE", callee.aor)
    unknown = ladder.one(data, caller.seen)
    assert unknown.what == "404"
    assert ladder.says(caller, ack(data, unknown)) == []
    ladder.one(callee.register(b"Expires: 60"), callee.seen)
    ladder.now += 61
    assert ladder.status(caller.request(b"INVITE", callee.aor), caller.seen) == 480


def test_3_10_a_callee_whose_phone_is_off_is_408_after_32_seconds() -> None:
    ladder, caller, callee = registered(), alice(), bob()
    data = caller.request(b"INVITE", callee.aor)
    ladder.says(caller, data)
    sent = ladder.wait(33)
    assert arrows(each for _, each in sent if each.to == B) == [("INVITE", B)] * 6
    after, timeout = next((after, each) for after, each in sent if each.to == A)
    assert (after, timeout.what) == (32, "408")
    assert ladder.says(caller, ack(data, timeout)) == []


def session(ladder: Ladder) -> tuple[Dialog, Dialog]:
    caller, callee = alice(), bob()
    (invite,) = ladder.says(caller, caller.request(b"INVITE", callee.aor))
    (ok,) = ladder.says(callee, callee.answer(invite, 200))
    hers, his = Dialog.of_caller(caller, ok), Dialog.of_callee(callee, invite)
    ladder.says(caller, hers.request(b"ACK", cseq=1))
    return hers, his


def reinvite(ladder: Ladder, dialog: Dialog, status: int) -> list[Sent]:
    """Let one side change the session, and the other answer."""
    (request,) = ladder.says(dialog.phone, dialog.request(b"INVITE"))
    other = bob() if request.to == B else alice()
    return ladder.says(other, other.answer(request, status))


def test_3_7_a_session_is_changed_by_the_callee_with_a_reinvite() -> None:
    ladder = registered()
    _, his = session(ladder)
    (ok,) = reinvite(ladder, his, 200)
    assert arrows([ok]) == [("200", B)]
    assert arrows(ladder.says(his.phone, his.request(b"ACK"))) == [("ACK", A)]


def test_3_6_the_session_description_in_an_ack_passes() -> None:
    ladder = registered()
    hers, _ = session(ladder)
    data = hers.request(b"ACK", cseq=1).replace(b"Content-Length: 0\r\n\r\n", b"Content-Length: 5\r\n\r\nv=0\r\n")
    (ack_of_2xx,) = ladder.says(hers.phone, data)
    assert (ack_of_2xx.what, ack_of_2xx.message.body) == ("ACK", b"v=0\r\n")


def test_a_refused_reinvite_leaves_the_session_as_it_was() -> None:
    ladder = registered()
    hers, his = session(ladder)
    ours, refused = reinvite(ladder, hers, 488)
    assert arrows([ours, refused]) == [("ACK", B), ("488", A)]
    assert arrows(ladder.says(his.phone, his.request(b"BYE"))) == [("BYE", A)]
