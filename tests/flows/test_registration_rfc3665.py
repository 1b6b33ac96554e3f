"""Registration as RFC 3665 §2 shows it: Bob, his passwords, and the registrar. F numbers are the RFC's."""

from __future__ import annotations

import pytest

from tests.flows.follow import credentials, users
from tests.flows.ladder import Ladder, Phone, Sent, alice, arrows, bob

REGISTRAR = b"sip:198.51.100.10"


def ladder() -> Ladder:
    return Ladder(users=users(b"alice", b"bob"))


def register(proxy: Ladder, phone: Phone, *lines: bytes, contact: bytes | None = None) -> Sent:
    """Register with the password: F1 to F4 of §2.1; return the last answer."""
    challenge = proxy.one(phone.register(*lines, contact=contact), phone.seen)
    assert challenge.what == "401"
    password = credentials(challenge, phone.name.encode(), b"REGISTER", REGISTRAR)
    return proxy.one(phone.register(password, *lines, contact=contact), phone.seen)


def test_2_1_a_new_registration_is_challenged_and_then_granted() -> None:
    proxy, phone = ladder(), bob()
    unauthorized = proxy.one(phone.register(b"Expires: 7200"), phone.seen)  # F1, F2
    assert arrows([unauthorized]) == [("401", phone.seen)]
    assert [value.split()[0] for value in unauthorized.values("WWW-Authenticate")[:1]] == [b"Digest"]
    assert proxy.location.by_id == {}
    password = credentials(unauthorized, b"bob", b"REGISTER", REGISTRAR)
    ok = proxy.one(phone.register(b"Expires: 7200", password), phone.seen)  # F3, F4
    assert arrows([ok]) == [("200", phone.seen)]
    assert ok.values("Contact") == [b"<%b>;expires=7200" % phone.contact]
    assert ok.header("WWW-Authenticate") is None


def test_2_2_an_update_adds_a_contact_and_the_answer_lists_all() -> None:
    proxy, phone = ladder(), bob()
    register(proxy, phone)
    ok = register(proxy, phone, contact=b"<sip:bob@198.51.100.201>")
    assert ok.values("Contact") == [b"<sip:bob@198.51.100.201>;expires=3600", b"<%b>;expires=3600" % phone.contact]


def test_2_3_a_request_for_the_current_list_changes_nothing() -> None:
    proxy, phone = ladder(), bob()
    register(proxy, phone)
    proxy.journal.clear()
    proxy.now += 600
    ok = register(proxy, phone, contact=b"")
    assert ok.values("Contact") == [b"<%b>;expires=3000" % phone.contact]
    assert proxy.journal == []


def test_2_4_a_registration_is_cancelled_with_a_star() -> None:
    proxy, phone = ladder(), bob()
    register(proxy, phone)
    ok = register(proxy, phone, b"Expires: 0", contact=b"*")
    assert ok.what == "200"
    assert ok.values("Contact") == []
    assert proxy.location.by_id == {}


def test_2_5_a_wrong_password_is_challenged_again_and_registers_nothing() -> None:
    proxy, phone = ladder(), bob()
    unauthorized = proxy.one(phone.register(), phone.seen)
    wrong = credentials(unauthorized, b"bob", b"REGISTER", REGISTRAR, password=b"guess")
    again = proxy.one(phone.register(wrong), phone.seen)
    assert again.what == "401"
    assert b"stale" not in (again.header("WWW-Authenticate") or b"")
    assert proxy.location.by_id == {}
    assert proxy.engine.counts["wrong-passwords"] == 1
    assert [note.name for note in proxy.notes] == ["wrong-password"]


def test_a_refresh_with_the_next_nc_needs_no_new_challenge() -> None:
    """RFC 7616 §3.4: nc counts the requests under one nonce."""
    proxy, phone = ladder(), bob()
    challenge = proxy.one(phone.register(), phone.seen)
    for nc in (1, 2, 3):
        line = credentials(challenge, b"bob", b"REGISTER", REGISTRAR, nc=nc)
        assert proxy.status(phone.register(line), phone.seen) == 200


def test_the_same_nc_from_somewhere_else_is_stale() -> None:
    proxy, phone = ladder(), bob()
    challenge = proxy.one(phone.register(), phone.seen)
    data = phone.register(credentials(challenge, b"bob", b"REGISTER", REGISTRAR))
    first = proxy.one(data, phone.seen)
    assert first.what == "200"
    assert proxy.one(data, phone.seen).data == first.data  # lost on its way, and asked for again
    replayed = proxy.one(data, ("198.51.100.66", 5060))
    assert replayed.what == "401"
    assert b"stale=true" in (replayed.header("WWW-Authenticate") or b"")
    (binding,) = proxy.location.by_id.values()
    assert binding.flow.remote == phone.seen


@pytest.mark.parametrize("algorithm", [b"SHA-256", b"MD5"])
def test_each_algorithm_that_is_offered_is_taken(algorithm: bytes) -> None:
    """RFC 8760 §2.4: a phone takes the topmost that it knows."""
    proxy, phone = ladder(), bob()
    challenge = proxy.one(phone.register(), phone.seen)
    lines = [line for line in challenge.message.lines if line.startswith(b"WWW-Authenticate:")]
    assert [b"SHA-256" in line for line in lines] == [True, False]
    chosen = next(line for line in lines if b"algorithm=" + algorithm in line)
    for line in lines:
        if line != chosen:
            challenge.message.remove_line(challenge.message.lines.index(line))
    password = credentials(challenge, b"bob", b"REGISTER", REGISTRAR)
    assert b"algorithm=" + algorithm in password
    assert proxy.status(phone.register(password), phone.seen) == 200


def test_a_registration_of_somebody_elses_address_is_403() -> None:
    """RFC 3261 §10.3 step 4: Bob proves that he is Bob, and wants to be Alice."""
    proxy, phone, victim = ladder(), bob(), alice()
    challenge = proxy.one(phone.register(), phone.seen)
    password = credentials(challenge, b"bob", b"REGISTER", REGISTRAR)
    assert proxy.status(phone.register(password, to=b"<%b>" % victim.aor), phone.seen) == 403
    assert proxy.location.by_id == {}
