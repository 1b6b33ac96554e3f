"""SIP URIs (RFC 3261 §19.1)."""

from __future__ import annotations

import pytest

from proxy.sip.errors import SipError
from proxy.sip.headers import parse_via
from proxy.sip.uri import parse_uri


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
    assert parse_uri(b"sip:a@10.0.0.1").address == ("10.0.0.1", 5060)
    assert parse_uri(b"sip:a@[::1]:99").address == ("::1", 99)


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
    assert parse_uri(b"sip:a@b:1;x?h=v").at(b"[::1]:9", b";y") == b"sip:a@[::1]:9;y?h=v"
    assert parse_uri(b"sip:a@b:1").at(b"c", b"") == b"sip:a@c"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (b"sips:a@10.0.0.1", ("10.0.0.1", 5061)), (b"sip:a@10.0.0.1;transport=TLS", ("10.0.0.1", 5061)),
        (b"SIPS:a@10.0.0.1:5060", ("10.0.0.1", 5060)), (b"sip:a@10.0.0.1;transport=tcp", ("10.0.0.1", 5060)),
        (b"sip:a@HOST.example.org", ("host.example.org", 5060)), (b"sip:a@[2001:DB8:0::1]", ("2001:db8::1", 5060)),
        (b"sip:a@[::1::2]", ("::1::2", 5060)),
    ],
)  # fmt: skip
def test_an_address_is_in_one_spelling_and_its_port_is_that_of_its_transport(
    text: bytes, address: tuple[str, int]
) -> None:
    assert parse_uri(text).address == address
    assert parse_uri(text).encode() == text


@pytest.mark.parametrize(
    ("text", "is_secure"),
    [
        (b"sip:a@h", False), (b"sips:a@h", True), (b"sip:a@h;Transport=tLs", True), (b"sip:a@h;transport=tcp", False),
        (b"sip:a@h;x=transport", False), (b"sip:tls@tls;tls", False),
    ],
)  # fmt: skip
def test_only_sips_and_tls_are_secure(text: bytes, is_secure: bool) -> None:
    assert parse_uri(text).is_secure() == is_secure


@pytest.mark.parametrize(
    ("text", "user"),
    [
        (b"sip:h", None), (b"sip:alice@h", b"alice"), (b"sip:%61l%69ce@h", b"alice"), (b"sip:alice:pw@h", b"alice"),
        (b"sip:a%3Ab@h", b"a:b"), (b"sip:a%40b:pw%41@h", b"a@b"), (b"sip:a%zzb%4@h", b"a%zzb%4"), (b"sip:A@h", b"A"),
        (b"sip:%2561@h", b"%61"), (b"sip::pw@h", b""),
    ],
)  # fmt: skip
def test_a_user_is_compared_without_escapes_and_password(text: bytes, user: bytes | None) -> None:
    assert parse_uri(text).plain_user == user


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (b"sip:a@h", b"SIP:a@H", True), (b"sip:%61@h", b"sip:a@h", True), (b"sip:a@h;x;lr", b"sip:a@h?y=z", True),
        (b"sip:a@h;transport=TCP", b"sip:a@h;transport=tcp", True), (b"sip:a@h", b"sip:A@h", False),
        (b"sip:a@h", b"sips:a@h", False), (b"sip:a@h", b"sip:a@h:5060", False), (b"sip:a@h", b"sip:h", False),
        (b"sip:a@h", b"sip:a@h;transport=udp", False), (b"sip:a@h:5060", b"sip:a@h:05060", True),
    ],
)  # fmt: skip
def test_two_uris_name_one_phone_when_scheme_user_host_port_and_transport_are_the_same(
    one: bytes, other: bytes, same: bool
) -> None:
    assert (parse_uri(one).key() == parse_uri(other).key()) == same


def test_a_host_is_no_longer_than_a_name_can_be() -> None:
    """Many hosts are remembered: what a stranger can make us keep has a limit."""
    assert parse_uri(b"sip:a@" + b"h" * 255).host == b"h" * 255
    assert parse_via(b"SIP/2.0/UDP " + b"h" * 255).host == b"h" * 255
    for host in (b"h" * 256, b"[%b]" % (b":" * 256)):
        with pytest.raises(SipError, match="400 Bad URI"):
            parse_uri(b"sip:a@" + host)
        for protocol in (b"SIP/2.0/UDP ", b"sip / 2.0 / UDP "):
            with pytest.raises(SipError, match="400 Bad Via"):
                parse_via(protocol + host)
