"""Via, name-addr and CSeq (RFC 3261 §20)."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.sip import grammar, headers
from proxy.sip.errors import SipError
from proxy.sip.headers import parse_any_via, parse_cseq, parse_name_addr, parse_via


def test_a_via_comes_apart_whatever_white_space_stands_in_it() -> None:
    via = parse_via(b"sip / 2.0 /\t UDP   host.example.org : 5070 ; branch = z9hG4bKx ;rport")
    assert (via.transport, via.sent_by) == (b"UDP", ("host.example.org", 5070))
    assert via.param(b"branch") == b"z9hG4bKx"
    assert via.param(b"rport") == b""
    assert via.param(b"received") is None


@pytest.mark.parametrize(
    "text",
    [b"SIP/2.0/UDP 10.0.0.1", b"SIP/2.0/TCP [::1]:5061;branch=z9hG4bK1;x", b"SIP/2.0/UDP host:5060;a=\"q;r\""],
)
def test_a_via_in_the_usual_spelling_leaves_as_it_came(text: bytes) -> None:
    assert parse_via(text).encode() == text


@pytest.mark.parametrize(
    "text",
    [
        b"", b"SIP/2.0/UDP", b"SIP/3.0/UDP host", b"SIP/2.0 host", b"SIP/2.0/UDP host:0", b"SIP/2.0/UDP host:65536",
        b"SIP/2.0/UDP host:x", b"SIP/2.0/UDP host branch=1", b"SIP/2.0/UDP a@b", b"SIP/2.0/UDPhost",
    ],
)  # fmt: skip
def test_a_malformed_via_is_400(text: bytes) -> None:
    with pytest.raises(SipError, match="400 Bad Via"):
        parse_via(text)


@pytest.mark.parametrize(
    ("text", "uri", "tag"),
    [
        (b"<sip:a@b;x=1>;tag=t", b"sip:a@b;x=1", b"t"),
        (b"sip:a@b;tag=t", b"sip:a@b", b"t"),
        (b'"A <fake>; \\"B\\"" <sip:a@b>', b"sip:a@b", None),
        (b"A B <sip:a@b> ; TAG = t", b"sip:a@b", b"t"),
        (b"<sip:a@b;tag=uri>", b"sip:a@b;tag=uri", None),
    ],
)
def test_header_parameters_are_never_taken_for_the_uris(text: bytes, uri: bytes, tag: bytes | None) -> None:
    value = parse_name_addr(text)
    assert (value.uri, value.param(b"tag")) == (uri, tag)
    assert value.encode() == text


@pytest.mark.parametrize("text", [b"<sip:a@b", b"sip:a@b>", b'"A <sip:a@b>', b"<<sip:a@b>>", b'A "b'])
def test_a_malformed_address_is_400(text: bytes) -> None:
    with pytest.raises(SipError, match="400 Bad Address"):
        parse_name_addr(text)


def test_a_cseq_comes_apart_and_its_method_keeps_its_case() -> None:
    assert parse_cseq(b"0009\t  iNVITE") == (9, b"iNVITE")
    assert parse_cseq(b"2147483647 X") == (2**31 - 1, b"X")


@pytest.mark.parametrize("text", [b"", b"1", b"INVITE", b"-1 INVITE", b"2147483648 X", b"9" * 20 + b" X", b"1 a b"])
def test_a_malformed_cseq_is_400(text: bytes) -> None:
    with pytest.raises(SipError, match="400 Bad CSeq"):
        parse_cseq(text)


def test_a_via_of_another_version_is_read_only_by_who_wants_to_say_505() -> None:
    via = parse_any_via(b"SIP/7.10/UDP host:5070;branch=1")
    assert via.sent_by == ("host", 5070)
    assert via.encode() == b"SIP/7.10/UDP host:5070;branch=1"
    with pytest.raises(SipError, match="400 Bad Via"):
        parse_via(b"SIP/7.10/UDP host:5070;branch=1")
    with pytest.raises(SipError, match="400 Bad Via"):
        parse_any_via(b"SIP/x/UDP host")


def test_sent_by_is_in_one_spelling_and_leaves_as_it_came() -> None:
    via = parse_via(b"SIP/2.0/UDP [2001:DB8:0:0::1]:7;x")
    assert via.sent_by == ("2001:db8::1", 7)
    assert via.encode() == b"SIP/2.0/UDP [2001:DB8:0:0::1]:7;x"


@pytest.mark.parametrize("text", [b"<tel:+4930>", b"<sip:>", b"<>", b"*"])
def test_an_address_that_is_not_ours_to_read_has_no_uri(text: bytes) -> None:
    assert parse_name_addr(text).parsed_or_none() is None
    with pytest.raises(SipError, match="4"):
        parse_name_addr(text).parsed()


def test_an_address_with_a_sip_uri_has_one() -> None:
    uri = parse_name_addr(b'"A" <sip:a@b>').parsed_or_none()
    assert uri is not None
    assert uri.encode() == b"sip:a@b"


@pytest.mark.parametrize("text", [b'A, B <sip:a@b>', b"A;B <sip:a@b>", b"sip:x <sip:a@b>", b"a@b <sip:a@b>"])
def test_an_unquoted_display_name_has_no_separators(text: bytes) -> None:
    with pytest.raises(SipError, match="400 Bad Address"):
        parse_name_addr(text)


VIA = (b"SIP/2.0/UDP", b"SIP/2.0/TCP", b"sip/2.0/UDP", b"SIP/3.0/UDP", b"SIP / 2.0/UDP")
SENT_BY = (b"10.0.0.5", b"host", b"[::1]", b"::1", b"[::1", b"a_b", b"a@b", b"")
PORT = (b"", b":5060", b":0", b":65536", b":1x", b" : 7", b":")
PARAMS = (b"", b";branch=z9hG4bK1", b";branch=a@b", b";branch=a;r", b" ;rport", b";;", b"x", b';a="b;c"', b";\r\n x")


@given(*map(st.sampled_from, (VIA, SENT_BY, PORT, PARAMS)), st.sampled_from((b" ", b"  ", b"\t", b"")))
def test_a_via_in_the_usual_spelling_is_read_as_any_other(
    protocol: bytes, sent_by: bytes, port: bytes, params: bytes, space: bytes
) -> None:
    text = protocol + space + sent_by + port + params

    def read() -> object:
        try:
            return headers.parse_any_via(text)
        except SipError as error:
            return str(error)

    usual = read()
    with patch.object(headers, "_USUAL_VIA", re.compile(rb"(?!)")):
        assert read() == usual


AFTER = (
    b"", b";tag=1", b";TAG=2", b";tag=a;tag=b", b";tag", b";tag=", b";tag=a b", b';tag="q"', b";x;tag=3", b" ;tag=4",
    b";tag=a@b", b";tag=5 ", b";tagged=1;tag=6", b";tag=7;x", b';x=";tag=8"', b";tag=9,", b";tag=\xc3", b"x;tag=a",
)  # fmt: skip


@pytest.mark.parametrize("after", AFTER)
@pytest.mark.parametrize("before", [b"<", b"A <", b'"A" <', b'"\\"<>" b <'])
def test_a_tag_is_what_the_parameters_say(before: bytes, after: bytes) -> None:
    assert parse_name_addr(before + b"sip:a;tag=no>" + after).tag == grammar.param(after, b"tag")


@pytest.mark.parametrize("text", [b'"' * 20_000, b"a" * 20_000, b'"a\\' * 10_000, b'"" ' * 10_000, b"<" * 20_000])
def test_what_never_ends_is_given_up_in_linear_time(text: bytes) -> None:
    began = time.process_time()
    with suppress(SipError):
        parse_name_addr(text)
    assert time.process_time() - began < 0.5
