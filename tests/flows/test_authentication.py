"""Who may have what done (RFC 3261 §22, §26): users prove who they are, strangers reach users and nobody else."""

from __future__ import annotations

import pytest

from proxy.core.admission import Admission, Allowance
from proxy.sip.headers import parse_name_addr
from tests.flows.follow import cancel, credentials, users
from tests.flows.ladder import Dialog, Ladder, Phone, Sent, alice, arrows, bob

A, B = alice().seen, bob().seen
ELSEWHERE = b"sip:x@198.51.100.77"


def proxy(allowance: Allowance | None = None) -> Ladder:
    """Return a proxy with passwords, where Bob is registered."""
    admission = None if allowance is None else Admission(allowance)
    ladder = Ladder(users=users(b"alice", b"bob"), admission=admission)
    callee = bob()
    (challenge,) = ladder.says(callee, callee.register())
    line = credentials(challenge, b"bob", b"REGISTER", b"sip:198.51.100.10")
    assert arrows(ladder.says(callee, callee.register(line))) == [("200", B)]
    return ladder


def stranger() -> Phone:
    """Somebody of whom we know nothing; his From says so."""
    return Phone("mallory", ("198.51.100.66", 5060), ("198.51.100.66", 5060))


def from_elsewhere(data: bytes) -> bytes:
    return data.replace(b"From: <sip:mallory@198.51.100.10>", b"From: <sip:mallory@elsewhere.example>")


def proven(ladder: Ladder, phone: Phone, method: bytes, uri: bytes, *lines: bytes) -> list[Sent]:
    """Send a request, answer its challenge; return what follows."""
    (challenge,) = ladder.says(phone, phone.request(method, uri, *lines))
    assert challenge.what == "407"
    password = credentials(challenge, phone.name.encode(), method, uri)
    return ladder.says(phone, phone.request(method, uri, password, *lines))


def test_a_user_who_proves_it_may_call_anywhere() -> None:
    assert arrows(proven(proxy(), alice(), b"INVITE", ELSEWHERE)) == [("INVITE", ("198.51.100.77", 5060))]


def test_a_user_who_proves_it_may_preload_a_route() -> None:
    (sent,) = proven(proxy(), alice(), b"INVITE", ELSEWHERE, b"Route: <sip:198.51.100.10;lr>, <sip:198.51.100.99;lr>")
    assert (sent.to, sent.values("Route")) == (("198.51.100.99", 5060), [b"<sip:198.51.100.99;lr>"])


def test_a_stranger_reaches_our_users_without_a_password() -> None:
    """§26.3.2.1: a domain must be callable from outside."""
    ladder, caller = proxy(), stranger()
    (invite,) = ladder.says(caller, from_elsewhere(caller.request(b"INVITE", bob().aor)))
    assert arrows([invite]) == [("INVITE", B)]
    (ok,) = ladder.says(bob(), bob().answer(invite, 200))
    bye = Dialog.of_caller(caller, ok).request(b"BYE")
    assert arrows(ladder.says(caller, bye)) == [("BYE", B)]


@pytest.mark.parametrize("method", [b"INVITE", b"MESSAGE", b"OPTIONS", b"SUBSCRIBE", b"REGISTER"])
@pytest.mark.parametrize(
    "route",
    [b"Route: <sip:198.51.100.10;lr>", b"Route: <sip:198.51.100.99;lr>", b"Route: <sip:198.51.100.10;lr;d=x>", b"X: y"],
)
def test_no_stranger_has_us_send_elsewhere(method: bytes, route: bytes) -> None:
    ladder, caller = proxy(), stranger()
    assert ladder.status(from_elsewhere(caller.request(method, ELSEWHERE, route)), caller.seen) == 403


def test_a_to_tag_alone_makes_no_dialog() -> None:
    """Only the token in our Record-Route says that a dialog came through us."""
    ladder, caller = proxy(), stranger()
    data = caller.request(b"INVITE", ELSEWHERE, to=b"<%b>;tag=x" % ELSEWHERE)
    assert ladder.status(from_elsewhere(data), caller.seen) == 403
    claims_ours = alice().request(b"INVITE", bob().aor, to=b"<%b>;tag=x" % bob().aor)
    assert ladder.status(claims_ours, A) == 407


