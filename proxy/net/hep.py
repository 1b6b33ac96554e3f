"""HEP3: every message that is received or sent, mirrored to a collector (Homer, sngrep), credentials and all.

A datagram is `HEP3`, its length, and chunks of vendor, type, length and value, in network byte order. The invariant: a
collector that is away, slow or wrong costs a mirrored message, and never one of a call.
"""

from __future__ import annotations

import socket
import struct

from proxy.core.flow import Address, Flow

AGENT = 2060  # our number among those who mirror to one collector
SIP = 1  # type of the payload
PROTOCOLS = {"udp": 17, "tcp": 6, "tls": 6}  # IANA's numbers
FAMILY, PROTOCOL, SOURCE_IP4, TARGET_IP4, SOURCE_IP6, TARGET_IP6, SOURCE_PORT, TARGET_PORT = range(1, 9)
SECONDS, MICROS, PAYLOAD_TYPE, CAPTURE_AGENT, PAYLOAD = 9, 10, 11, 12, 15
_HEAD = struct.Struct("!4sH")
_CHUNK = struct.Struct("!HHH")
LARGEST = 65_000  # bytes of a message: what goes in one datagram, with the chunks


class Mirror:
    """Sends copies to one collector."""

    def __init__(self, collector: Address) -> None:
        """Open the way to it. Raises OSError."""
        self.lost = 0
        self._socket = socket.socket(socket.AF_INET6 if ":" in collector[0] else socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.connect(collector)

    def received(self, message: bytes, flow: Flow, now: float) -> None:
        """Mirror what came by a flow at Unix time `now`."""
        self._send(message, flow.remote, flow.local, flow.transport, now)

    def sent(self, message: bytes, flow: Flow, now: float) -> None:
        """Mirror what is sent by a flow."""
        self._send(message, flow.local, flow.remote, flow.transport, now)

    def close(self) -> None:
        """Mirror no more."""
        self._socket.close()

    def _send(self, message: bytes, source: Address, target: Address, transport: str, now: float) -> None:
        try:
            if len(message) > LARGEST:
                raise OSError
            self._socket.send(encode(message, source, target, transport, now))
        except OSError:  # nobody there, or no room: never our calls' affair
            self.lost += 1


def encode(message: bytes, source: Address, target: Address, transport: str, now: float) -> bytes:
    """Return a message as HEP3 has it. Raises OSError for an address that is none."""
    is_six = ":" in source[0]
    family = socket.AF_INET6 if is_six else socket.AF_INET
    hosts = (SOURCE_IP6, TARGET_IP6) if is_six else (SOURCE_IP4, TARGET_IP4)
    seconds = int(now)
    chunks = (
        (FAMILY, bytes((10 if is_six else 2,))), (PROTOCOL, bytes((PROTOCOLS[transport],))),
        (hosts[0], socket.inet_pton(family, source[0])), (hosts[1], socket.inet_pton(family, target[0])),
        (SOURCE_PORT, source[1].to_bytes(2, "big")), (TARGET_PORT, target[1].to_bytes(2, "big")),
        (SECONDS, seconds.to_bytes(4, "big")), (MICROS, int((now - seconds) * 1e6).to_bytes(4, "big")),
        (PAYLOAD_TYPE, bytes((SIP,))), (CAPTURE_AGENT, AGENT.to_bytes(4, "big")), (PAYLOAD, message),
    )  # fmt: skip
    body = b"".join(_CHUNK.pack(0, kind, _CHUNK.size + len(value)) + value for kind, value in chunks)
    return _HEAD.pack(b"HEP3", _HEAD.size + len(body)) + body
