"""Does the proxy answer? Asked by a container's health check: the settings and a socket, nothing else of ours."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

from proxy.config import Settings

PING_S = 2.0


def ping(settings: Settings) -> int:
    """Send an OPTIONS to the proxy that runs with these settings; it is healthy when a 200 comes back."""
    host = settings.public_ip(settings.ip[0])
    kind = socket.SOCK_DGRAM if "udp" in settings.transports else socket.SOCK_STREAM
    written = f"[{host}]" if ":" in host else host
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as asker, suppress(OSError):
        asker.settimeout(PING_S)
        asker.connect((host, settings.port))
        own = "%s:%d" % (written, asker.getsockname()[1])
        token = os.urandom(8).hex()
        transport = "UDP" if kind == socket.SOCK_DGRAM else "TCP"
        asker.send(
            f"OPTIONS sip:{written}:{settings.port} SIP/2.0\r\n"
            f"Via: SIP/2.0/{transport} {own};branch=z9hG4bK{token};rport\r\n"
            f"From: <sip:ping@{own}>;tag={token}\r\nTo: <sip:{written}:{settings.port}>\r\n"
            f"Call-ID: {token}\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n".encode()
        )
        return 0 if asker.recv(4096).startswith(b"SIP/2.0 200 ") else 1
    return 1
