"""REGISTER against the engine (RFC 3261 §10.3)."""

from __future__ import annotations

from proxy.core.registrar import Terms
from tests.flows.ladder import Ladder, alice, arrows, bob, carol


def test_a_register_is_answered_to_its_source_with_the_contact_as_the_phone_wrote_it() -> None:
    ladder, phone = Ladder(), alice()
    answer = ladder.one(phone.register(), phone.seen)
    assert answer.start == b"SIP/2.0 200 OK"
    assert answer.to == phone.seen
    assert answer.values("Contact") == [b"<sip:alice@10.77.1.100:5060>;expires=3600"]
    assert answer.via().param(b"rport") == b"40000"
    assert answer.via().param(b"received") == b"198.51.100.20"


def test_a_phone_that_does_not_ask_for_rport_is_answered_to_its_source_all_the_same() -> None:
    phone = alice()
    answer = Ladder().one(phone.register(via=b""), phone.seen)
    assert answer.to == phone.seen
    assert answer.via().param(b"rport") == b"40000"


def test_expires_comes_from_the_contact_before_the_header_and_has_a_ceiling() -> None:
    ladder, phone = Ladder(), alice()
    contact = b"<%b>;expires=60" % phone.contact
    assert ladder.one(phone.register(b"Expires: 90", contact=contact), phone.seen).values("Contact")[0].endswith(b"=60")
    assert ladder.one(phone.register(b"Expires: 90"), phone.seen).values("Contact")[0].endswith(b"=90")
    longest = ladder.one(phone.register(b"Expires: 4294967295"), phone.seen).values("Contact")[0]
    assert longest.endswith(b"=%d" % Terms().most_s)


def test_a_binding_ends_when_its_time_is_over() -> None:
    ladder, phone, caller = Ladder(), alice(), bob()
    assert ladder.status(caller.request(b"INVITE", phone.aor), caller.seen) == 404
    ladder.one(phone.register(b"Expires: 60"), phone.seen)
    ladder.now += 59
    assert ladder.one(caller.request(b"INVITE", phone.aor), caller.seen).to == phone.seen
    ladder.now += 2
    assert ladder.status(caller.request(b"INVITE", phone.aor), caller.seen) == 480


def test_a_refresh_says_how_long_every_binding_still_lives() -> None:
    ladder, phone = Ladder(), alice()
    ladder.one(phone.register(b"Expires: 100"), phone.seen)
    ladder.now += 40
    answer = ladder.one(phone.register(b"Expires: 100", contact=b"<sip:alice@10.77.1.101>"), phone.seen)
    assert answer.values("Contact") == [
        b"<sip:alice@10.77.1.101>;expires=100",
        b"<sip:alice@10.77.1.100:5060>;expires=60",
    ]


def test_a_register_without_contact_asks_and_changes_nothing() -> None:
    ladder, phone = Ladder(), alice()
    ladder.one(phone.register(), phone.seen)
    assert len(ladder.one(phone.register(contact=b""), phone.seen).values("Contact")) == 1


def test_star_with_expires_0_removes_all_bindings_and_is_refused_otherwise() -> None:
    ladder, phone = Ladder(), alice()
    ladder.one(phone.register(contact=b"<sip:alice@10.77.1.100>, <sip:alice@10.77.1.101>"), phone.seen)
    assert ladder.status(phone.register(contact=b"*"), phone.seen) == 400
    assert ladder.status(phone.register(b"Expires: 60", contact=b"*"), phone.seen) == 400
    assert ladder.status(phone.register(b"Expires: 0", contact=b"*, <sip:alice@10.77.1.100>"), phone.seen) == 400
    assert len(ladder.one(phone.register(contact=b""), phone.seen).values("Contact")) == 2
    assert ladder.one(phone.register(b"Expires: 0", contact=b"*"), phone.seen).values("Contact") == []


def test_expires_0_removes_one_binding() -> None:
    ladder, phone = Ladder(), alice()
    ladder.one(phone.register(contact=b"<sip:alice@10.77.1.100>, <sip:alice@10.77.1.101>"), phone.seen)
    answer = ladder.one(phone.register(contact=b"<sip:alice@10.77.1.100>;expires=0"), phone.seen)
    assert answer.values("Contact") == [b"<sip:alice@10.77.1.101>;expires=3600"]


