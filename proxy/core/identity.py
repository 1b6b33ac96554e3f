"""Who sent this request, and may he? Authentication and admission together (RFC 3261 §22, §26.3.2).

Whoever claims to be one of ours must prove it; a stranger need not, and reaches our users only. Every failure counts
against the source it came from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from proxy.core.admission import Admission
from proxy.core.auth import Authenticator, Challenge
from proxy.core.flow import Flow
from proxy.sip.errors import SipError
from proxy.sip.headers import parse_name_addr
from proxy.sip.message import Request
from proxy.sip.uri import Uri


class Identity:
    """Asks for passwords when there is an authenticator, and for none when there is not."""

    def __init__(
        self, authenticator: Authenticator | None, admission: Admission | None, is_ours: Callable[[Uri], bool],
        counts: Counter[str],
    ) -> None:  # fmt: skip
        self.authenticator = authenticator
        self._admission = admission
        self._is_ours = is_ours
        self._counts = counts

    def is_user(self, request: Request, flow: Flow, now: float) -> bool:
        """Say whether one of our users has sent a request, and proved it. Raises SipError 403, 407 or 503."""
        if self.authenticator is None or request.method == b"ACK":
            return False
        realm = self.authenticator.realm
        sender = _uri(request, b"from")
        claims_ours = sender is not None and self._is_ours(sender)
        if not claims_ours and not _has_credentials(request, b"proxy-authorization", realm):
            return False
        user = self._authenticate(request, flow, now, proxy=True)
        if claims_ours and sender is not None and sender.plain_user != user:
            raise SipError(403, b"From Is Another User")
        return True

    def drop_credentials(self, request: Request) -> None:
        """Take the credentials for our realm out of what is forwarded (§22.3): others could guess passwords by them."""
        if self.authenticator is not None and request.header(b"proxy-authorization") is not None:
            quoted = b'"%b"' % self.authenticator.realm
            for index in reversed(range(len(request.keys))):
                if request.keys[index] == b"proxy-authorization" and quoted in request.lines[index]:
                    request.remove_line(index)

    def check_registrant(self, request: Request, address: Uri, flow: Flow, now: float) -> None:
        """Check that a REGISTER for an address comes from its owner. Raises SipError 401, 403 or 503."""
        if self.authenticator is None:
            return
        user = self._authenticate(request, flow, now, proxy=False)
        sender = _uri(request, b"from")
        if address.plain_user != user or sender is None or sender.plain_user != user or not self._is_ours(sender):
            raise SipError(403, b"Not Your Address")

    def refused(self, flow: Flow, now: float) -> None:
        """Count a request that was refused."""
        if self._admission is not None:
            self._admission.refused(flow.remote[0], now)

    def is_flooding(self, flow: Flow, now: float) -> bool:
        """Say whether a source sends so much that must be refused that it gets no answer any more."""
        return self._admission is not None and self._admission.is_flooding(flow.remote[0], now)

    def _authenticate(self, request: Request, flow: Flow, now: float, *, proxy: bool) -> bytes:
        """Return who sent a request. Raises SipError 400, 401, 407 or 503, and counts."""
        assert self.authenticator is not None
        host, admission = flow.remote[0], self._admission
        claimed = _uri(request, b"to" if request.method == b"REGISTER" else b"from")
        name = (claimed.plain_user if claimed else None) or b""
        wait = 0
        if admission is not None and admission.is_wary:
            proven = self.authenticator.claimed(request, proxy=proxy)  # who guesses may write anybody into To and From
            wait = max(admission.penalty(host, each, now) for each in {name, proven or name})
        if wait:
            self._counts["penalties"] += 1
            raise SipError(503, b"Too Many Wrong Passwords", ((b"Retry-After", b"%d" % wait),))
        try:
            user = self.authenticator.check(request, now, proxy=proxy, source=host.encode())
        except Challenge as challenge:
            self._counts["challenges"] += 1
            if challenge.failed:
                self._counts["wrong-passwords"] += 1
                if admission:
                    admission.failed(host, challenge.user or name, now)
            raise
        if admission:
            admission.succeeded(host, name, now)
        return user


def _uri(request: Request, key: bytes) -> Uri | None:
    return parse_name_addr(request.header(key) or b"").parsed_or_none()


def _has_credentials(request: Request, key: bytes, realm: bytes) -> bool:
    """Say whether a request bears credentials for our realm."""
    if request.header(key) is None:
        return False
    quoted = b'"%b"' % realm
    return any(found == key and quoted in line for found, line in zip(request.keys, request.lines, strict=True))
