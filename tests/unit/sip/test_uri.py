"""SIP URIs (RFC 3261 §19.1)."""

from __future__ import annotations

import pytest

from proxy.sip.errors import SipError
from proxy.sip.uri import parse_uri, split_hostport


@pytest.mark.parametrize(
    "text",
    [
        b"sip:10.0.0.1",
        b"sip:alice@example.org",
        b"SIPS:alice:secret@EXAMPLE.org:5061;transport=TCP;lr?Subject=a&x=%20",
        b"sip:%61lice;day=tue@10.0.0.1:5060;maddr=10.0.0.2;;odd",
        b"sip:+49-30;ext=1?x@host",
        b"sip:a@[2001:db8::1]:5060;x",
        b"sip:[::1]",
        b"sip:host?only=headers",
    ],
)
def test_a_uri_leaves_byte_for_byte_as_it_came(text: bytes) -> None:
    assert parse_uri(text).encode() == text


def test_a_uri_comes_apart() -> None:
    uri = parse_uri(b"sip:al%69ce:pw@host:5070;Lr;x=1?h=v")
    assert (uri.user, uri.host, uri.port) == (b"al%69ce:pw", b"host", 5070)
    assert (uri.params, uri.headers) == (b";Lr;x=1", b"?h=v")
    assert uri.param(b"lr") == b""
    assert uri.param(b"none") is None


def test_the_port_is_5060_when_none_is_written() -> None:
    assert parse_uri(b"sip:a@10.0.0.1").address() == ("10.0.0.1", 5060)
    assert parse_uri(b"sip:a@[::1]:99").address() == ("::1", 99)


@pytest.mark.parametrize(
    "text",
    [
        b"", b"sip", b"sip:", b"sip:@host", b"sip:a@", b"sip:a@b@c", b"sip:a b@c", b"sip:a@host:", b"sip:a@host:0",
        b"sip:a@host:65536", b"sip:a@host:123456", b"sip:a@[::1", b"sip:a@ho<st", b"sip:a@host;x y", b"<sip:a@host>",
        b'sip:a@host;x="', b"sip:a@host\r\n", b":alice@host", b"1sip:a@host",
    ],
)  # fmt: skip
def test_a_malformed_uri_is_400(text: bytes) -> None:
    with pytest.raises(SipError, match="400"):
        parse_uri(text)


@pytest.mark.parametrize("text", [b"tel:+4930", b"http://host/", b"nobodyKnowsThisScheme:foo", b"mailto:a@b"])
def test_another_scheme_is_416(text: bytes) -> None:
    with pytest.raises(SipError, match="416"):
        parse_uri(text)


def test_a_uri_at_another_place_keeps_its_user_and_headers() -> None:
    assert parse_uri(b"sip:a@b:1;x?h=v").at(b"[::1]:9", b";y").encode() == b"sip:a@[::1]:9;y?h=v"
    assert parse_uri(b"sip:a@b:1").at(b"c", b"").encode() == b"sip:a@c"


def test_a_hostport_comes_apart() -> None:
    assert split_hostport(b"host:7") == (b"host", 7)
    assert split_hostport(b"[::1]") == (b"[::1]", None)
    assert split_hostport(b"[::1]:7") == (b"[::1]", 7)
