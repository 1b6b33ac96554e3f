"""Signed state."""

from __future__ import annotations

import pytest

from proxy.core.signer import TOKEN_LIFETIME_S, Signer, pack, unpack

SIGNER = Signer(bytes(32))
NOW = 1_700_000_000.5
ALPHABET = set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_a_signature_is_the_same_every_time_and_fits_into_a_uri() -> None:
    signature = SIGNER.sign(b"purpose", b"part")
    assert signature == Signer(bytes(32)).sign(b"purpose", b"part")
    assert len(signature) == 16
    assert set(signature) <= ALPHABET


def test_a_signature_is_worth_nothing_for_other_parts_another_purpose_or_another_key() -> None:
    signature = SIGNER.sign(b"purpose", b"a", b"b")
    assert SIGNER.verify(signature, b"purpose", b"a", b"b")
    assert not SIGNER.verify(signature, b"purpose", b"a", b"c")
    assert not SIGNER.verify(signature, b"purpose", b"ab")
    assert not SIGNER.verify(signature, b"other", b"a", b"b")
    assert not SIGNER.verify(signature[:-1], b"purpose", b"a", b"b")
    assert not Signer(bytes(31)).verify(signature, b"purpose", b"a", b"b")


def test_a_signature_leaves_the_key_as_it_was() -> None:
    first = SIGNER.sign(b"p", b"a")
    SIGNER.sign(b"p", b"b")
    assert SIGNER.sign(b"p", b"a") == first


def test_a_token_is_current_for_a_day_and_a_quarter_of_an_hour_at_the_most() -> None:
    token = SIGNER.sign_until(NOW, b"purpose", b"part")
    assert set(token) <= ALPHABET | {ord(".")}
    assert SIGNER.is_current(token, NOW, b"purpose", b"part")
    assert SIGNER.is_current(token, NOW + TOKEN_LIFETIME_S, b"purpose", b"part")
    assert not SIGNER.is_current(token, NOW + TOKEN_LIFETIME_S + 901, b"purpose", b"part")
    assert not SIGNER.is_current(token, NOW + 100 * TOKEN_LIFETIME_S, b"purpose", b"part")


def test_tokens_of_one_quarter_of_an_hour_are_the_same() -> None:
    tokens = {SIGNER.sign_until(NOW + second, b"purpose") for second in range(900)}
    assert 1 <= len(tokens) <= 2


def test_nobody_prolongs_a_token_or_uses_it_for_something_else() -> None:
    token = SIGNER.sign_until(NOW, b"purpose", b"part")
    expires, _, signature = token.partition(b".")
    later = b"%x.%b" % (int(expires, 16) + 1, signature)
    assert not SIGNER.is_current(later, NOW, b"purpose", b"part")
    assert not SIGNER.is_current(token, NOW, b"other", b"part")
    assert not SIGNER.is_current(token, NOW, b"purpose", b"other")
    assert not Signer(bytes(31)).is_current(token, NOW, b"purpose", b"part")


@pytest.mark.parametrize("token", [b"", b".", b"x", b"zz.zz", b"\xff.\xff", b"-1." + b"A" * 16, b"1" * 9999])
def test_rubbish_is_not_current(token: bytes) -> None:
    assert not SIGNER.is_current(token, NOW, b"purpose")


@pytest.mark.parametrize("text", [b"", b"a", b"10.0.0.5:5060", bytes(range(256))])
def test_packed_bytes_come_back(text: bytes) -> None:
    assert unpack(pack(text)) == text
    assert b"=" not in pack(text)


def test_what_was_never_packed_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="base64"):
        unpack(b"A")
