"""What follows from a message that a phone sent: its CANCEL, the ACK for a refusal, credentials for a challenge.

The digest is computed here with hashlib alone, so that the proxy's own is checked against another.
"""

from __future__ import annotations

import re
from hashlib import md5, sha256

from proxy.sip.message import Request
from proxy.sip.parse import parse
from tests.flows.ladder import Sent

PASSWORD = b"secret"
_HASHES = {b"MD5": md5, b"SHA-256": sha256}


def cancel(invite: bytes) -> bytes:
    """Return the CANCEL for an INVITE (RFC 3261 §9.1): one Via, and all that names the transaction."""
    return _hop_by_hop(invite, b"CANCEL", b"")


def ack(invite: bytes, answer: Sent) -> bytes:
    """Return the ACK for a final response other than 2xx (§17.1.1.3)."""
    return _hop_by_hop(invite, b"ACK", answer.header("To") or b"")


def ha1(user: bytes, algorithm: bytes = b"SHA-256", password: bytes = PASSWORD) -> bytes:
    """Return H(user:realm:password) in the one realm of these tests."""
    return _HASHES[algorithm](b"%b:example.org:%b" % (user, password)).hexdigest().encode()


def users(*names: bytes) -> dict[bytes, dict[str, bytes]]:
    """Return the proxy's table of these users, who all have one password."""
    return {name: {"SHA-256": ha1(name), "MD5": ha1(name, b"MD5")} for name in names}


def credentials(
    challenge: Sent, user: bytes, method: bytes, uri: bytes, password: bytes = PASSWORD, nc: int = 1
) -> bytes:
    """Return the header line that answers the first challenge of a 401 or 407 (RFC 7616 §3.4)."""
    kind = "WWW-Authenticate" if challenge.what == "401" else "Proxy-Authenticate"
    line = b"Authorization" if challenge.what == "401" else b"Proxy-Authorization"
    fields = dict(re.findall(rb'(\w+)="?([^",]+)"?', challenge.header(kind) or b""))
    algorithm, nonce = fields[b"algorithm"], fields[b"nonce"]
    count, cnonce = b"%08x" % nc, b"0a4f113b"
    second = _HASHES[algorithm](b"%b:%b" % (method, uri)).hexdigest().encode()
    parts = (ha1(user, algorithm, password), nonce, count, cnonce, b"auth", second)
    response = _HASHES[algorithm](b":".join(parts)).hexdigest().encode()
    return (
        b'%b: Digest username="%b", realm="example.org", nonce="%b", uri="%b", response="%b", algorithm=%b, '
        b'qop=auth, nc=%b, cnonce="%b"' % (line, user, nonce, uri, response, algorithm, count, cnonce)
    )


def _hop_by_hop(invite: bytes, method: bytes, to: bytes) -> bytes:
    request = parse(invite)
    assert isinstance(request, Request)
    number = (request.header(b"cseq") or b"").split()[0]
    head = [
        b"%b %b SIP/2.0" % (method, request.uri),
        b"Via: " + request.values(b"via")[0],
        *(b"Route: " + route for route in request.values(b"route")),
        b"Max-Forwards: 70",
        b"From: " + (request.header(b"from") or b""),
        b"To: " + (to or request.header(b"to") or b""),
        b"Call-ID: " + (request.header(b"call-id") or b""),
        b"CSeq: %b %b" % (number, method),
        b"Content-Length: 0",
    ]
    return b"\r\n".join((*head, b"", b""))
