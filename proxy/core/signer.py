"""Signed state: what the proxy writes into messages, and believes when it comes back.

Whoever has not got the key cannot make us send anywhere by writing our parameters himself.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from hashlib import blake2s
from hmac import compare_digest

from proxy.sip.memory import remembered

DIGEST_BYTES = 12  # 96 bits: far beyond guessing over a network
SIGNATURE_BYTES = 16  # as it is written
TOKEN_LIFETIME_S = 86_400  # a call that lasts longer refreshes its Contact, if not its route set
# As base64.urlsafe_b64encode and its reverse do, in fewer steps.
_URL_SAFE, _FROM_URL_SAFE = bytes.maketrans(b"+/", b"-_"), bytes.maketrans(b"-_", b"+/")
_QUARTER_S = 900  # expiry is rounded up to this: then most tokens of one call are the same


class Signer:
    """Signs sequences of byte strings with one key (16 to 32 bytes)."""

    def __init__(self, key: bytes) -> None:
        self._keyed = blake2s(key=key, digest_size=DIGEST_BYTES)
        self._keyed.update(b"\0")  # has the block with the key hashed now, and not for each signature
        self._signature = remembered(self._sign)  # what we sign comes back in most messages of a call

    def sign(self, purpose: bytes, *parts: bytes) -> bytes:
        """Return 16 URL-safe characters. A signature for one purpose is worth nothing for another."""
        return self._signature(b"\0".join((purpose, *parts)))

    def _sign(self, text: bytes) -> bytes:
        keyed = self._keyed.copy()
        keyed.update(text)
        return b2a_base64(keyed.digest(), newline=False).translate(_URL_SAFE)

    def verify(self, signature: bytes, purpose: bytes, *parts: bytes) -> bool:
        """Say whether `sign` made this signature; in constant time."""
        return compare_digest(signature, self.sign(purpose, *parts))

    def sign_until(self, now: float, purpose: bytes, *parts: bytes) -> bytes:
        """Return a signature that `is_current` for TOKEN_LIFETIME_S, or a little longer. `now` is in Unix seconds."""
        return self.sign_for(term(now), purpose, *parts)

    def sign_for(self, term: int, purpose: bytes, *parts: bytes) -> bytes:
        """Return what `sign_until` does as long as its `term` is this one."""
        expires = b"%x" % term
        return b"%b.%b" % (expires, self.sign(purpose, expires, *parts))

    def good_until(self, token: bytes, purpose: bytes, *parts: bytes) -> float | None:
        """Return when a token of `sign_until` expires, in Unix seconds; None for one that it has not made."""
        expires, _, signature = token.partition(b".")
        if not self.verify(signature, purpose, expires, *parts):
            return None
        return int(expires, 16) * _QUARTER_S

    def is_current(self, token: bytes, now: float, purpose: bytes, *parts: bytes) -> bool:
        """Say whether `sign_until` made this token, and its time has not passed."""
        until = self.good_until(token, purpose, *parts)
        return until is not None and until >= now


def term(now: float) -> int:
    """Return the number of the quarter of an hour in which what is signed now expires."""
    return int((now + TOKEN_LIFETIME_S) // _QUARTER_S) + 1


def pack(text: bytes) -> bytes:
    """Return bytes in the alphabet of URI parameters."""
    return b2a_base64(text, newline=False).translate(_URL_SAFE).rstrip(b"=")


def unpack(text: bytes) -> bytes:
    """Reverse `pack`. Raises ValueError."""
    return a2b_base64(text.translate(_FROM_URL_SAFE) + b"=" * (-len(text) % 4))
