"""REGISTER as a function of a request and a table (RFC 3261 §10.3)."""

from __future__ import annotations

import pytest

from proxy.core.flow import Flow
from proxy.core.location import Location
from proxy.core.registrar import DEFAULT_EXPIRES_S, MAX_EXPIRES_S, aor_of, register
from proxy.sip.errors import SipError
from proxy.sip.message import Request
from proxy.sip.parse import parse

FLOW = Flow("udp", ("10.0.0.1", 5060), ("10.0.0.2", 5060))


def request(*lines: bytes, cseq: int = 1, to: bytes = b"<sip:a@x>") -> Request:
    head = (b"REGISTER sip:x SIP/2.0", b"t: " + to, b"i: c", b"CSeq: %d REGISTER" % cseq, *lines, b"", b"")
    message = parse(b"\r\n".join(head))
    assert isinstance(message, Request)
    return message


def done(*lines: bytes) -> list[bytes]:
    return [value for _, value in register(request(*lines), FLOW, Location(), 0.0)]


def test_the_user_is_tos() -> None:
    assert aor_of(request(to=b'"A" <sip:alice@example.org>;tag=1')) == b"alice"
    with pytest.raises(SipError, match="404"):
        aor_of(request(to=b"<sip:example.org>"))


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        ((b"Contact: <sip:a@y>",), DEFAULT_EXPIRES_S),
        ((b"m: sip:a@y;expires=7",), 7),
        ((b"m: <sip:a@y>;EXPIRES=7", b"Expires: 9"), 7),
        ((b"m: <sip:a@y>", b"Expires: 9"), 9),
        ((b"m: <sip:a@y;expires=7>", b"Expires: 9"), 9),
        ((b"m: <sip:a@y>;expires=soon",), DEFAULT_EXPIRES_S),
        ((b"m: <sip:a@y>", b"Expires: 99999999999"), DEFAULT_EXPIRES_S),
        ((b"m: <sip:a@y>;expires=86400",), MAX_EXPIRES_S),
    ],
)
def test_the_time_is_the_contacts_then_the_headers_then_ours(lines: tuple[bytes, ...], seconds: int) -> None:
    assert done(*lines)[0].endswith(b";expires=%d" % seconds)


def test_several_contacts_in_one_line_and_in_several_are_all_saved() -> None:
    assert len(done(b"m: <sip:a@1.x>, <sip:a@2.x>", b"Contact: sip:a@3.x")) == 3


def test_the_flow_is_stored_beside_the_contact() -> None:
    location = Location()
    register(request(b"m: <sip:a@10.0.0.9>"), FLOW, location, 5.0)
    (binding,) = location.bindings(b"a", 5.0) or []
    assert (binding.contact, binding.flow, binding.expires_at) == (b"sip:a@10.0.0.9", FLOW, 5.0 + DEFAULT_EXPIRES_S)


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ((b"m: *",), "400"),
        ((b"m: *", b"Expires: 1"), "400"),
        ((b"m: *, <sip:a@y>", b"Expires: 0"), "400"),
        ((b"m: <sip:a@>",), "400"),
        ((b"m: <tel:1>",), "416"),
    ],
)
def test_a_contact_that_cannot_be_kept_is_refused(lines: tuple[bytes, ...], status: str) -> None:
    with pytest.raises(SipError, match=status):
        done(*lines)


def test_a_lower_cseq_of_the_same_call_id_is_refused() -> None:
    location = Location()
    register(request(b"m: <sip:a@y>", cseq=5), FLOW, location, 0.0)
    register(request(b"m: <sip:a@y>", cseq=5), FLOW, location, 0.0)
    with pytest.raises(SipError, match="500"):
        register(request(b"m: <sip:a@y>", cseq=4), FLOW, location, 0.0)


LONG = b"a" * 600


@pytest.mark.parametrize(
    ("to", "contact"),
    [(b"<sip:a@x>", b"<sip:" + LONG + b"@10.0.0.5>"), (b"<sip:" + LONG + b"@x>", b"<sip:a@10.0.0.5>")],
)
def test_what_a_stranger_can_make_us_keep_is_short(to: bytes, contact: bytes) -> None:
    with pytest.raises(SipError, match="400"):
        register(request(b"Contact: " + contact, to=to), FLOW, Location(), 0.0)
