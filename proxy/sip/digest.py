"""Digest credentials and challenges as bytes and values (RFC 7616 §3.3, §3.4; RFC 3261 §22.4; RFC 8760 §2).

Algorithms are MD5, SHA-256 and SHA-512-256, the only qop is "auth". The invariant: this module computes and never
judges; a response that it returns is compared elsewhere.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from proxy.sip import grammar
from proxy.sip.errors import SipError

# RFC 8760 §2.1; `usedforsecurity` because a Python that obeys FIPS 140 otherwise refuses what SIP phones still need
ALGORITHMS: dict[str, Callable[[bytes], hashlib._Hash]] = {
    "MD5": partial(hashlib.md5, usedforsecurity=False),
    "SHA-256": hashlib.sha256,
    "SHA-512-256": partial(hashlib.new, "sha512_256"),  # OpenSSL's, not Python's own: it may be missing
}

_SCHEME = re.compile(rb"[ \t]*([^ \t,=]*)[ \t]*")
# auth-param = token EQUAL ( token / quoted-string ). A bare value may bear what a token may not (some phones forget the
# quotes around a URI), but no comma. Nothing is tried twice: one datagram must not take seconds.
_PARAM = rb'[ \t]*%b[ \t]*=[ \t]*(?:"%b"|%b)[ \t]*(?:,|\Z)'
_PARTS = (rb"[A-Za-z0-9\-.!%*_+`'~]+", grammar.QUOTED, rb'[^ \t",]+')  # a name; a value in quotes; a bare one
_ALL = re.compile(b"(?:%b)+(?<!,)" % (_PARAM % _PARTS), re.DOTALL)
_EACH = re.compile(_PARAM % tuple(b"(%b)" % part for part in _PARTS), re.DOTALL)
_FOLD = re.compile(rb"\r\n[ \t]+")
_PAIR = re.compile(rb"\\(.)", re.DOTALL)
_NC = re.compile(rb"[0-9A-Fa-f]{8}")
_REQUIRED = (b"username", b"realm", b"nonce", b"uri", b"response")


class NoAlgorithm(Exception):
    """An algorithm that this program does not know, or this Python cannot compute: one line that says which."""


class Credentials(NamedTuple):
    """What a client says of itself; strings are unquoted, and otherwise as written.

    `algorithm` is in upper case and "MD5" where none is named; `nc` (8 hex digits) and `cnonce` are b"" without a qop.
    """

    user: bytes
    realm: bytes
    nonce: bytes
    uri: bytes
    response: bytes
    algorithm: str
    qop: bytes | None
    nc: bytes
    cnonce: bytes


def available() -> tuple[str, ...]:
    """Return the algorithms that this Python can compute."""
    return tuple(name for name in ALGORITHMS if _can(name))


def fields(text: bytes) -> dict[bytes, bytes]:
    """Return the parameters of an Authorization value, names in lower case, values unquoted; {} for another scheme.

    `text` is one whole header value: credentials have commas of their own. Raises SipError 400.
    """
    if grammar.CR in text:
        text = _FOLD.sub(b" ", text)
    scheme = _SCHEME.match(text)
    if scheme is None or scheme[1].lower() != b"digest":
        return {}
    if _ALL.fullmatch(text, scheme.end()) is None:
        raise SipError(400, b"Bad Credentials")
    params = _EACH.findall(text, scheme.end())
    found = {name.lower(): bare or _unescaped(quoted) for name, quoted, bare in params}
    if len(found) != len(params):
        raise SipError(400, b"Parameter Twice in Credentials")
    return found


def credentials(found: Mapping[bytes, bytes]) -> Credentials:
    """Return what `fields` found as credentials. Raises SipError 400 when something is missing or malformed."""
    if b"username*" in found:  # RFC 7616 §3.4; who needs it has a name that no quoted-string can hold
        raise SipError(400, b"username* Not Supported")
    for name in _REQUIRED:
        if name not in found:
            raise SipError(400, b"No " + name + b" in Credentials")
    user, realm, nonce, uri, response = (found[name] for name in _REQUIRED)
    algorithm = found.get(b"algorithm", b"MD5").decode("latin-1").upper()
    qop = found.get(b"qop")
    if qop is None:
        return Credentials(user, realm, nonce, uri, response, algorithm, None, b"", b"")
    if b"cnonce" not in found:
        raise SipError(400, b"No cnonce in Credentials")
    if _NC.fullmatch(found.get(b"nc", b"")) is None:
        raise SipError(400, b"Bad nc in Credentials")
    return Credentials(user, realm, nonce, uri, response, algorithm, qop, found[b"nc"], found[b"cnonce"])


def challenge(realm: bytes, nonce: bytes, algorithm: str, is_stale: bool = False) -> bytes:
    """Return the value of a WWW-Authenticate or Proxy-Authenticate header (RFC 7616 §3.3)."""
    stale = b", stale=true" if is_stale else b""
    return b'Digest realm="%b", nonce="%b", algorithm=%b, qop="auth"%b' % (
        quoted_pairs(realm), quoted_pairs(nonce), algorithm.encode("ascii"), stale,
    )  # fmt: skip


def quoted_pairs(text: bytes) -> bytes:
    """Return what stands between the quotes of a quoted-string that means `text`."""
    return text.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def ha1(algorithm: str, user: bytes, realm: bytes, password: bytes) -> bytes:
    """Return H(A1) in lower-case hex (RFC 7616 §3.4.2). Raises NoAlgorithm."""
    return _hash(algorithm, b"%b:%b:%b" % (user, realm, password))


def response(
    algorithm: str, ha1: bytes, method: bytes, uri: bytes, nonce: bytes, nc: bytes, cnonce: bytes, qop: bytes | None
) -> bytes:
    """Return the response in lower-case hex (RFC 7616 §3.4.1), or without a qop that of RFC 2069. Raises NoAlgorithm.

    `nc`, `cnonce` and `qop` are as the client wrote them.
    """
    ha2 = _hash(algorithm, b"%b:%b" % (method, uri))
    if qop is None:
        return _hash(algorithm, b"%b:%b:%b" % (ha1, nonce, ha2))
    return _hash(algorithm, b":".join((ha1, nonce, nc, cnonce, qop, ha2)))


def hex_digits(algorithm: str) -> int:
    """Return the length of an HA1 or a response."""
    return 32 if algorithm == "MD5" else 64


def _unescaped(quoted: bytes) -> bytes:
    return _PAIR.sub(rb"\1", quoted) if grammar.BACKSLASH in quoted else quoted


def _hash(algorithm: str, data: bytes) -> bytes:
    if algorithm not in ALGORITHMS:
        raise NoAlgorithm(f"{algorithm}: unknown digest algorithm; known are {', '.join(ALGORITHMS)}")
    try:
        return ALGORITHMS[algorithm](data).hexdigest().encode("ascii")
    except ValueError:
        raise NoAlgorithm(f"{algorithm}: the OpenSSL of this Python cannot compute it; use another one") from None


def _can(algorithm: str) -> bool:
    try:
        _hash(algorithm, b"")
    except NoAlgorithm:
        return False
    return True
