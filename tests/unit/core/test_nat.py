"""Via stamping and Contacts (RFC 3581; RFC 3261 §18.2)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.core import nat
from proxy.core.flow import Flow
from proxy.core.remedies import Remedies
from proxy.core.signer import TOKEN_LIFETIME_S, Signer
from proxy.sip.errors import SipError
from proxy.sip.headers import parse_name_addr, parse_via
from proxy.sip.message import Request
from proxy.sip.parse import parse
from proxy.sip.uri import Uri, parse_uri

HERE = ("198.51.100.10", 5060)
SOURCE = ("198.51.100.20", 40000)
UDP = Flow("udp", HERE, SOURCE)
TCP = Flow("tcp", HERE, SOURCE, 7)
SIGNER = Signer(bytes(16))
ON = Remedies()
NOW = 1_700_000_000.0


def request(via: bytes = b"Via: SIP/2.0/UDP 10.0.0.5;branch=b", contact: bytes = b"<sip:a@10.0.0.5>") -> Request:
    message = parse(b"INVITE sip:b SIP/2.0\r\n" + via + b"\r\nContact: " + contact + b"\r\n\r\n")
    assert isinstance(message, Request)
    return message


def published(contact: bytes, flow: Flow = UDP, now: float = NOW) -> bytes:
    message = request(contact=contact)
    nat.publish_contact(message, flow, SIGNER, now)
    return message.values(b"contact")[0]


def uri_of(value: bytes) -> Uri:
    return parse_name_addr(value).parsed()


def test_the_source_is_stamped_into_the_top_via_alone() -> None:
    message = request(b"v: SIP/2.0/UDP 10.0.0.5;rport;branch=b, SIP/2.0/UDP z;branch=c")
    came, answer_to = nat.stamp_source(message, SOURCE, ON)
    assert came.param(b"received") is None
    assert answer_to == SOURCE
    assert message.values(b"via") == [
        b"SIP/2.0/UDP 10.0.0.5;rport=40000;branch=b;received=198.51.100.20", b"SIP/2.0/UDP z;branch=c",
    ]  # fmt: skip


def test_what_the_sender_claims_of_his_source_is_overwritten() -> None:
    for remedies, via, target in (
        (ON, b"SIP/2.0/UDP x;received=10.9.9.9;rport=1", SOURCE),
        (Remedies(received=False, rport=False), b"SIP/2.0/UDP 10.0.0.5;received=10.9.9.9;rport=1", ("10.0.0.5", 5060)),
    ):
        message = request(b"Via: " + via)
        _, answer_to = nat.stamp_source(message, SOURCE, remedies)
        assert answer_to == target
        stamped = parse_via(message.values(b"via")[0])
        assert nat.answer_address(stamped, remedies) == answer_to
        assert b"10.9.9.9" not in stamped.params


def test_each_remedy_stamps_its_own_parameter_and_no_other() -> None:
    for remedies, params in (
        (Remedies(received=False), b";branch=b;rport=40000"),
        (Remedies(rport=False), b";branch=b;received=198.51.100.20"),
        (Remedies(received=False, rport=False), b";branch=b"),
    ):
        message = request()
        nat.stamp_source(message, SOURCE, remedies)
        assert parse_via(message.values(b"via")[0]).params == params


@pytest.mark.parametrize("via", [b"X: y", b"Via: ,", b"Via: x"])
def test_a_request_without_a_readable_via_is_400(via: bytes) -> None:
    with pytest.raises(SipError, match="400"):
        nat.stamp_source(request(via), SOURCE, ON)


def test_the_via_of_another_sip_version_is_read_so_that_its_sender_can_be_told() -> None:
    message = parse(b"INVITE sip:b SIP/7.0\r\nVia: SIP/7.0/UDP 10.0.0.5;branch=b\r\n\r\n")
    assert isinstance(message, Request)
    _, answer_to = nat.stamp_source(message, SOURCE, ON)
    assert answer_to == SOURCE
    assert message.values(b"via")[0].startswith(b"SIP/7.0/UDP ")
    with pytest.raises(SipError, match="400"):
        nat.stamp_source(request(b"Via: SIP/7.0/UDP 10.0.0.5"), SOURCE, ON)


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


def behind(sent_by: bytes, contact: bytes, more: bytes = b"", flow: Flow = UDP) -> bool:
    message = request(b"Via: SIP/2.0/UDP " + sent_by + more, contact)
    return nat.is_behind_nat(message, parse_via(b"SIP/2.0/UDP " + sent_by), flow)


def test_a_phone_is_behind_a_nat_when_its_via_or_its_contact_is_not_where_it_sent_from() -> None:
    own = b"<sip:a@198.51.100.20:40000>"
    assert not behind(b"198.51.100.20:40000", own)
    assert behind(b"10.0.0.5", own)
    assert behind(b"198.51.100.20", own)
    assert behind(b"198.51.100.20:40000", b"<sip:a@10.0.0.5>")
    assert not behind(b"198.51.100.20:40000", b"<sip:a@198.51.100.99>")
    assert not behind(b"10.0.0.5", own, b", SIP/2.0/UDP 10.0.0.6")


def test_the_source_port_of_a_connection_says_nothing() -> None:
    assert not behind(b"198.51.100.20:5060", b"<sip:a@198.51.100.20:5060>", flow=TCP)
    assert behind(b"10.0.0.5:5060", b"<sip:a@198.51.100.20:5060>", flow=TCP)
    assert behind(b"198.51.100.20:5060", b"<sip:a@10.0.0.5:5060>", flow=TCP)


def test_a_phone_at_a_private_address_that_it_sent_from_is_behind_no_nat() -> None:
    lan = Flow("udp", ("10.0.0.1", 5060), ("10.0.0.5", 5060))
    assert not behind(b"10.0.0.5", b"<sip:a@10.0.0.5>", flow=lan)
    assert not behind(b"10.0.0.5", b"<sip:a@10.0.0.5:7>", flow=lan._replace(transport="tcp"))
    assert behind(b"10.0.0.5", b"<sip:a@10.0.0.5:7>", flow=lan)


@pytest.mark.parametrize("contact", [b"*", b"<tel:1>", b"<sip:a@10.0.0.5>, <sip:b@10.0.0.5>", b"<broken", b"<sip:>"])
def test_what_is_not_one_sip_contact_is_left_alone(contact: bytes) -> None:
    message = request(contact=contact)
    before = message.encode()
    nat.publish_contact(message, UDP, SIGNER, NOW)
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
    restored = nat.restore_contact(public, SIGNER, NOW)
    assert restored is not None
    contact, transport, address = restored
    assert contact.encode() == own
    assert (transport, address) == (flow.transport, SOURCE)


def test_a_phone_that_names_another_transport_than_it_uses_gets_its_own_back() -> None:
    """It registered over TCP with a Contact that says nothing of it: then UDP would be tried (RFC 3263 §4.1)."""
    public = published(b"<sip:a@10.0.0.5>", TCP)
    assert b";transport=tcp" in public
    restored = nat.restore_contact(uri_of(public), SIGNER, NOW)
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
    assert nat.restore_contact(parse_uri(b"sip:a@10.0.0.5"), SIGNER, NOW) is None


def test_an_alias_counts_only_with_our_signature_at_its_own_address_by_its_own_transport() -> None:
    for flow in (UDP, TCP):
        public = uri_of(published(b"<sip:a@10.0.0.5>", flow))
        with pytest.raises(SipError, match="403"):
            nat.restore_contact(public, Signer(b"another key here"), NOW)
        with pytest.raises(SipError, match="403"):
            nat.restore_contact(replace(public, port=40001), SIGNER, NOW)
    udp, tcp = uri_of(published(b"<sip:a@10.0.0.5>")), uri_of(published(b"<sip:a@10.0.0.5>", TCP))
    for params in (tcp.params.replace(b"transport=tcp", b"transport=tls"), tcp.params.replace(b";transport=tcp", b"")):
        with pytest.raises(SipError, match="403"):
            nat.restore_contact(replace(tcp, params=params), SIGNER, NOW)
    with_transport = nat.restore_contact(replace(udp, params=udp.params + b";transport=tcp"), SIGNER, NOW)
    assert with_transport is not None
    assert with_transport[1] == "udp"  # what the far end adds does not change the way


def test_an_alias_is_worth_nothing_after_a_day() -> None:
    public = uri_of(published(b"<sip:a@10.0.0.5>"))
    assert nat.restore_contact(public, SIGNER, NOW + TOKEN_LIFETIME_S) is not None
    with pytest.raises(SipError, match="403"):
        nat.restore_contact(public, SIGNER, NOW + TOKEN_LIFETIME_S + 901)


@pytest.mark.parametrize("alias", [b"", b"x", b"A", b"AA.", b".", b"AA.AA." + b"A" * 16, b"\xff.", b'"A.B"'])
def test_rubbish_for_an_alias_is_403(alias: bytes) -> None:
    uri = replace(parse_uri(b"sip:a@198.51.100.20:40000"), params=b";behind=" + alias)
    with pytest.raises(SipError, match="403"):
        nat.restore_contact(uri, SIGNER, NOW)


def test_an_ipv6_source_is_bracketed() -> None:
    flow = Flow("udp", ("2001:db8::10", 5060), ("2001:db8::1", 7))
    value = published(b"<sip:a@10.0.0.5>", flow)
    assert value.startswith(b"<sip:a@[2001:db8::1]:7;behind=")
    restored = nat.restore_contact(uri_of(value), SIGNER, NOW)
    assert restored is not None
    assert restored[2] == flow.remote