def test_a_register_that_arrives_out_of_order_changes_nothing() -> None:
    ladder, phone = Ladder(), alice()
    ladder.one(phone.register(b"Expires: 60", cseq=7), phone.seen)
    assert ladder.status(phone.register(b"Expires: 0", contact=b"*", cseq=6), phone.seen) == 500
    assert len(ladder.one(phone.register(contact=b"", cseq=8), phone.seen).values("Contact")) == 1


def test_a_retransmitted_register_gets_the_same_answer() -> None:
    ladder, phone = Ladder(), alice()
    data = phone.register()
    assert ladder.one(data, phone.seen).data == ladder.one(data, phone.seen).data


def test_a_register_with_too_many_contacts_changes_nothing() -> None:
    ladder, phone = Ladder(), alice()
    old = b"<sip:alice@10.77.1.100>, <sip:alice@10.77.1.101>"
    before = ladder.one(phone.register(contact=old), phone.seen).values("Contact")
    many = b", ".join(b"<sip:alice@10.77.2.%d>" % host for host in range(12))
    greedy = b"<sip:alice@10.77.1.100>;expires=0, " + many
    assert ladder.status(phone.register(contact=greedy), phone.seen) == 503
    assert ladder.one(phone.register(contact=b""), phone.seen).values("Contact") == before


def test_a_refused_register_does_not_make_its_user_known() -> None:
    ladder, phone, caller = Ladder(), alice(), bob()
    many = b", ".join(b"<sip:alice@10.77.2.%d>" % host for host in range(12))
    assert ladder.status(phone.register(contact=many), phone.seen) == 503
    assert ladder.status(caller.request(b"INVITE", phone.aor), caller.seen) == 404


def test_one_bad_contact_among_good_ones_changes_nothing() -> None:
    ladder, phone = Ladder(), alice()
    contact = b"<sip:alice@10.77.1.100>, <sip:alice@10.77.1.101:0>"
    assert ladder.status(phone.register(contact=contact), phone.seen) == 400
    assert ladder.one(phone.register(contact=b""), phone.seen).values("Contact") == []


def test_a_rebind_from_a_new_source_moves_the_binding_and_adds_none() -> None:
    ladder, phone, caller = Ladder(), alice(), bob()
    ladder.one(phone.register(), phone.seen)
    moved = ("198.51.100.20", 41111)
    assert len(ladder.one(phone.register(), moved).values("Contact")) == 1
    assert ladder.one(caller.request(b"INVITE", phone.aor), caller.seen).to == moved


def test_two_phones_with_one_private_contact_behind_two_nats_are_never_confused() -> None:
    ladder, first, second, caller = Ladder(), alice(), carol(), bob()
    ladder.one(first.register(), first.seen)
    ladder.one(second.register(), second.seen)
    for phone in (first, second):
        invite = ladder.one(caller.request(b"INVITE", phone.aor), caller.seen)
        assert invite.to == phone.seen
        assert invite.start == b"INVITE %b SIP/2.0" % phone.contact


def test_all_bindings_are_called_at_once_the_newest_first() -> None:
    ladder, phone, caller = Ladder(), alice(), bob()
    ladder.one(phone.register(), phone.seen)
    desk = ("198.51.100.22", 5070)
    ladder.one(phone.register(contact=b"<sip:alice@198.51.100.22:5070>", call_id=b"desk"), desk)
    invites = ladder.send(caller.request(b"INVITE", phone.aor), caller.seen)
    assert arrows(invites) == [("INVITE", desk), ("INVITE", phone.seen)]


def test_a_to_without_user_is_404_and_a_foreign_domain_is_not_registered_here() -> None:
    ladder, phone = Ladder(), alice()
    assert ladder.status(phone.register(to=b"<sip:198.51.100.10>"), phone.seen) == 404
    foreign = phone.register(to=b"<sip:alice@elsewhere.example>")
    assert ladder.status(foreign, phone.seen) == 404
    assert ladder.status(phone.request(b"REGISTER", b"sip:198.51.100.77"), phone.seen) == 403
    ladder = Ladder(allowed=[phone.seen[0]])
    elsewhere = ladder.one(phone.request(b"REGISTER", b"sip:198.51.100.77"), phone.seen)
    assert elsewhere.to == ("198.51.100.77", 5060)
    assert elsewhere.header("Contact") == b"<%b>" % phone.contact
