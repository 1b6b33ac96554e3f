"""STUN as far as phones use it to keep a hole open: a Binding request and its answer (RFC 8489, RFC 5626 §4.4.2)."""

from __future__ import annotations

import struct
from ipaddress import ip_address

COOKIE = 0x2112A442  # RFC 8489 §5: bytes 4 to 7 of every STUN message, whose first two bits are 0
HEADER_BYTES = 20
BINDING_REQUEST, BINDING_SUCCESS = 0x0001, 0x0101
XOR_MAPPED_ADDRESS = 0x0020


def is_stun(data: bytes) -> bool:
    """Say whether a datagram is a STUN message."""
    return len(data) >= HEADER_BYTES and data[0] < 0x40 and data[4:8] == COOKIE.to_bytes(4, "big")


def answer(data: bytes, source: tuple[str, int]) -> bytes | None:
    """Return the answer to a Binding request: where it came from; None for whatever else it is.

    Attributes are not read: nothing of them could change the answer, and the answer is no longer than the question
    plus 12 bytes (24 for IPv6).
    """
    kind, length, cookie = struct.unpack_from("!HHI", data)
    if kind != BINDING_REQUEST or length != len(data) - HEADER_BYTES:
        return None
    transaction = data[8:HEADER_BYTES]
    address = ip_address(source[0])
    mask = cookie.to_bytes(4, "big") + transaction
    mapped = bytes(a ^ b for a, b in zip(address.packed, mask, strict=False))
    family = 1 if address.version == 4 else 2
    value = struct.pack("!BBH", 0, family, source[1] ^ (cookie >> 16)) + mapped
    attribute = struct.pack("!HH", XOR_MAPPED_ADDRESS, len(value)) + value
    return struct.pack("!HHI", BINDING_SUCCESS, len(attribute), cookie) + transaction + attribute
