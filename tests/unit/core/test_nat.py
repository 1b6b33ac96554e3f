"""Via stamping and Contacts (RFC 3581; RFC 3261 §18.2)."""

from __future__ import annotations

import pytest

from proxy.core import nat
from proxy.core.remedies import Remedies
from proxy.core.signer import Signer
from proxy.sip.errors import SipError
from proxy.sip.headers import parse_name_addr, parse_via
from proxy.sip.message import Request
from proxy.sip.parse import parse
from proxy.sip.uri import Uri, parse_uri

SOURCE = ("198.51.100.20", 40000)
SIGNER = Signer(bytes(16))
ON = Remedies()


def request(via: bytes = b"Via: SIP/2.0/UDP 10.0.0.5;branch=b", contact: bytes = b"<sip:a@10.0.0.5>") -> Request:
    message = parse(b"INVITE sip:b SIP/2.0\r\n" + via + b"\r\nContact: " + contact + b"\r\n\r\n")
    assert isinstance(message, Request)
    return message


def published(contact: bytes) -> bytes:
    message = request(contact=contact)
    nat.publish_contact(message, SOURCE, SIGNER)
    return message.values(b"contact")[0]


def uri_of(value: bytes) -> Uri:
    return parse_name_addr(value).parsed()


def test_the_source_is_stamped_into_the_top_via_alone() -> None:
    message = request(b"v: SIP/2.0/UDP 10.0.0.5;rport;branch=b, SIP/2.0/UDP z;branch=c")
    came, stamped = nat.stamp_source(message, SOURCE, ON)
    assert came.param(b"received") is None
    assert stamped.params == b";rport=40000;branch=b;received=198.51.100.20"
    assert message.values(b"via") == [stamped.encode(), b"SIP/2.0/UDP z;branch=c"]


def test_what_the_sender_claims_of_his_source_is_overwritten() -> None:
    _, stamped = nat.stamp_source(request(b"Via: SIP/2.0/UDP x;received=10.9.9.9;rport=1"), SOURCE, ON)
    assert nat.answer_address(stamped, ON) == SOURCE
    off = Remedies(received=False, rport=False)
    _, stamped = nat.stamp_source(request(b"Via: SIP/2.0/UDP 10.0.0.5;received=10.9.9.9;rport=1"), SOURCE, off)
    assert stamped.param(b"received") is None
    assert nat.answer_address(stamped, off) == ("10.0.0.5", 5060)


@pytest.mark.parametrize("via", [b"X: y", b"Via: ,", b"Via: x"])
def test_a_request_without_a_readable_via_is_400(via: bytes) -> None:
    with pytest.raises(SipError, match="400"):
        nat.stamp_source(request(via), SOURCE, ON)


@pytest.mark.parametrize(
    ("params", "received", "rport", "address"),
    [
        (b";received=10.0.0.9;rport=7", True, True, ("10.0.0.9", 7)),
        (b";received=10.0.0.9;rport=7", True, False, ("10.0.0.9", 5070)),
        (b";received=10.0.0.9;rport=7", False, True, ("10.0.0.5", 7)),
        (b";received=10.0.0.9;rport=7", False, False, ("10.0.0.5", 5070)),
        (b";rport;maddr=10.0.0.7", True, True, ("10.0.0.5", 5070)),
        (b";rport=99999999", True, True, ("10.0.0.5", 5070)),
        (b"", True, True, ("10.0.0.5", 5070)),
    ],
)
def test_answers_go_where_received_and_rport_say(
    params: bytes, received: bool, rport: bool, address: tuple[str, int]
) -> None:
    via = parse_via(b"SIP/2.0/UDP 10.0.0.5:5070" + params)
    assert nat.answer_address(via, Remedies(received=received, rport=rport)) == address


def behind(sent_by: bytes, contact: bytes, more: bytes = b"") -> bool:
    message = request(b"Via: SIP/2.0/UDP " + sent_by + more, contact)
    return nat.is_behind_nat(message, parse_via(b"SIP/2.0/UDP " + sent_by), SOURCE)


def test_a_phone_is_behind_a_nat_when_its_via_or_its_contact_is_not_where_it_sent_from() -> None:
    own = b"<sip:a@198.51.100.20:40000>"
    assert not behind(b"198.51.100.20:40000", own)
    assert behind(b"10.0.0.5", own)
    assert behind(b"198.51.100.20", own)
    assert behind(b"198.51.100.20:40000", b"<sip:a@10.0.0.5>")
    assert not behind(b"198.51.100.20:40000", b"<sip:a@198.51.100.99>")
    assert not behind(b"10.0.0.5", own, b", SIP/2.0/UDP 10.0.0.6")


@pytest.mark.parametrize("contact", [b"*", b"<tel:1>", b"<sip:a@10.0.0.5>, <sip:b@10.0.0.5>", b"<broken", b"<sip:>"])
def test_what_is_not_one_sip_contact_is_left_alone(contact: bytes) -> None:
    message = request(contact=contact)
    before = message.encode()
    nat.publish_contact(message, SOURCE, SIGNER)
    assert message.encode() == before


def test_a_published_contact_is_restored_byte_for_byte() -> None:
    own = b"sip:a:b@10.0.0.5;transport=udp;X?h=v"
    public = uri_of(published(b"<" + own + b">;expires=5"))
    assert public.address() == SOURCE
    restored = nat.restore_contact(public, SIGNER)
    assert restored is not None
    assert restored.encode() == own


def test_publishing_twice_is_publishing_once() -> None:
    once = published(b"<sip:a@10.0.0.5>")
    alias = once[once.index(b";behind=") : once.index(b">")]
    assert published(once) == once
    assert published(b"<sip:a@10.0.0.5" + alias + b">") == once


def test_a_uri_without_alias_restores_to_nothing() -> None:
    assert nat.restore_contact(parse_uri(b"sip:a@10.0.0.5"), SIGNER) is None


def test_an_alias_counts_only_with_our_signature_at_its_own_address() -> None:
    public = uri_of(published(b"<sip:a@10.0.0.5>"))
    with pytest.raises(SipError, match="403"):
        nat.restore_contact(public, Signer(b"another key here"))
    with pytest.raises(SipError, match="403"):
        nat.restore_contact(public.at(b"198.51.100.20:40001", public.params), SIGNER)


def test_an_ipv6_source_is_bracketed() -> None:
    message = request()
    nat.publish_contact(message, ("2001:db8::1", 7), SIGNER)
    assert message.values(b"contact")[0].startswith(b"<sip:a@[2001:db8::1]:7;behind=")
