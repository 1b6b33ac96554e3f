"""Contacts made public, and restored."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.core.contacts import Contacts
from proxy.core.flow import Flow
from proxy.core.signer import TOKEN_LIFETIME_S, Signer
from proxy.sip.errors import SipError
from proxy.sip.headers import parse_name_addr
from proxy.sip.message import Request
from proxy.sip.parse import parse
from proxy.sip.uri import Uri, parse_uri

SOURCE = ("198.51.100.20", 40000)
UDP = Flow("udp", ("198.51.100.10", 5060), SOURCE)
TCP = Flow("tcp", ("198.51.100.10", 5060), SOURCE, 7)
CONTACTS = Contacts(Signer(bytes(16)))
NOW = 1_700_000_000.0


def request(contact: bytes) -> Request:
    message = parse(b"INVITE sip:b SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.5;branch=b\r\nContact: " + contact + b"\r\n\r\n")
    assert isinstance(message, Request)
    return message


def published(contact: bytes, flow: Flow = UDP, now: float = NOW) -> bytes:
    message = request(contact)
    CONTACTS.publish(message, flow, now)
    return message.values(b"contact")[0]


def uri_of(value: bytes) -> Uri:
    return parse_name_addr(value).parsed()


@pytest.mark.parametrize("contact", [b"*", b"<tel:1>", b"<sip:a@10.0.0.5>, <sip:b@10.0.0.5>", b"<broken", b"<sip:>"])
def test_what_is_not_one_sip_contact_is_left_alone(contact: bytes) -> None:
    message = request(contact)
    before = message.encode()
    CONTACTS.publish(message, UDP, NOW)
    assert message.encode() == before


def test_a_contact_that_is_public_already_stays_byte_for_byte() -> None:
    for contact in (b"<sip:a@198.51.100.20:40000;x>;y", b"sip:198.51.100.20:40000"):
        assert published(contact) == contact


@pytest.mark.parametrize("flow", [UDP, TCP, Flow("tls", ("198.51.100.10", 5061), SOURCE, 7)])
@pytest.mark.parametrize(
    "own",
    [
        b"sip:a@10.0.0.5", b"sip:10.0.0.5", b"sips:a@10.0.0.5:5061", b"sip:a:b@10.0.0.5;transport=udp;X?h=v",
        b"sip:a@10.0.0.5;transport=TCP;ob", b"sip:%61@host.invalid:5070;a;b=c", b"sip:a@[2001:db8::5]",
    ],
)  # fmt: skip
def test_a_published_contact_is_restored_with_the_way_to_its_flow(own: bytes, flow: Flow) -> None:
    public = uri_of(published(b"<" + own + b">;expires=5", flow))
    assert public.address == SOURCE
    if flow is not UDP:
        assert public.param(b"transport") == flow.transport.encode()
    restored = CONTACTS.restore(public, NOW)
    assert restored is not None
    contact, transport, address = restored
    assert contact.encode() == own
    assert (transport, address) == (flow.transport, SOURCE)


def test_a_phone_that_names_another_transport_than_it_uses_gets_its_own_back() -> None:
    """It registered over TCP with a Contact that says nothing of it: then UDP would be tried (RFC 3263 §4.1)."""
    public = published(b"<sip:a@10.0.0.5>", TCP)
    assert b";transport=tcp" in public
    restored = CONTACTS.restore(uri_of(public), NOW)
    assert restored is not None
    assert restored[0].encode() == b"sip:a@10.0.0.5"


def test_a_contact_without_brackets_gets_them() -> None:
    value = published(b"sip:a@10.0.0.5;expires=5")
    assert value.startswith(b"<sip:a@198.51.100.20:40000;behind=")
    assert value.endswith(b">;expires=5")


def test_publishing_twice_is_publishing_once() -> None:
    once = published(b"<sip:a@10.0.0.5>")
    alias = once[once.index(b";behind=") : once.index(b">")]
    assert published(once) == once
    assert published(b"<sip:a@10.0.0.5" + alias + b">") == once


def test_a_uri_without_alias_restores_to_nothing() -> None:
    assert CONTACTS.restore(parse_uri(b"sip:a@10.0.0.5"), NOW) is None


def test_an_alias_counts_only_with_our_signature_at_its_own_address_by_its_own_transport() -> None:
    for flow in (UDP, TCP):
        public = uri_of(published(b"<sip:a@10.0.0.5>", flow))
        with pytest.raises(SipError, match="403"):
            Contacts(Signer(b"another key here")).restore(public, NOW)
        with pytest.raises(SipError, match="403"):
            CONTACTS.restore(replace(public, port=40001), NOW)
    udp, tcp = uri_of(published(b"<sip:a@10.0.0.5>")), uri_of(published(b"<sip:a@10.0.0.5>", TCP))
    for params in (tcp.params.replace(b"transport=tcp", b"transport=tls"), tcp.params.replace(b";transport=tcp", b"")):
        with pytest.raises(SipError, match="403"):
            CONTACTS.restore(replace(tcp, params=params), NOW)
    with_transport = CONTACTS.restore(replace(udp, params=udp.params + b";transport=tcp"), NOW)
    assert with_transport is not None
    assert with_transport[1] == "udp"  # what the far end adds does not change the way


def test_an_alias_is_worth_nothing_after_a_day() -> None:
    public = uri_of(published(b"<sip:a@10.0.0.5>"))
    assert CONTACTS.restore(public, NOW + TOKEN_LIFETIME_S) is not None
    with pytest.raises(SipError, match="403"):
        CONTACTS.restore(public, NOW + TOKEN_LIFETIME_S + 901)


@pytest.mark.parametrize("alias", [b"", b"x", b"A", b"AA.", b".", b"AA.AA." + b"A" * 16, b"\xff."])
def test_rubbish_for_an_alias_is_403(alias: bytes) -> None:
    uri = replace(parse_uri(b"sip:a@198.51.100.20:40000"), params=b";behind=" + alias)
    with pytest.raises(SipError, match="403"):
        CONTACTS.restore(uri, NOW)


def test_an_ipv6_source_is_bracketed() -> None:
    flow = Flow("udp", ("2001:db8::10", 5060), ("2001:db8::1", 7))
    value = published(b"<sip:a@10.0.0.5>", flow)
    assert value.startswith(b"<sip:a@[2001:db8::1]:7;behind=")
    restored = CONTACTS.restore(uri_of(value), NOW)
    assert restored is not None
    assert restored[2] == flow.remote
