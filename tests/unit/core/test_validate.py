"""RFC 3261 §16.3, in its order."""

from __future__ import annotations

import pytest

from proxy.core.validate import MAX_HEADER_LINES, PROXY, REGISTRAR, check_extensions, check_head, validate
from proxy.sip.errors import SipError
from proxy.sip.message import Request
from proxy.sip.parse import parse

GOOD = b"INVITE sip:b@x SIP/2.0\r\nf: <sip:a@x>;tag=1\r\nt: <sip:b@x>\r\ni: c\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n"


def check(data: bytes) -> bytes:
    request = parse(data + b"\r\nbody")
    assert isinstance(request, Request)
    return validate(request).encode()


def test_a_sound_request_yields_its_uri() -> None:
    assert check(GOOD) == b"sip:b@x"
    assert check(GOOD.replace(b"SIP/2.0", b"sip/2.0")) == b"sip:b@x"


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        (b"i: c\r\n", b"i: c\r\nbroken\r\n", "400 Bad Header Line"),
        (b"i: c\r\n", b"", "400 Not Exactly One Call-ID"),
        (b"i: c\r\n", b"i:\r\n", "400 Not Exactly One Call-ID"),
        (b"i: c\r\n", b"i: c\r\nCall-ID: c\r\n", "400 Not Exactly One Call-ID"),
        (b"<sip:a@x>", b"<sip:a@x", "400 Bad Address"),
        (b"1 INVITE", b"1 BYE", "400 CSeq Method Differs"),
        (b"1 INVITE", b"one INVITE", "400 Bad CSeq"),
        (b"SIP/2.0", b"SIP/3.0", "505"),
        (b"i: c\r\n", b"i: c\r\nl: 5\r\n", "400 Body Shorter"),
        (b"sip:b@x SIP", b"mailto:b@x SIP", "416"),
        (b"sip:b@x SIP", b"sip:b@@x SIP", "400 Bad URI"),
        (b"70", b"0", "483"),
        (b"70", b"1000", "400 Bad Max-Forwards"),
        (b"Max-Forwards: 70", b"Max-Forwards: 70\r\nMax-Forwards: 9", "400 Two Max-Forwards"),
        (b"Max-Forwards: 70", b"Proxy-Require: x", "420"),
    ],
)
def test_an_unsound_request_is_refused(old: bytes, new: bytes, status: str) -> None:
    with pytest.raises(SipError, match=status):
        check(GOOD.replace(old, new, 1))


def test_of_several_mistakes_the_first_in_the_order_counts() -> None:
    worst = GOOD.replace(b"sip:b@x SIP", b"tel:1 SIP").replace(b"70", b"0") + b"Proxy-Require: x\r\n"
    with pytest.raises(SipError, match="416"):
        check(worst)
    with pytest.raises(SipError, match="483"):
        check(worst.replace(b"tel:1", b"sip:b@x"))


def test_what_is_demanded_is_looked_up_in_any_case_and_the_rest_is_named() -> None:
    request = parse(GOOD + b"Require: PATH, x\r\nRequire: gruu, y\r\n\r\n")
    assert isinstance(request, Request)
    with pytest.raises(SipError, match="420") as caught:
        check_extensions(request, b"require", REGISTRAR)
    assert caught.value.headers == ((b"Unsupported", b"x, y"),)
    check_extensions(request, b"proxy-require", PROXY)
    request.set(b"Require", b"path,outbound")
    request.replace_values(b"Require", [b"path", b"outbound"])
    check_extensions(request, b"require", REGISTRAR)


def test_a_require_is_the_callees_business() -> None:
    assert check(GOOD + b"Require: 100rel\r\n")


def test_headers_in_the_request_uri_go_no_further() -> None:
    assert check(GOOD.replace(b"sip:b@x SIP", b"sip:b@x;y?Route=z SIP")) == b"sip:b@x;y"


def test_what_follows_the_body_is_cut_off_before_anybody_sees_it() -> None:
    request = parse(GOOD + b"l: 2\r\n\r\nbody")
    assert isinstance(request, Request)
    validate(request)
    assert request.body == b"bo"


def test_a_head_of_many_lines_is_513() -> None:
    lines = GOOD.count(b"\r\n") - 1
    assert check(GOOD + b"X: y\r\n" * (MAX_HEADER_LINES - lines))
    with pytest.raises(SipError, match="513"):
        check(GOOD + b"X: y\r\n" * (MAX_HEADER_LINES - lines + 1))


@pytest.mark.parametrize("line", [b"From: x;tag=", b"To", b"CSeq: 1 OPTIONS", b"Call-ID: two"])
def test_a_response_has_each_of_the_four_once_too(line: bytes) -> None:
    head = b"SIP/2.0 200 OK\r\nf: <sip:a@x>\r\nt: <sip:b@x>\r\ni: c\r\nCSeq: 1 INVITE\r\n"
    check_head(parse(head + b"\r\n"))
    with pytest.raises(SipError, match="400"):
        check_head(parse(head + line + b"\r\n\r\n"))
