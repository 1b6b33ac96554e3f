"""Digest credentials and challenges: the vectors of the RFCs, and what a header value may look like."""

from __future__ import annotations

import hashlib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.sip import digest
from proxy.sip.digest import Credentials, NoAlgorithm
from proxy.sip.errors import SipError

WHOLE = (
    b'Digest username="alice", realm="example.org", nonce="n", uri="sip:example.org", response="00ff", '
    b'algorithm=SHA-256, cnonce="c", qop=auth, nc=0000000a, opaque="o"'
)


def parsed(text: bytes) -> Credentials:
    return digest.credentials(digest.fields(text))


# RFC 7616 §3.9.1; the realm, the nonce and the cnonce are the same for both algorithms.
@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", b"8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", b"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_responses_are_those_of_rfc_7616(algorithm: str, response: bytes) -> None:
    ha1 = digest.ha1(algorithm, b"Mufasa", b"http-auth@example.org", b"Circle of Life")
    nonce, cnonce = b"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", b"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    got = digest.response(algorithm, ha1, b"GET", b"/dir/index.html", nonce, b"00000001", cnonce, b"auth")
    assert got == response
    assert len(got) == len(ha1) == digest.hex_digits(algorithm)


def test_the_response_with_sha_512_256_is_that_of_erratum_4897_to_rfc_7616() -> None:
    """§3.9.2 as printed was computed with SHA-512 cut short; the erratum has SHA-512/256."""
    name = "J\u00e4s\u00f8n Doe".encode()
    ha1 = digest.ha1("SHA-512-256", name, b"api@example.org", b"Secret, or not?")
    nonce, cnonce = b"5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", b"NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v"
    got = digest.response("SHA-512-256", ha1, b"GET", b"/doe.json", nonce, b"00000001", cnonce, b"auth")
    assert got == b"3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5"
    assert len(ha1) == digest.hex_digits("SHA-512-256")


def test_the_response_is_that_of_rfc_2617() -> None:
    """§3.5."""
    ha1 = digest.ha1("MD5", b"Mufasa", b"testrealm@host.com", b"Circle Of Life")
    assert ha1 == b"939e7578ed9e3c518a452acee763bce9"
    nonce = b"dcd98b7102dd2f0e8b11d0f600bfb0c093"
    got = digest.response("MD5", ha1, b"GET", b"/dir/index.html", nonce, b"00000001", b"0a4f113b", b"auth")
    assert got == b"6629fae49393a05397450978507c4ef1"


def test_without_qop_the_response_is_that_of_rfc_2069() -> None:
    """§2.4, with the value of its erratum 749."""
    ha1 = digest.ha1("MD5", b"Mufasa", b"testrealm@host.com", b"CircleOfLife")
    nonce = b"dcd98b7102dd2f0e8b11d0f600bfb0c093"
    got = digest.response("MD5", ha1, b"GET", b"/dir/index.html", nonce, b"", b"", None)
    assert got == b"1949323746fe6a43ef61f9606e7febea"


def test_an_algorithm_that_nobody_knows_is_one_line() -> None:
    with pytest.raises(NoAlgorithm, match="SHA-1: unknown digest algorithm; known are MD5, SHA-256, SHA-512-256"):
        digest.ha1("SHA-1", b"a", b"r", b"p")


def test_an_algorithm_that_openssl_lacks_is_one_line_and_not_available(monkeypatch: pytest.MonkeyPatch) -> None:
    assert digest.available() == ("MD5", "SHA-256", "SHA-512-256")
    monkeypatch.setitem(digest.ALGORITHMS, "SHA-512-256", lambda data: hashlib.new("sha512_257", data))
    assert digest.available() == ("MD5", "SHA-256")
    with pytest.raises(NoAlgorithm, match="SHA-512-256: the OpenSSL of this Python cannot compute it"):
        digest.ha1("SHA-512-256", b"a", b"r", b"p")


def test_credentials_come_apart() -> None:
    assert parsed(WHOLE) == Credentials(
        b"alice", b"example.org", b"n", b"sip:example.org", b"00ff", "SHA-256", b"auth", b"0000000a", b"c"
    )


@pytest.mark.parametrize(
    "text",
    [
        b"  " + WHOLE + b"\t ",
        WHOLE.replace(b"Digest ", b"dIGEST\t"),
        WHOLE.replace(b", ", b","),
        WHOLE.replace(b", ", b"\t, \t"),
        WHOLE.replace(b"=", b" = "),
        WHOLE.replace(b", ", b",\r\n "),
        WHOLE.replace(b", ", b",\r\n\t \r\n "),
        WHOLE.replace(b"username", b"USERNAME").replace(b" nc", b" Nc").replace(b"SHA", b"sha"),
        WHOLE.replace(b'"', b""),
        WHOLE.replace(b'"c"', b'"\\c"').replace(b"=auth", b'="auth"').replace(b"=0000000a", b'="0000000a"'),
        b"Digest " + b", ".join(reversed(WHOLE.removeprefix(b"Digest ").split(b", "))),
        WHOLE + b', userhash=false, x-new="\\", username=\\"mallory"',
    ],
)
def test_credentials_mean_the_same_in_any_order_case_and_spacing(text: bytes) -> None:
    assert parsed(text) == parsed(WHOLE)