def test_a_public_contact_is_no_way_round_the_password() -> None:
    """Whoever was in a call with Alice knows it, and may call her again, but not as one of us."""
    ladder, far = proxy(), stranger()
    (invite,) = proven(ladder, alice(), b"INVITE", b"sip:mallory@198.51.100.66")
    her = parse_name_addr(invite.values("Contact")[0]).uri
    again = from_elsewhere(far.request(b"INVITE", her))
    assert ladder.status(again, far.seen) == 403, "she is not registered: the address may be somebody else's by now"
    (challenge,) = ladder.says(alice(), alice().register())
    ladder.says(alice(), alice().register(credentials(challenge, b"alice", b"REGISTER", b"sip:198.51.100.10"), cseq=2))
    assert arrows(ladder.says(far, again.replace(b"-mallory-", b"-again-"))) == [("INVITE", A)]
    assert ladder.status(far.request(b"MESSAGE", her), far.seen) == 407
    bye = Dialog.of_callee(far, invite)
    assert arrows(ladder.says(far, bye.request(b"BYE"))) == [("BYE", A)]


def test_the_token_of_a_dialog_opens_nothing_outside_of_it() -> None:
    ladder, far = proxy(), stranger()
    (invite,) = proven(ladder, alice(), b"INVITE", b"sip:mallory@198.51.100.66")
    route, call_id = b"Route: " + invite.values("Record-Route")[0], invite.header("Call-ID")
    data = from_elsewhere(far.request(b"INVITE", ELSEWHERE, route, call_id=call_id))
    assert ladder.status(data, far.seen) == 403
    hers = alice().request(b"INVITE", ELSEWHERE, route, call_id=call_id)  # it vouches for her host, within the dialog
    assert ladder.status(hers.replace(b"sip:alice@198.51.100.10>;tag", b"sip:x@198.51.100.77>;tag", 1), A) == 403


@pytest.mark.parametrize(
    "sender",
    [
        b"<sip:alice@198.51.100.10>;tag=1",
        b"<sip:alice@198.51.100.10:5070>;tag=1",
        b"<sip:ALICE@198.51.100.10>;tag=1",
        b"<sip:%61lice@example.org>;tag=1",
        b'"Bob" <sips:alice@EXAMPLE.ORG;x=y>;tag=1',
        b"sip:nobody@example.org;tag=1",
    ],
)
def test_whoever_claims_to_be_one_of_ours_is_asked_to_prove_it(sender: bytes) -> None:
    ladder, caller = proxy(), stranger()
    data = caller.request(b"INVITE", bob().aor).replace(b"<sip:mallory@198.51.100.10>;tag=mallory", sender)
    assert sender in data
    assert ladder.status(data, caller.seen) == 407


def test_a_user_does_not_call_in_the_name_of_another() -> None:
    ladder, caller = proxy(), alice()
    (challenge,) = ladder.says(caller, caller.request(b"INVITE", bob().aor))
    password = credentials(challenge, b"alice", b"INVITE", bob().aor)
    forged = caller.request(b"INVITE", bob().aor, password).replace(b"<sip:alice@", b"<sip:bob@")
    assert ladder.status(forged, A) == 403


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"To: <sip:alice@", b"To: <sip:bob@"),
        (b"From: <sip:alice@", b"From: <sip:bob@"),
        (b"To: <sip:alice@198.51.100.10>", b"To: <sip:bob@example.org>"),
        (b"From: <sip:alice@198.51.100.10>", b"From: <sip:alice@elsewhere.example>"),
    ],
)
def test_a_user_does_not_register_another(old: bytes, new: bytes) -> None:
    """§10.3 steps 3 and 4; a third party's registration is nothing that anybody here needs."""
    ladder, phone = proxy(), alice()
    (challenge,) = ladder.says(phone, phone.register())
    data = phone.register(credentials(challenge, b"alice", b"REGISTER", b"sip:198.51.100.10"))
    assert old in data
    assert ladder.status(data.replace(old, new), A) == 403
    assert len(ladder.location.by_id) == 1


def test_what_was_computed_for_one_target_does_not_open_another() -> None:
    ladder, caller = proxy(), alice()
    (challenge,) = ladder.says(caller, caller.request(b"INVITE", bob().aor))
    password = credentials(challenge, b"alice", b"INVITE", bob().aor)
    assert ladder.status(caller.request(b"INVITE", ELSEWHERE, password), A) == 400
    assert ladder.status(caller.request(b"MESSAGE", bob().aor, password), A) == 407


