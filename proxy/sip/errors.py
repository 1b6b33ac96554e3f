"""The one error of the SIP floor: it carries its own answer (RFC 3261 §21)."""

from __future__ import annotations

REASONS = {
    100: b"Trying",
    200: b"OK",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    407: b"Proxy Authentication Required",
    408: b"Request Timeout",
    416: b"Unsupported URI Scheme",
    420: b"Bad Extension",
    421: b"Extension Required",
    423: b"Interval Too Brief",
    430: b"Flow Failed",
    439: b"First Hop Lacks Outbound Support",
    440: b"Max-Breadth Exceeded",
    480: b"Temporarily Unavailable",
    481: b"Call/Transaction Does Not Exist",
    482: b"Loop Detected",
    483: b"Too Many Hops",
    487: b"Request Terminated",
    500: b"Server Internal Error",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Server Time-out",
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
