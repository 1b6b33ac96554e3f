"""DNS messages, byte by byte (RFC 1035 §4; RFC 2782, 3403, 3596)."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.net import dns
from proxy.net.dns import DnsError, Naptr, Query, Record, Srv, canonical, decode_reply, encode_query

SETTINGS = settings(max_examples=500, deadline=None, database=None, derandomize=True)

OWNER = b"\x03Bob\x07eXample\x00"  # at offset 12 of every message here
POINTER = b"\xc0\x0c"  # to OWNER


def message(
    answers: bytes = b"", count: int = 1, flags: int = 0x8180, authority: bytes = b"", owner: bytes = OWNER
) -> bytes:
    header = struct.pack("!HHHHHH", 7, flags, 1, count, 1 if authority else 0, 0)
    return header + owner + b"\x00\x01\x00\x01" + answers + authority


def record(rtype: int, data: bytes, name: bytes = POINTER, ttl: int = 300, rclass: int = 1) -> bytes:
    return name + struct.pack("!HHIH", rtype, rclass, ttl, len(data)) + data


def test_a_query_is_these_bytes() -> None:
    assert encode_query(Query(0x1234, "_sip._udp.bob", dns.SRV)) == (
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04_sip\x04_udp\x03bob\x00\x00\x21\x00\x01"
    )


@pytest.mark.parametrize(
    ("rtype", "wire", "data"),
    [
        (dns.A, b"\xc6\x33\x64\x0a", "198.51.100.10"),
        (dns.AAAA, bytes.fromhex("20010db8000000000000000000000001"), "2001:db8::1"),
        (dns.CNAME, b"\x02no\xc0\x10", "no.example"),
        (dns.NS, b"\x00", "."),
        (dns.SOA, POINTER + b"\x01x\x00" + struct.pack("!IIIII", 1, 2, 3, 4, 99), 99),
        (dns.SRV, b"\x00\x01\x00\x02\x13\xc4" + POINTER, Srv(1, 2, 5060, "bob.example")),
        (dns.NAPTR, b"\x00\x0a\x00\x14\x01S\x07SIP+D2U\x00\x04_sip\xc0\x0c",
         Naptr(10, 20, "S", "SIP+D2U", "_sip.bob.example")),
        (16, b"\x04text", None),
    ],
)  # fmt: skip
def test_a_record_of_each_type_is_read(rtype: int, wire: bytes, data: dns.Data) -> None:
    reply = decode_reply(message(record(rtype, wire)))
    assert reply == (Query(7, "bob.example", dns.A), 0, False, [Record("bob.example", rtype, 300, data)], [])


def test_answers_and_authority_are_kept_apart() -> None:
    first, second = record(dns.A, b"\x0a\x00\x00\x01"), record(dns.A, b"\x0a\x00\x00\x02")
    reply = decode_reply(message(first + second, 2, authority=record(dns.NS, POINTER)))
    assert [each.data for each in reply.answers] == ["10.0.0.1", "10.0.0.2"]
    assert [each.data for each in reply.authority] == ["bob.example"]


def test_a_truncated_reply_is_told_by_its_flag_and_has_no_records() -> None:
    reply = decode_reply(message(record(dns.A, b"\x0a\x00\x00\x01")[:9], 3, flags=0x8380))
    assert reply.is_truncated
    assert reply.answers == []


def test_records_of_another_class_are_left_out() -> None:
    strange = record(dns.A, b"\x0a\x00\x00\x01", rclass=3)
    assert decode_reply(message(strange)).answers == []


def test_a_ttl_with_its_top_bit_set_is_zero() -> None:
    assert decode_reply(message(record(dns.A, bytes(4), ttl=0x8000_0001))).answers[0].ttl == 0


def test_bytes_that_are_no_letters_cannot_feign_another_name() -> None:
    reply = decode_reply(message(record(dns.CNAME, b"\x05a.b\\\xff\x00")))
    assert reply.answers[0].data == r"a\046b\092\255"


@pytest.mark.parametrize(
    "wire",
    [
        b"",
        b"\0" * 11,
        message(flags=0x0180, count=0),  # a query
        message(flags=0xA980, count=0),  # another opcode
        struct.pack("!HHHHHH", 7, 0x8180, 0, 0, 0, 0),  # no question
        struct.pack("!HHHHHH", 7, 0x8180, 2, 0, 0, 0) + (OWNER + b"\0\1\0\1") * 2,
        message(count=0)[:-1],
        message(count=0)[:-1] + b"\x03",  # class CHAOS
        message(count=1),
        message(record(dns.A, bytes(4))[:-1]),
        message(record(dns.A, bytes(5))),
        message(record(dns.AAAA, bytes(4))),
        message(record(dns.CNAME, POINTER + b"\0")),
        message(record(dns.SRV, bytes(6)) + b"\0"),
        message(record(dns.NAPTR, bytes(4) + b"\x09s")),
        message(record(dns.SOA, b"\0\0" + bytes(19)) + b"\0"),
        message(record(16, b"") * (dns.MAX_RECORDS + 1), dns.MAX_RECORDS + 1),
    ],
)
def test_what_is_no_reply_is_an_error_of_the_codec(wire: bytes) -> None:
    with pytest.raises(DnsError):
        decode_reply(wire)


@pytest.mark.parametrize(
    "owner",
    [
        b"\xc0\x0c",  # to itself
        b"\xc0\x0e",  # forwards
        b"\xc0\x0e\xc0\x0c",  # to each other
        b"\x01a\xc0\x0c",  # to its own beginning
        b"\xc0\xff",
        b"\xff\xff",
        b"\x40" + b"a" * 64 + b"\0",
        b"\x80\0",
        (b"\x3f" + b"a" * 63) * 4 + b"\0",
        b"\x01a" * 126 + b"\x02aa\0",  # one byte too long
    ],
)
def test_a_name_that_goes_round_or_nowhere_or_on_and_on_is_an_error(owner: bytes) -> None:
    with pytest.raises(DnsError):
        decode_reply(message(count=0, owner=owner))


def test_a_long_chain_of_pointers_is_not_followed_to_its_end() -> None:
    """Each leads backwards, so there is no loop; but hundreds of names of thousands of steps are work."""
    begin = len(message(count=0)) + 12  # where the first record's data begins
    chain = b"\0\0" + b"".join(struct.pack("!H", 0xC000 | begin + 2 * number) for number in range(2000))

    def named(step: int) -> bytes:
        return message(record(16, chain) + record(dns.A, bytes(4), struct.pack("!H", 0xC000 | begin + 2 * step)), 2)

    assert decode_reply(named(dns.MAX_JUMPS - 1)).answers[1].name == "."
    with pytest.raises(DnsError, match="pointers"):
        decode_reply(named(dns.MAX_JUMPS))


def test_the_longest_name_is_read() -> None:
    longest = (b"\x01a" * 127) + b"\0"
    assert len(longest) == 255
    assert decode_reply(message(count=0, owner=longest)).query.name == ".".join("a" * 127)


GOOD = message(
    record(dns.SRV, b"\x00\x01\x00\x02\x13\xc4" + POINTER) + record(dns.CNAME, b"\x02no\xc0\x10"),
    2, authority=record(dns.SOA, POINTER + b"\x01x\x00" + bytes(20)),
)  # fmt: skip


@SETTINGS
@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_the_codecs_error_or_nothing(data: bytes) -> None:
    for wire in (data, GOOD[:12] + data, GOOD[: len(message(count=0))] + data):
        try:
            decode_reply(wire)
        except DnsError:
            continue


@SETTINGS
@given(st.integers(0, len(GOOD)), st.integers(0, 8), st.binary(max_size=8))
def test_a_reply_with_bytes_changed_raises_the_codecs_error_or_nothing(at: int, gone: int, put: bytes) -> None:
    assert decode_reply(GOOD).answers
    try:
        decode_reply(GOOD[:at] + put + GOOD[at + gone :])
    except DnsError:
        return


def test_names_are_compared_in_lower_case_and_without_the_last_dot() -> None:
    assert canonical("_SIP._udp.Example.ORG.") == "_sip._udp.example.org"
    assert canonical(("a" * 63 + ".") * 3 + "b" * 61) == ("a" * 63 + ".") * 3 + "b" * 61


@pytest.mark.parametrize(
    "name",
    ["", ".", "a..b", ".a", "a..", "a b", "a\n", "a\0", "ä.org", "a/b", "a" * 64, ("a" * 63 + ".") * 3 + "b" * 62],
)
def test_what_is_no_domain_name_is_an_error(name: str) -> None:
    with pytest.raises(DnsError):
        canonical(name)
