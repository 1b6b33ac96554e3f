"""Tokens, parameters and comma lists (RFC 3261 §25.1)."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.sip import grammar

# What parameters are made of, and what makes them odd.
PIECES = (b";", b";", b"=", b"tag", b"TAG", b"tagx", b"x", b"t", b" ", b"\t", b'"', b"\\", b",", b"\xff")


@pytest.mark.parametrize(
    ("written", "key"),
    [
        (b"Via", b"via"),
        (b"v", b"via"),
        (b"V", b"via"),
        (b"VIA \t", b"via"),
        (b"cAlL-iD", b"call-id"),
        (b"i", b"call-id"),
        (b"m", b"contact"),
        (b"l", b"content-length"),
        (b"X-Unknown", b"x-unknown"),
        (b"q", b"q"),
        (b"", None),
        (b" Via", None),
        (b"Via;", None),
        (b"a b", None),
        (b"\xc3\xbc", None),
    ],
)
def test_a_header_name_in_any_spelling_has_one_key(written: bytes, key: bytes | None) -> None:
    assert grammar.header_key(written) == key


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (b" one ", [b"one"]),
        (b"one,two , three", [b"one", b"two", b"three"]),
        (b'"a, b" <sip:x>, <sip:y,z>;q=1', [b'"a, b" <sip:x>', b"<sip:y,z>;q=1"]),
        (b'"a \\" , b" <sip:x>, c', [b'"a \\" , b" <sip:x>', b"c"]),
        (b"<sip:a;x=\">,<sip:b>", [b'<sip:a;x=">', b"<sip:b>"]),
        (b",, a,,b ,", [b"a", b"b"]),
        (b",", []),
        (b'"never closed, b', [b'"never closed, b']),
        (b'"ends with \\', [b'"ends with \\']),
    ],
)
def test_commas_separate_values_but_not_within_quotes_or_brackets(text: bytes, values: list[bytes]) -> None:
    assert grammar.split_values(text) == values


def test_a_parameter_is_found_in_any_case_and_with_white_space() -> None:
    params = b';Branch = abc ; lr;q="a;tag=no\\"";empty='
    assert grammar.param(params, b"branch") == b"abc"
    assert grammar.param(params, b"lr") == b""
    assert grammar.param(params, b"empty") == b""
    assert grammar.param(params, b"q") == b'"a;tag=no\\""'
    assert grammar.param(params, b"tag") is None


def test_removing_a_parameter_leaves_every_other_byte() -> None:
    assert grammar.without_param(b"; a=1 ;NAT=x;b ;nat; c", b"nat") == b"; a=1 ;b ; c"


def test_setting_a_parameter_keeps_its_place_and_leaves_one() -> None:
    assert grammar.with_param(b";a;rport;b", b"rport", b"7") == b";a;rport=7;b"
    assert grammar.with_param(b";RPORT=1;a;rport=2", b"rport", b"7") == b";RPORT=7;a"
    assert grammar.with_param(b"", b"rport", b"7") == b";rport=7"


@given(st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join), st.sampled_from((b"tag", b"x", b"t")))
def test_a_usual_spelling_is_read_and_edited_as_any_other(text: bytes, name: bytes) -> None:
    params = b";" + text if text else b""

    def read() -> tuple[bytes | None, bytes, bytes]:
        return (
            grammar.param(params, name), grammar.without_param(params, name), grammar.with_param(params, name, b"7")
        )  # fmt: skip

    usual = read()
    with patch.object(grammar, "_place", lambda params, name: grammar.UNUSUAL):
        assert read() == usual


def test_what_is_usual_is_told_from_what_is_not() -> None:
    """Else the test above would compare the general way with itself."""
    places = [grammar._place(params, b"tag") for params in (b";a;tag=1;b", b";tag", b";a", b";tag =1", b';x="tag"')]
    assert places == [(2, 8), (0, 4), None, grammar.UNUSUAL, grammar.UNUSUAL]


@pytest.mark.parametrize("text", [b"", b"-1", b"+1", b"1_0", b" 1", b"0x1", b"99999999999", b"256", "٣".encode()])
def test_what_is_not_a_decimal_in_range_is_none(text: bytes) -> None:
    assert grammar.decimal(text, 255) is None


def test_a_decimal_may_have_leading_zeros() -> None:
    assert grammar.decimal(b"0068", 255) == 68
    assert grammar.decimal(b"255", 255) == 255


@pytest.mark.parametrize(
    ("host", "text"),
    [
        (b"Example.ORG", "example.org"), (b"10.0.0.1", "10.0.0.1"), (b"[::1]", "::1"),
        (b"[2001:DB8::0:1]", "2001:db8::1"), (b"[::1::2]", "::1::2"), (b"\xff", "\xff"), (b"", ""),
    ],
)  # fmt: skip
def test_a_host_is_compared_in_one_spelling(host: bytes, text: str) -> None:
    assert grammar.host_text(host) == text


def test_every_spelling_that_is_found_without_a_look_is_found_with_one_too() -> None:
    for name in (b"Via", b"Call-ID", b"CSeq", b"Proxy-Authorization"):
        assert grammar.header_key(name) == grammar.header_key(name.upper()) == name.lower()
