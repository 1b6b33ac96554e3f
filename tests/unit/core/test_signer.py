"""Signed state."""

from __future__ import annotations

import pytest

from proxy.core.signer import Signer, pack, unpack

SIGNER = Signer(bytes(32))


def test_a_signature_is_the_same_every_time_and_fits_into_a_uri() -> None:
    signature = SIGNER.sign(b"purpose", b"part")
    assert signature == Signer(bytes(32)).sign(b"purpose", b"part")
    assert len(signature) == 16
    assert set(signature) <= set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def test_a_signature_is_worth_nothing_for_other_parts_another_purpose_or_another_key() -> None:
    signature = SIGNER.sign(b"purpose", b"a", b"b")
    assert SIGNER.verify(signature, b"purpose", b"a", b"b")
    assert not SIGNER.verify(signature, b"purpose", b"a", b"c")
    assert not SIGNER.verify(signature, b"purpose", b"ab")
    assert not SIGNER.verify(signature, b"other", b"a", b"b")
    assert not SIGNER.verify(signature[:-1], b"purpose", b"a", b"b")
    assert not Signer(bytes(31)).verify(signature, b"purpose", b"a", b"b")


@pytest.mark.parametrize("text", [b"", b"a", b"10.0.0.5:5060", bytes(range(256))])
def test_packed_bytes_come_back(text: bytes) -> None:
    assert unpack(pack(text)) == text
    assert b"=" not in pack(text)


def test_what_was_never_packed_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="base64"):
        unpack(b"A")
