"""Where a message ends (RFC 3261 §18.3), and what is none (RFC 5626 §3.5)."""

from __future__ import annotations

import pytest

from proxy.sip.errors import SipError
from proxy.sip.framing import cut_body, is_keep_alive
from proxy.sip.parse import parse


def body(lines: bytes, given: bytes) -> bytes:
    message = parse(b"X sip:a SIP/2.0\r\n" + lines + b"\r\n" + given)
    cut_body(message)
    return message.body


@pytest.mark.parametrize("line", [b"Content-Length: 3\r\n", b"l:3\r\n", b"CONTENT-LENGTH :\r\n 003\r\n"])
def test_what_follows_the_body_is_cut(line: bytes) -> None:
    assert body(line, b"abcdef") == b"abc"


def test_without_content_length_the_datagram_is_the_body() -> None:
    assert body(b"", b"abc\0\r\n") == b"abc\0\r\n"


def test_the_same_length_twice_is_one() -> None:
    assert body(b"l: 3\r\nContent-Length: 3\r\n", b"abcd") == b"abc"


@pytest.mark.parametrize("length", [b" 4", b" -1", b" x", b" 1\r\nl: 2", b" 1, 2", b" 99999999999", b""])
def test_a_length_that_is_false_is_400(length: bytes) -> None:
    with pytest.raises(SipError, match="400"):
        body(b"l:" + length + b"\r\n", b"abc")


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\0\0\0", b"\r\n\r\n", b"\x00\x01\x00\x08\x21\x12\xa4\x42rest"])
def test_keep_alives_are_known(data: bytes) -> None:
    assert is_keep_alive(data)


@pytest.mark.parametrize("data", [b"\r\nX", b"\0\1\0\x08\x21\x12\xa4\x43", b"\x40\1\0\x08\x21\x12\xa4\x42", b"\1"])
def test_other_bytes_are_none(data: bytes) -> None:
    assert not is_keep_alive(data)
