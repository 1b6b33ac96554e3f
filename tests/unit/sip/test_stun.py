"""STUN Binding requests on a SIP port (RFC 8489, RFC 5626 §4.4.2); vectors of RFC 5769."""

from __future__ import annotations

import struct

import pytest

from proxy.sip import framing
from proxy.sip.stun import answer, is_stun

COOKIE = bytes.fromhex("2112a442")
TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")  # of RFC 5769 §2.2 and §2.3
BARE = struct.pack("!HH", 1, 0) + COOKIE + TRANSACTION

# RFC 5769 §2.1: a request with SOFTWARE, PRIORITY, ICE-CONTROLLED, USERNAME, MESSAGE-INTEGRITY and FINGERPRINT
SAMPLE = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae"
    "802200105354554e207465737420636c69656e74"
    "002400046e0001ff"
    "80290008932ff9b151263b36"
    "000600096576746a3a68367659202020"
    "000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2"
    "80280004e57a3bcf"
)


@pytest.mark.parametrize(
    ("source", "attribute"),
    [
        (("192.0.2.1", 32853), "002000080001a147e112a643"),  # §2.2
        (("2001:db8:1234:5678:11:2233:4455:6677", 32853), "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"),  # §2.3
    ],
)
def test_the_answer_bears_the_xor_mapped_address_of_the_rfcs_vectors(source: tuple[str, int], attribute: str) -> None:
    value = bytes.fromhex(attribute)
    head = struct.pack("!HH", 0x0101, len(value)) + COOKIE + TRANSACTION
    assert answer(BARE, source) == head + value
    assert answer(SAMPLE, source) == head + value


def test_the_sample_request_is_stun_and_keeps_a_hole_open() -> None:
    assert is_stun(SAMPLE)
    assert framing.is_keep_alive(SAMPLE)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\0" * 20, BARE[:19], BARE.replace(COOKIE, b"\x21\x12\xa4\x43"), b"\x40" + BARE[1:], b"\x80" + BARE[1:],
        b"OPTIONS sip:x SIP/2.0\r\n\r\n", b"\r\n\r\n",
    ],
)  # fmt: skip
def test_what_lacks_the_cookie_or_the_first_two_zero_bits_is_no_stun(data: bytes) -> None:
    assert not is_stun(data)


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("!HH", 0x0101, 0) + BARE[4:],  # an answer: two proxies must not talk for ever
        struct.pack("!HH", 0x0011, 0) + BARE[4:],  # an indication
        struct.pack("!HH", 0x0003, 0) + BARE[4:],  # Allocate
        struct.pack("!HH", 1, 4) + BARE[4:],  # shorter than it says
        BARE + b"\0\0\0\0",
        SAMPLE[:-1],
    ],
)
def test_what_is_no_whole_binding_request_gets_no_answer(data: bytes) -> None:
    assert is_stun(data)
    assert answer(data, ("192.0.2.1", 1)) is None


def test_the_answer_is_no_longer_than_the_question_and_one_address() -> None:
    for source, most in ((("192.0.2.1", 65535), 12), (("2001:db8::1", 1), 24), (("fe80::1%eth0", 1), 24)):
        reply = answer(BARE, source)
        assert reply is not None
        assert len(reply) == len(BARE) + most
        assert is_stun(reply)
