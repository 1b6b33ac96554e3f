"""The one error of the SIP floor: it carries its own answer (RFC 3261 §21)."""

from __future__ import annotations

REASONS = {
    200: b"OK",
    400: b"Bad Request",
    403: b"Forbidden",
    404: b"Not Found",
    416: b"Unsupported URI Scheme",
    420: b"Bad Extension",
    480: b"Temporarily Unavailable",
    483: b"Too Many Hops",
    500: b"Server Internal Error",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    505: b"Version Not Supported",
    513: b"Message Too Large",
}


class SipError(Exception):
    """Why a message cannot be served, as the answer that says so.

    `status` is one of REASONS; `reason` replaces the standard phrase; `headers` are (name, value) pairs of the answer.
    """

    def __init__(self, status: int, reason: bytes | None = None, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        self.status = status
        self.reason = reason or REASONS[status]
        self.headers = headers
        super().__init__(f"{status} {self.reason.decode('latin-1')}")


class NotSip(Exception):
    """The bytes are no SIP message at all: there is nobody to answer."""
