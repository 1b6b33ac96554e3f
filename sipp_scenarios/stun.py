"""What a phone that uses STUN does: it asks a server by which address it is seen (RFC 8489, Binding alone)."""

from __future__ import annotations

import secrets
import socket
import struct

BINDING, SUCCESS, XOR_MAPPED_ADDRESS, COOKIE = 0x0001, 0x0101, 0x0020, 0x2112A442
HEADER = struct.Struct("!HHI12s")  # type, length, cookie, transaction
WAITS_S = (0.5, 1.0)  # after each question (RFC 8489 §6.2.1 has more of them)

Address = tuple[str, int]


def public_address(own: Address, server: Address) -> Address | None:
    """Return the address from which the server sees what comes from `own`; None when it does not answer."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.bind(own)
        transaction = secrets.token_bytes(12)
        for wait in WAITS_S:
            asking.sendto(HEADER.pack(BINDING, 0, COOKIE, transaction), server)
            asking.settimeout(wait)
            try:
                while True:
                    answer = asking.recv(2048)
                    if answer[: HEADER.size][4:] == struct.pack("!I12s", COOKIE, transaction):
                        return mapped(answer)
            except TimeoutError:
                continue
    return None


def mapped(answer: bytes) -> Address | None:
    """Return the XOR-MAPPED-ADDRESS of an answer (§14.2); None where it is no success or has none."""
    kind, length, _, _ = HEADER.unpack_from(answer)
    attributes = answer[HEADER.size : HEADER.size + length]
    while kind == SUCCESS and len(attributes) >= 4:
        name, size = struct.unpack_from("!HH", attributes)
        if name == XOR_MAPPED_ADDRESS and size == 8 and len(attributes) >= 12:
            _, family, port, address = struct.unpack_from("!BBHI", attributes, 4)
            if family == 1:
                return socket.inet_ntoa(struct.pack("!I", address ^ COOKIE)), port ^ COOKIE >> 16
        attributes = attributes[4 + size + -size % 4 :]
    return None
