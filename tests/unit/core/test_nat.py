"""Via stamping, and who is behind a NAT (RFC 3581; RFC 3261 §18.2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core import nat
from proxy.core.flow import Flow
from proxy.core.remedies import Remedies
from proxy.sip.errors import SipError
from proxy.sip.headers import parse_any_via, parse_via
from proxy.sip.message import Request
from proxy.sip.parse import parse

HERE = ("198.51.100.10", 5060)
SOURCE = ("198.51.100.20", 40000)
UDP = Flow("udp", HERE, SOURCE)
TCP = Flow("tcp", HERE, SOURCE, 7)
ON = Remedies()


def request(via: bytes = b"Via: SIP/2.0/UDP 10.0.0.5;branch=b", contact: bytes = b"<sip:a@10.0.0.5>") -> Request:
    message = parse(b"INVITE sip:b SIP/2.0\r\n" + via + b"\r\nContact: " + contact + b"\r\n\r\n")
    assert isinstance(message, Request)
    return message


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


PIECES = (
    b";branch=z9hG4bKa", b";branch=b", b";branch", b";branch=", b";Branch=b", b";xbranch=b", b";branch=rport",
    b";branch=received", b" ;branch=b", b";branch=b ", b";rport", b";rport=1", b";RPORT", b";xrport=2", b";received=x",
    b";received", b";Received=y", b";x=received", b";ttl=1", b';q=";branch=b;rport"', b';q="', b";x=1;", b";",
)  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=5).map(b"".join), st.booleans(), st.booleans())
def test_a_branch_makes_no_difference_to_what_is_stamped(params: bytes, received: bool, rport: bool) -> None:
    """The remembered way, around the branch, against the general one."""
    remedies = Remedies(received=received, rport=rport)
    message = request(b"Via: SIP/2.0/UDP 10.0.0.5" + params)
    for _ in range(2):
        again = message.copy()
        nat.stamp_source(again, SOURCE, remedies)
        via = message.top(b"via") or b""
        came = parse_any_via(via).params
        assert again.top(b"via") == via[: len(via) - len(came)] + nat._stamped(came, *SOURCE, received, rport)


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
