"""DNS messages: queries to bytes, bytes to replies (RFC 1035 §4; RFC 2782 SRV, RFC 3403 NAPTR, RFC 3596 AAAA).

The invariant: whatever bytes arrive, `decode_reply` returns a Reply or raises DnsError, and its work is bounded.
Names are lower-case text without the last dot; the root is ".".
"""

from __future__ import annotations

import ipaddress
import re
import struct
from typing import NamedTuple

A, NS, CNAME, SOA, AAAA, SRV, NAPTR = 1, 2, 5, 6, 28, 33, 35
NOERROR, NXDOMAIN = 0, 3

MAX_NAME = 253  # characters, as text (RFC 1035 §2.3.4: 255 bytes on the wire)
MAX_JUMPS = 16  # pointers followed in one name; servers that compress need two or three
MAX_RECORDS = 128  # in one message; honest answers have a dozen

_IN = 1
_LABEL = re.compile(r"[A-Za-z0-9_-]{1,63}")
# Bytes of a label as master files write them (RFC 1035 §5.1): what is not visible, a dot or a backslash becomes \DDD.
_TEXT = tuple(chr(byte).lower() if 0x20 < byte < 0x7F and byte not in b".\\" else f"\\{byte:03}" for byte in range(256))


class DnsError(Exception):
    """Bytes that are no usable DNS message, or a name that no query can hold."""


class Query(NamedTuple):
    """What is asked; a reply repeats it."""

    ident: int  # 16 bits
    name: str
    rtype: int


class Srv(NamedTuple):
    """One server of a service (RFC 2782)."""

    priority: int
    weight: int
    port: int
    target: str  # ".": the service is not available


class Naptr(NamedTuple):
    """One rule of a domain (RFC 3403 §4.1); the regular expression is left out, SIP's rules have none."""

    order: int
    preference: int
    flags: str
    service: str
    replacement: str


# A and AAAA: the IP literal; CNAME and NS: the name; SOA: its minimum in seconds; None: a type that nobody asks for
Data = str | int | Srv | Naptr | None


class Record(NamedTuple):
    """One resource record of class IN."""

    name: str
    rtype: int
    ttl: int  # seconds
    data: Data


class Reply(NamedTuple):
    """What a server says; a truncated reply has no records, for it is asked again over TCP."""

    query: Query
    rcode: int
    is_truncated: bool
    answers: list[Record]
    authority: list[Record]


def canonical(name: str) -> str:
    """Return a name as it is asked for and compared: lower case, without the last dot. Raises DnsError.

    The underscore is allowed: services have it (RFC 2782), and so do hosts in the field.
    """
    name = name.removesuffix(".")
    if len(name) > MAX_NAME or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise DnsError("not a domain name")
    return name.lower()


def encode_query(query: Query) -> bytes:
    """Return a query for a canonical name, recursion desired (RFC 1035 §4.1)."""
    labels = b"".join(b"%c%b" % (len(label), label.encode()) for label in query.name.split("."))
    return struct.pack("!HHHHHH", query.ident, 0x0100, 1, 0, 0, 0) + labels + struct.pack("!xHH", query.rtype, _IN)


def decode_reply(data: bytes) -> Reply:
    """Return the reply in a message; its additional section is not read. Raises DnsError."""
    try:
        return _reply(data)
    except (IndexError, struct.error):
        raise DnsError("message ends too early") from None


def _reply(data: bytes) -> Reply:
    ident, flags, questions, answers, authority = struct.unpack_from("!HHHHH", data)
    if flags & 0xF800 != 0x8000:  # QR set, opcode 0
        raise DnsError("not the reply to a query")
    if questions != 1:
        raise DnsError("not one question")
    if answers + authority > MAX_RECORDS:
        raise DnsError("too many records")
    name, at = _name(data, 12)
    rtype, rclass = struct.unpack_from("!HH", data, at)
    if rclass != _IN:
        raise DnsError("not class IN")
    query, rcode = Query(ident, name, rtype), flags & 0x000F
    if flags & 0x0200:  # TC: it may end within a record
        return Reply(query, rcode, True, [], [])
    first, at = _records(data, at + 4, answers)
    second, _ = _records(data, at, authority)
    return Reply(query, rcode, False, first, second)


def _records(data: bytes, at: int, count: int) -> tuple[list[Record], int]:
    """Return the records of class IN in one section, and where it ends."""
    records = []
    for _ in range(count):
        name, at = _name(data, at)
        rtype, rclass, ttl, size = struct.unpack_from("!HHIH", data, at)
        at += 10
        if at + size > len(data):
            raise DnsError("record ends too early")
        if rclass == _IN:
            # RFC 2181 §8: a TTL with the top bit set is zero
            records.append(Record(name, rtype, ttl if ttl < 1 << 31 else 0, _data(data, rtype, at, at + size)))
        at += size
    return records, at


def _data(data: bytes, rtype: int, at: int, end: int) -> Data:
    """Return what a record says between two offsets; DnsError when it does not fill them exactly."""
    value: Data
    if rtype in {A, AAAA}:
        if end - at != (4 if rtype == A else 16):
            raise DnsError("address of a false length")
        return str(ipaddress.ip_address(data[at:end]))
    if rtype in {CNAME, NS}:
        value, at = _name(data, at)
    elif rtype == SOA:
        _, at = _name(data, at)
        _, at = _name(data, at)
        value, at = struct.unpack_from("!I", data, at + 16)[0], at + 20
    elif rtype == SRV:
        priority, weight, port = struct.unpack_from("!HHH", data, at)
        target, at = _name(data, at + 6)
        value = Srv(priority, weight, port, target)
    elif rtype == NAPTR:
        order, preference = struct.unpack_from("!HH", data, at)
        flags, at = _text(data, at + 4)
        service, at = _text(data, at)
        _, at = _text(data, at)
        replacement, at = _name(data, at)
        value = Naptr(order, preference, flags, service, replacement)
    else:
        return None
    if at != end:
        raise DnsError("record of a false length")
    return value


def _text(data: bytes, at: int) -> tuple[str, int]:
    """Return a character-string (RFC 1035 §3.3), and where it ends."""
    end = at + 1 + data[at]
    return data[at + 1 : end].decode("latin-1"), end


def _name(data: bytes, at: int) -> tuple[str, int]:
    """Return a name, and where it ends in its own place (RFC 1035 §4.1.4).

    A pointer leads before the piece of name that it ends: so there is no loop.
    """
    labels: list[str] = []
    start, end, size, jumps = at, 0, 0, 0
    while length := data[at]:
        if length >= 0xC0:
            end = end or at + 2
            at = (length & 0x3F) << 8 | data[at + 1]
            jumps += 1
            if at >= start or jumps > MAX_JUMPS:
                raise DnsError("pointer that leads nowhere, or too many pointers")
            start = at
        elif length < 0x40:
            size += length + 1
            if size > MAX_NAME + 1:
                raise DnsError("name too long")
            labels.append("".join([_TEXT[byte] for byte in data[at + 1 : at + 1 + length]]))
            at += 1 + length
        else:
            raise DnsError("unknown kind of label")
    return ".".join(labels) or ".", end or at + 1
