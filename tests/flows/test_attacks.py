"""What was tried against the proxy, and does not work any more."""

from __future__ import annotations

from dataclasses import replace
from time import process_time

import pytest

from proxy.core.admission import Allowance
from proxy.core.validate import MAX_HOPS
from proxy.sip.message import Request
from tests.flows.follow import credentials, users
from tests.flows.ladder import MAPPED_BOB, Dialog, Ladder, alice, arrows, bob
from tests.flows.test_authentication import ELSEWHERE, from_elsewhere, proven, proxy, stranger

A, B = alice().seen, bob().seen


def test_who_once_called_a_user_cannot_send_anywhere_with_what_he_got_for_it() -> None:
    """A Record-Route vouches for our users' hosts, not for a stranger's, whatever To tag he invents."""
    ladder, far = proxy(), stranger()
    (invite,) = ladder.says(far, from_elsewhere(far.request(b"INVITE", bob().aor)))
    (ringing,) = ladder.says(bob(), bob().answer(invite, 180))
    dialog = Dialog.of_caller(far, ringing)
    for target, routes in ((ELSEWHERE, dialog.routes), (bob().aor, [*dialog.routes, b"<sip:198.51.100.77;lr>"])):
        elsewhere = replace(dialog, target=target, routes=routes)
        for method in (b"INVITE", b"MESSAGE"):
            sent = ladder.says(far, elsewhere.request(method, cseq=7))
            assert all(each.to in {B, far.seen} for each in sent), method
    assert arrows(ladder.says(far, dialog.request(b"BYE"))) == [("BYE", B)]


def test_a_registered_contact_on_another_host_opens_that_host_to_nobody() -> None:
    ladder, phone = Ladder(), alice()
    ladder.one(phone.register(contact=b"<sip:alice@198.51.100.99:25>"), phone.seen)
    assert ladder.status(bob().request(b"INVITE", b"sip:x@198.51.100.99:25"), B) == 403


def test_the_private_address_of_a_phone_is_no_target_for_strangers() -> None:
    ladder, phone = Ladder(), alice()
    ladder.one(phone.register(), phone.seen)
    for parameter in (b"", b";transport=tcp"):
        assert ladder.status(bob().request(b"INVITE", phone.contact + parameter), B) == 403


@pytest.mark.parametrize("many", [b"Route: " + b", ".join([b"<sip:198.51.100.10>"] * 2600)])
def test_thousands_of_routes_to_us_cost_no_more_than_reading_them(many: bytes) -> None:
    ladder, began = Ladder(mapping=MAPPED_BOB), process_time()
    assert ladder.status(alice().request(b"OPTIONS", bob().aor, many), A) == 400
    assert process_time() - began < 0.5


def test_as_many_hops_as_max_forwards_allows_are_fine() -> None:
    ladder = Ladder(mapping=MAPPED_BOB)
    routes = b"Route: " + b", ".join([b"<sip:198.51.100.10;lr>"] * MAX_HOPS)
    sent = ladder.one(alice().request(b"INVITE", bob().aor, routes), A)
    assert (sent.to, sent.values("Route")) == (B, [])


def test_no_request_within_a_dialog_carries_a_password_further() -> None:
    """RFC 3261 §22.1 has phones put their credentials into the ACK: offline guessing for whoever gets it."""
    ladder, far = proxy(), stranger()
    (invite,) = proven(ladder, alice(), b"INVITE", b"sip:mallory@198.51.100.66")
    assert isinstance(invite.message, Request)
    (ok,) = ladder.says(far, far.answer(invite, 200))
    line = b'Proxy-Authorization: Digest username="alice", realm="example.org", nonce="n", uri="sip:x", response="r"'
    for method in (b"ACK", b"INVITE", b"BYE"):
        (sent,) = ladder.says(alice(), Dialog.of_caller(alice(), ok).request(method, line, cseq=9))
        assert (sent.to, sent.header("Proxy-Authorization")) == (far.seen, None)


def test_passwords_for_a_nonce_that_was_not_given_to_this_address_are_not_counted_and_tell_nothing() -> None:
    """Else a few packets with a phone's address in them would lock it out."""
    ladder, phone = proxy(Allowance(free_failures=1)), alice()
    (challenge,) = ladder.says(phone, phone.register())
    for password in (b"wrong", b"alice"):
        line = credentials(challenge, b"alice", b"REGISTER", b"sip:198.51.100.10", password)
        answer = ladder.one(phone.register(line), stranger().seen)
        assert answer.what == "401"
        assert b"stale=true" in (answer.header("WWW-Authenticate") or b"")
    assert ladder.engine.counts["wrong-passwords"] == 0


def test_who_guesses_under_many_names_is_known_by_the_name_he_guesses_for() -> None:
    ladder, phone = proxy(Allowance(free_failures=2)), alice()
    statuses = []
    for number in range(6):
        (challenge,) = ladder.says(phone, phone.register().replace(b"To: <sip:alice@", b"To: <sip:nobody@"))
        line = credentials(challenge, b"alice", b"REGISTER", b"sip:198.51.100.10", b"guess%d" % number)
        data = phone.register(line).replace(b"To: <sip:alice@", b"To: <sip:nobody%d@" % number)
        statuses.append(ladder.status(data, A))
    assert statuses[-1] == 503


def test_an_invented_to_tag_does_not_go_round_the_shedding_of_load() -> None:
    ladder = Ladder(mapping=MAPPED_BOB, max_transactions=1000)
    ladder.engine.transactions.pending = 2000
    assert ladder.status(alice().request(b"INVITE", bob().aor, to=b"<sip:bob@x>;tag=1"), A) == 503


def test_a_lookup_that_nobody_answers_ends_with_504() -> None:
    ladder = Ladder(allowed=[A[0]])
    assert ladder.send(alice().request(b"INVITE", b"sip:x@silent.example"), A) == []
    ((passed, answer),) = ladder.wait(20)[:1]
    assert (answer.what, passed) == ("504", 10.0)


def test_what_a_stranger_can_make_us_keep_of_a_registration_is_short() -> None:
    phone = alice()
    for line in (b"Path: <tel:1>\r\nSupported: path",):
        assert Ladder().status(phone.register(line), phone.seen) in {400, 416}
    assert Ladder().status(phone.register(call_id=b"x" * 300), phone.seen) == 400


def test_nobody_but_a_user_may_say_who_he_is_by_p_asserted_identity() -> None:
    """RFC 3325 §5."""
    ladder, far = Ladder(users=users(b"bob"), mapping=MAPPED_BOB), stranger()
    data = from_elsewhere(far.request(b"INVITE", bob().aor, b"P-Asserted-Identity: <sip:boss@example.org>"))
    assert ladder.one(data, far.seen).header("P-Asserted-Identity") is None