def test_quoted_pairs_and_folds_within_quotes_are_resolved() -> None:
    found = digest.fields(b'Digest username="a\\"b\\\\c, d=\\e",realm="one\r\n  two"')
    assert found == {b"username": b'a"b\\c, d=e', b"realm": b"one two"}


def test_without_an_algorithm_it_is_md5_and_without_qop_no_count_is_wanted() -> None:
    given = parsed(b'Digest username="a", realm="r", nonce="n", uri="u", response="0", nc=zz')
    assert (given.algorithm, given.qop, given.nc, given.cnonce) == ("MD5", None, b"", b"")


@pytest.mark.parametrize(
    "text", [b"", b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", b"Bearer a=b", b"Digestive a=b", b"Digest\0a=b", b'"']
)
def test_another_scheme_is_not_read(text: bytes) -> None:
    assert digest.fields(text) == {}


@pytest.mark.parametrize(
    "text",
    [
        b"Digest", b"Digest ", b"Digest ,", b"Digest a", b"Digest a=", b'Digest a="', b'Digest a="\\"',
        b"Digest a=b c=d", b"Digest a=b,", b"Digest a=b,,c=d", b'Digest a="b"c', b'Digest a=b"c"', b"Digest =b",
        b"Digest,a=b",
    ],
)  # fmt: skip
def test_malformed_parameters_are_refused(text: bytes) -> None:
    with pytest.raises(SipError, match="400 Bad Credentials"):
        digest.fields(text)


@pytest.mark.parametrize("name", [b"response", b"RESPONSE", b"opaque"])
def test_a_parameter_stands_once(name: bytes) -> None:
    with pytest.raises(SipError, match="400 Parameter Twice"):
        digest.fields(WHOLE + b", " + name + b'="x"')


@pytest.mark.parametrize("name", ["username", "realm", "nonce", "uri", "response", "cnonce", "nc"])
def test_a_missing_parameter_is_named(name: str) -> None:
    found = digest.fields(WHOLE)
    del found[name.encode()]
    with pytest.raises(SipError, match=f"400 .* ?{name} in Credentials"):
        digest.credentials(found)


@pytest.mark.parametrize("nc", [b"1", b"000000001", b"0000000g", b"-0000001", b"0x000001", b" 0000001"])
def test_a_count_has_eight_hex_digits(nc: bytes) -> None:
    with pytest.raises(SipError, match="400 Bad nc"):
        digest.credentials({**digest.fields(WHOLE), b"nc": nc})


def test_an_extended_user_name_is_refused_with_the_reason() -> None:
    with pytest.raises(SipError, match=r"400 username\* Not Supported"):
        parsed(WHOLE.replace(b'username="alice"', b"username*=UTF-8''J%C3%A4s%C3%B8n%20Doe"))


def test_a_challenge_reads_as_rfc_8760_writes_it() -> None:
    assert digest.challenge(b"example.org", b"abc", "SHA-512-256") == (
        b'Digest realm="example.org", nonce="abc", algorithm=SHA-512-256, qop="auth"'
    )
    assert digest.challenge(b"r", b"n", "MD5", True).endswith(b', qop="auth", stale=true')


@settings(deadline=None, database=None, derandomize=True)
@given(st.binary(max_size=30).map(lambda raw: raw.translate(None, b"\r\n")))
def test_a_realm_comes_back_whatever_is_in_it(realm: bytes) -> None:
    assert digest.fields(digest.challenge(realm, b"n", "MD5"))[b"realm"] == realm


MARKS = [b",", b'"', b"\\", b"=", b" ", b"\r\n ", b"Digest ", b"username*=", b"\xff"]
PIECE = st.sampled_from([*WHOLE.split(b", "), *MARKS])
NASTY = settings(max_examples=400, deadline=None, database=None, derandomize=True)


@NASTY
@given(st.lists(PIECE | st.binary(max_size=4), max_size=14), st.sampled_from([b"", b", "]))
def test_arbitrary_values_raise_nothing_but_sip_errors(pieces: list[bytes], between: bytes) -> None:
    try:
        outcome: Credentials | int = parsed(b"Digest " + between.join(pieces))
    except SipError as error:
        outcome = error.status
    assert outcome == 400 or isinstance(outcome, Credentials)


@pytest.mark.parametrize("unit", [b'"', b"\\", b'a="', b"a=b,", b" ", b"a", b"=", b'\\"', b",", b"\r\n "])
def test_a_header_as_long_as_a_datagram_takes_no_time(unit: bytes) -> None:
    for text in (b"Digest " + unit * (64_000 // len(unit)), b'Digest a="' + unit * (64_000 // len(unit))):
        begun = time.process_time()
        with pytest.raises(SipError):
            parsed(text)
        assert time.process_time() - begun < 0.5  # seconds; what is tried again from every place takes minutes
