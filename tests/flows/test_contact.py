"""Contacts made public for the far end and restored for the phone (design.md, "NAT remedies are switches")."""

from __future__ import annotations

import pytest

from proxy.core.contacts import CONTACT_METHODS
from proxy.sip.headers import parse_name_addr
from proxy.sip.uri import Uri
from tests.flows.ladder import MAPPED_BOB, Dialog, Ladder, Phone, Sent, alice, arrows, bob


def contact(sent: Sent) -> Uri:
    return parse_name_addr(sent.values("Contact")[0]).parsed()


def invite_of(ladder: Ladder, given: bytes | None = None, phone: Phone | None = None) -> Sent:
    phone = phone or alice()
    return ladder.one(phone.request(b"INVITE", bob().aor, contact=given), phone.seen)


@pytest.mark.parametrize("method", sorted(CONTACT_METHODS))
def test_the_contact_of_a_dialog_is_made_public_in_the_request_and_restored_on_the_way_back(method: bytes) -> None:
    ladder, phone, far = Ladder(mapping=MAPPED_BOB), alice(), bob()
    sent = ladder.one(phone.request(method, far.aor), phone.seen)
    assert contact(sent).address == phone.seen
    assert contact(sent).user == b"alice"
    back = ladder.one(far.request(b"NOTIFY", contact(sent).encode(), to=sent.header("From")), far.seen)
    assert (back.to, back.start) == (phone.seen, b"NOTIFY %b SIP/2.0" % phone.contact)


@pytest.mark.parametrize(
    ("method", "status"),
    [(b"INVITE", 180), (b"INVITE", 183), *((method, ok) for method in sorted(CONTACT_METHODS) for ok in (200, 202))],
)
def test_the_contact_of_a_dialog_is_made_public_in_1xx_and_2xx(method: bytes, status: int) -> None:
    ladder, phone, far = Ladder(), alice(), bob()
    ladder.one(phone.register(), phone.seen)
    request = ladder.one(far.request(method, phone.aor), far.seen)
    answer = ladder.one(phone.answer(request, status), phone.seen)
    assert contact(answer).address == phone.seen
    back = ladder.one(far.request(b"BYE", contact(answer).encode()), far.seen)
    assert back.start == b"BYE %b SIP/2.0" % phone.contact


@pytest.mark.parametrize("method", sorted(CONTACT_METHODS - {b"INVITE"}))
@pytest.mark.parametrize("status", [100, 180, 183])
def test_a_provisional_answer_to_anything_but_an_invite_ends_here(method: bytes, status: int) -> None:
    """RFC 4320 §4.1: none but 100 exists, and that is hop by hop."""
    ladder, phone, far = Ladder(), alice(), bob()
    ladder.one(phone.register(), phone.seen)
    request = ladder.one(far.request(method, phone.aor), far.seen)
    assert ladder.send(phone.answer(request, status), phone.seen) == []
    assert arrows(ladder.send(phone.answer(request, 200), phone.seen)) == [("200", far.seen)]


def test_a_100_ends_here() -> None:
    ladder, phone, far = Ladder(), alice(), bob()
    ladder.one(phone.register(), phone.seen)
    request = ladder.one(far.request(b"INVITE", phone.aor), far.seen)
    assert ladder.says_all(phone, phone.answer(request, 100)) == []


@pytest.mark.parametrize("status", [300, 302, 404, 486, 603])
def test_the_contact_of_a_redirection_or_an_error_is_not_touched(status: int) -> None:
    ladder, phone, far = Ladder(), alice(), bob()
    ladder.one(phone.register(), phone.seen)
    request = ladder.one(far.request(b"INVITE", phone.aor), far.seen)
    ack, answer = ladder.send(phone.answer(request, status, contact=b"<sip:other@10.77.1.7>"), phone.seen)
    assert (ack.what, answer.what) == ("ACK", str(status))
    assert answer.values("Contact") == [b"<sip:other@10.77.1.7>"]


@pytest.mark.parametrize("method", [b"REGISTER", b"OPTIONS", b"MESSAGE"])
def test_a_contact_that_is_no_dialogs_is_not_touched(method: bytes) -> None:
    phone = alice()
    sent = Ladder(allowed=[phone.seen[0]]).one(phone.request(method, b"sip:x@198.51.100.200"), phone.seen)
    assert sent.values("Contact") == [b"<%b>" % phone.contact]