def test_ack_and_cancel_are_never_challenged() -> None:
    """§22.1: nobody could answer."""
    ladder, caller = proxy(), alice()
    (challenge,) = ladder.says(caller, caller.request(b"INVITE", bob().aor))
    password = credentials(challenge, b"alice", b"INVITE", bob().aor)
    data = caller.request(b"INVITE", bob().aor, password)
    (invite,) = ladder.says(caller, data)
    ladder.says(bob(), bob().answer(invite, 180))
    assert arrows(ladder.says(caller, cancel(data))) == [("200", A), ("CANCEL", B)]
    assert ladder.says(caller, caller.request(b"ACK", ELSEWHERE)) == []
    assert ladder.engine.counts["challenges"] == 2  # Bob's REGISTER, Alice's first INVITE


def test_credentials_for_another_realm_pass_and_ours_do_not() -> None:
    """§22.3."""
    other = b'Proxy-Authorization: Digest username="alice", realm="other", nonce="n", uri="x", response="y"'
    (sent,) = proven(proxy(), alice(), b"INVITE", bob().aor, other)
    assert [line for line in sent.message.lines if line.startswith(b"Proxy-Authorization")] == [other]


def test_options_to_the_proxy_needs_no_password_and_a_message_to_nobody_is_404() -> None:
    ladder = proxy()
    assert ladder.status(alice().request(b"OPTIONS", b"sip:198.51.100.10"), A) == 200
    assert ladder.status(alice().request(b"MESSAGE", b"sip:198.51.100.10"), A) == 404


# Guessing


def guess(ladder: Ladder, phone: Phone, password: bytes, source: tuple[str, int] | None = None) -> Sent:
    """Try a password for this phone's user."""
    source = source or phone.seen
    challenge = ladder.one(phone.register(), source)
    if challenge.what != "401":
        return challenge
    line = credentials(challenge, phone.name.encode(), b"REGISTER", b"sip:198.51.100.10", password)
    return ladder.one(phone.register(line), source)


def test_after_some_wrong_passwords_none_is_looked_at_for_longer_and_longer() -> None:
    ladder, phone = proxy(Allowance(free_failures=3, most_penalty_s=8)), alice()
    assert [guess(ladder, phone, b"wrong").what for _ in range(4)] == ["401"] * 4
    for penalty in (2, 4, 8, 8):
        right = guess(ladder, phone, b"secret")
        assert (right.what, right.header("Retry-After")) == ("503", b"%d" % (penalty + 1))
        ladder.now += penalty - 0.1
        assert guess(ladder, phone, b"secret").what == "503"
        ladder.now += 0.1
        assert guess(ladder, phone, b"wrong").what == "401"
    ladder.now += 8
    assert guess(ladder, phone, b"secret").what == "200"
    assert [guess(ladder, phone, b"wrong").what for _ in range(3)] == ["401"] * 3
    assert guess(ladder, phone, b"secret").what == "200"


def test_a_guesser_locks_nobody_out_who_is_somewhere_else_or_somebody_else() -> None:
    ladder, victim = proxy(Allowance(free_failures=2)), alice()
    for _ in range(3):
        guess(ladder, victim, b"wrong", source=("198.51.100.66", 5060))
    assert guess(ladder, victim, b"secret", source=("198.51.100.66", 5061)).what == "503"
    assert guess(ladder, victim, b"secret").what == "200"
    neighbour = Phone("bob", ("198.51.100.66", 5060), ("198.51.100.66", 5060), b"other")
    assert guess(ladder, neighbour, b"secret").what == "200"


def test_who_guesses_for_many_users_is_slowed_down_too() -> None:
    ladder = proxy(Allowance(free_failures_of_source=6))
    for number in range(7):
        phone = Phone(f"user{number}", A, A)
        assert guess(ladder, phone, b"wrong").what == "401"
    assert guess(ladder, Phone("alice", A, A), b"secret").what == "503"


def test_a_flood_of_refused_requests_is_met_with_silence() -> None:
    ladder, caller = proxy(Allowance(refused_per_s=1, refused_burst=20)), stranger()
    answers = [ladder.says(caller, from_elsewhere(caller.request(b"INVITE", ELSEWHERE))) for _ in range(40)]
    assert [len(each) for each in answers] == [1] * 19 + [0] * 21
    assert ladder.engine.counts["silenced"] == 21
    (invite,) = ladder.says(caller, from_elsewhere(caller.request(b"INVITE", bob().aor)))
    assert arrows([invite]) == [("INVITE", B)]  # what succeeds is served
    ladder.now += 25
    assert arrows(ladder.says(caller, from_elsewhere(caller.request(b"INVITE", ELSEWHERE)))) == [("403", caller.seen)]
