"""Where a message ends: Content-Length in datagrams (RFC 3261 §18.3). Streams follow with TCP."""

from __future__ import annotations

from proxy.sip import grammar
from proxy.sip.errors import SipError
from proxy.sip.message import Message

STUN_COOKIE = b"\x21\x12\xa4\x42"  # RFC 8489 §5: bytes 4 to 7 of every STUN message, whose first two bits are 0


def is_keep_alive(data: bytes) -> bool:
    """Say whether a datagram only keeps a NAT open: CRLFs, zero bytes, or STUN (RFC 5626 §3.5)."""
    return not data.strip(b"\r\n\0") or (data[0] < 0x40 and data[4:8] == STUN_COOKIE)


def cut_body(message: Message) -> None:
    """Cut what follows the body in a datagram. Raises SipError 400 when the body is shorter than it claims."""
    claims = set(message.values(b"content-length"))
    if not claims:
        return
    length = grammar.decimal(claims.pop(), 65535)
    if length is None or claims:
        raise SipError(400, b"Bad Content-Length")
    if length > len(message.body):
        raise SipError(400, b"Body Shorter Than Content-Length")
    message.body = message.body[:length]