@pytest.mark.parametrize(
    "own",
    [
        b"sip:alice@10.77.1.100:5060",
        b"sip:alice@10.77.1.100",
        b"sip:10.77.1.100:5070",
        b"sip:al%69ce:pw@10.77.1.100:5060;transport=udp;OB;x=%41",
        b"sip:alice@10.77.1.100;line=abc",
        b"sip:alice@phone.local:5060",
        b"SIP:alice@[fd00::1]:5060;ob",
    ],
)
def test_the_phone_sees_its_own_contact_byte_for_byte(own: bytes) -> None:
    ladder, phone, far = Ladder(mapping=MAPPED_BOB), alice(), bob()
    invite = invite_of(ladder, b'"A, <b>" <' + own + b">;+sip.instance=\"<urn:x>\"")
    assert contact(invite).address == phone.seen
    assert invite.values("Contact")[0].startswith(b'"A, <b>" <')
    assert invite.values("Contact")[0].endswith(b">;+sip.instance=\"<urn:x>\"")
    bye = ladder.one(Dialog.of_callee(far, invite).request(b"BYE"), far.seen)
    assert (bye.to, bye.start) == (phone.seen, b"BYE %b SIP/2.0" % own)


def test_the_headers_of_a_contact_are_not_put_into_a_request_uri() -> None:
    """RFC 3261 §19.1.1, Table 1: they are never there."""
    ladder, far = Ladder(mapping=MAPPED_BOB), bob()
    invite = invite_of(ladder, b"<sip:alice@10.77.1.100;line=abc?Subject=hi>")
    bye = ladder.one(Dialog.of_callee(far, invite).request(b"BYE"), far.seen)
    assert bye.start == b"BYE sip:alice@10.77.1.100;line=abc SIP/2.0"


def test_a_contact_without_angle_brackets_gets_them_and_keeps_its_parameters_outside() -> None:
    value = invite_of(Ladder(mapping=MAPPED_BOB), b"sip:alice@10.77.1.100;expires=60").values("Contact")[0]
    assert value.startswith(b"<sip:alice@198.51.100.20:40000;behind=")
    assert value.endswith(b">;expires=60")


def test_a_public_contact_stays_as_it_is() -> None:
    phone = bob()
    ladder = Ladder(allowed=[phone.seen[0]])
    sent = ladder.one(phone.request(b"INVITE", b"sip:x@198.51.100.77"), phone.seen)
    assert sent.values("Contact") == [b"<%b>" % phone.contact]


def test_a_private_phone_behind_another_proxy_is_left_to_that_proxy() -> None:
    phone = alice()
    data = phone.request(b"INVITE", b"sip:x@198.51.100.77", b"Via: SIP/2.0/UDP 10.77.1.9;branch=z9hG4bKx")
    ladder = Ladder(allowed=[phone.seen[0]])
    assert ladder.one(data, phone.seen).values("Contact") == [b"<%b>" % phone.contact]


def test_a_stale_alias_that_the_phone_echoes_is_replaced_and_never_doubled() -> None:
    ladder, phone = Ladder(mapping=MAPPED_BOB), alice()
    first = invite_of(ladder, phone=phone).values("Contact")[0]
    alias = first[first.index(b";behind=") : first.index(b">")]
    again = invite_of(ladder, b"<%b%b>" % (phone.contact, alias), phone).values("Contact")[0]
    assert again == first
    moved = ladder.one(phone.request(b"INVITE", bob().aor, contact=first), ("198.51.100.20", 41111))
    assert moved.values("Contact")[0].count(b";behind=") == 1
    assert contact(moved).address == ("198.51.100.20", 41111)


@pytest.mark.parametrize(
    "forge",
    [
        lambda uri: uri.replace(b"40000", b"40001"),
        lambda uri: uri.replace(b"198.51.100.20", b"198.51.100.77"),
        lambda uri: uri.replace(b";behind=M", b";behind=N"),
        lambda uri: uri[:-1] + (b"A" if uri[-1:] != b"A" else b"B"),
        lambda uri: uri.partition(b";behind=")[0] + b";behind=yes",
        lambda uri: uri.partition(b";behind=")[0] + b";behind",
        lambda uri: uri.partition(b";behind=")[0] + b";behind=\xff.\xff",
    ],
)
def test_a_forged_alias_is_refused(forge) -> None:  # type: ignore[no-untyped-def]
    ladder, far = Ladder(mapping=MAPPED_BOB), bob()
    uri = contact(invite_of(ladder)).encode()
    assert b";behind=M" in uri
    assert ladder.status(far.request(b"BYE", forge(uri)), far.seen) == 403


def test_an_answer_that_nobody_asked_the_phone_for_is_not_touched_when_its_contact_is_public() -> None:
    ladder, phone, far = Ladder(mapping=MAPPED_BOB), alice(), bob()
    invite = invite_of(ladder)
    answer = ladder.one(far.answer(invite, 200, contact=b"<sip:bob@198.51.100.201:5070>"), far.seen)
    assert answer.to == phone.seen
    assert answer.values("Contact") == [b"<sip:bob@198.51.100.201:5070>"]
