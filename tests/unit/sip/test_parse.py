"""Bytes to a message (RFC 3261 §7)."""

from __future__ import annotations

import pytest

from proxy.sip.errors import NotSip
from proxy.sip.message import Request, Response
from proxy.sip.parse import parse


def test_a_request_comes_apart() -> None:
    request = parse(b"\r\n\r\nINVITE sip:a SIP/2.0\r\nv: 1\r\nX-Odd : 2\r\n\r\nbody\r\n\r\n")
    assert isinstance(request, Request)
    assert (request.method, request.uri, request.version) == (b"INVITE", b"sip:a", b"SIP/2.0")
    assert request.keys == [b"via", b"x-odd"]
    assert request.body == b"body\r\n\r\n"
    assert request.defect is None


@pytest.mark.parametrize("start", [b"SIP/2.0 200 OK", b"SIP/2.0 200 ", b"SIP/2.0 200", b"sip/2.0 200 \xc3\xbc oder so"])
def test_a_response_comes_apart(start: bytes) -> None:
    response = parse(start + b"\r\n\r\n")
    assert isinstance(response, Response)
    assert response.status == 200
    assert response.encode() == start + b"\r\n\r\n"


def test_a_folded_line_stays_folded_and_reads_as_one() -> None:
    data = b"X sip:a SIP/2.0\r\nSubject: one\r\n\ttwo\r\n   three\r\n\r\n"
    message = parse(data)
    assert message.header(b"subject") == b"one two   three"
    assert message.encode() == data


@pytest.mark.parametrize(
    "data",
    [
        b"", b"x", b"INVITE sip:a\r\n\r\n", b"INVITE sip:a HTTP/1.1\r\n\r\n", b"IN,VITE sip:a SIP/2.0\r\n\r\n",
        b" INVITE sip:a SIP/2.0\r\n\r\n", b"SIP/2.0\r\n\r\n", b"SIP/2.0 99 x\r\n\r\n", b"SIP/2.0 700 x\r\n\r\n",
        b"SIP/2.0 +20 x\r\n\r\n", b"SIP/2.0 2000 x\r\n\r\n", b"INVITE sip:a SIP/2.0\nVia: x\n\n", bytes(range(256)),
    ],
)  # fmt: skip
def test_what_has_no_start_line_is_not_sip(data: bytes) -> None:
    with pytest.raises(NotSip):
        parse(data)


@pytest.mark.parametrize(
    ("data", "defect"),
    [
        (b"X  sip:a SIP/2.0\r\n\r\n", b"Bad Request-Line"),
        (b"X sip:a b SIP/2.0\r\n\r\n", b"Bad Request-Line"),
        (b"X sip:a SIP/2.0\r\n folded: start\r\n\r\n", b"Bad Header Line"),
        (b"X sip:a SIP/2.0\r\nnocolon\r\n\r\n", b"Bad Header Line"),
        (b"X sip:a SIP/2.0\r\na b: c\r\n\r\n", b"Bad Header Line"),
        (b"X sip:a SIP/2.0\r\nA: b\r\n", b"No End of Headers"),
        (b"X sip:a SIP/2.0\r\nA: b\nC: d\r\n\r\n", b"Bare CR, LF or NUL"),
        (b"X sip:a SIP/2.0\r\nA: b\rC: d\r\n\r\n", b"Bare CR, LF or NUL"),
        (b"X sip:a SIP/2.0\r\nA: \0\r\n\r\n", b"Bare CR, LF or NUL"),
    ],
)
def test_a_defect_in_the_head_is_noted_and_does_not_stop_the_parser(data: bytes, defect: bytes) -> None:
    assert parse(data).defect == defect


@pytest.mark.parametrize("spaces", [b" ", b"  "])
def test_spaces_behind_the_request_line_are_a_defect_that_can_be_answered(spaces: bytes) -> None:
    request = parse(b"OPTIONS sip:a SIP/2.0" + spaces + b"\r\nVia: x\r\n\r\n")
    assert isinstance(request, Request)
    assert (request.method, request.uri, request.version) == (b"OPTIONS", b"sip:a", b"SIP/2.0")
    assert request.defect == b"Bad Request-Line"


def test_a_nul_is_sound_in_a_quoted_pair_and_nowhere_else() -> None:
    sound = b'X sip:a SIP/2.0\r\nf: "a\\\0b" <sip:a>\r\n\r\n'
    assert parse(sound).defect is None
    assert parse(sound.replace(b"\\\0", b"\0")).defect == b"Bare CR, LF or NUL"


def test_another_version_is_a_request_all_the_same() -> None:
    request = parse(b"X sip:a SIP/7.0\r\n\r\n")
    assert isinstance(request, Request)
    assert request.version == b"SIP/7.0"
