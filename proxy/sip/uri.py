"""SIP and SIPS URIs (RFC 3261 §19.1). What is not changed goes out byte for byte as it came."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from proxy.sip import grammar
from proxy.sip.errors import SipError
from proxy.sip.memory import remembered

DEFAULT_PORT = 5060
TLS_PORT = 5061

# A "@" can stand in no part but behind the userinfo; hosts are names, IPv4 literals or bracketed IPv6 literals.
# No name has more than 255 bytes (RFC 1035 §2.3.4): many hosts are remembered, and strangers choose them.
_URI = re.compile(
    rb"([A-Za-z][A-Za-z0-9+.\-]*):"
    rb"(?:([^@\s<>\"]+)@)?"
    rb"(\[[0-9A-Fa-f:.]{1,255}\]|[A-Za-z0-9._\-]{1,255})"
    rb"(?::([0-9]{1,5}))?"
    rb"((?:;[^?\s<>\"@]*)?)"
    rb"((?:\?[^\s<>\"@]*)?)"
)
_SCHEME = re.compile(rb"([A-Za-z][A-Za-z0-9+.\-]*):")
_SCHEMES = frozenset((b"sip", b"sips"))
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")


@dataclass(slots=True)
class Uri:
    """One URI in its parts. `params` begins with b";" and `headers` with b"?", where there are any.

    Shared by all who ask for the same text, and never changed.
    """

    scheme: bytes
    user: bytes | None  # userinfo as written, escapes and password included
    host: bytes
    port: int | None
    params: bytes
    headers: bytes
    transport: bytes | None = field(init=False, compare=False)  # the parameter in lower case
    wanted_transport: str | None = field(init=False, compare=False)  # None where it says nothing (RFC 3263 §4.1)
    plain_user: bytes | None = field(init=False, compare=False)  # as it is compared: escapes undone, without password
    address: tuple[str, int] = field(init=False, compare=False)  # where requests go when the host is a literal
    _text: bytes = field(init=False, compare=False, default=b"")

    def __post_init__(self) -> None:
        """Work out what nearly everybody asks for."""
        given = self.param(b"transport")
        self.transport = None if given is None else given.lower()
        wanted = None if given is None else given.lower().decode("latin-1")
        self.wanted_transport = "tls" if self.scheme[3:] and wanted in {None, "udp", "tcp"} else wanted
        self.plain_user = user = self.user
        if user is not None and (grammar.PERCENT in user or grammar.COLON in user):  # §19.1.4
            self.plain_user = _ESCAPE.sub(lambda found: bytes((int(found[1], 16),)), user.partition(b":")[0])
        port = self.port or (TLS_PORT if self.is_secure() else DEFAULT_PORT)
        self.address = grammar.host_text(self.host), port

    def __str__(self) -> str:
        """Return the URI for people."""
        return self.encode().decode("utf-8", "backslashreplace")

    def encode(self) -> bytes:
        """Return the URI as bytes."""
        if not self._text:
            self._text = self.at(self.hostport(), self.params)
        return self._text

    def hostport(self) -> bytes:
        """Return b"host" or b"host:port", as written."""
        return self.host if self.port is None else b"%b:%d" % (self.host, self.port)

    def is_secure(self) -> bool:
        """Say whether only TLS will do: sips, or transport=tls (RFC 3261 §26.2.2)."""
        return bool(self.scheme[3:]) or self.transport == b"tls"

    def key(self) -> bytes:
        """Return what is the same for two URIs that name one phone: scheme, user, host, port and transport (§19.1.4).

        Deviates from RFC 3261: user, ttl, method and maddr parameters and headers are not compared, because phones that
        change them between two REGISTERs mean the same binding.
        """
        user = self.plain_user
        return b"%b|%b|%b|%d|%b" % (
            self.scheme.lower(), b"" if user is None else b"@" + user, self.host.lower(), self.port or 0,
            self.transport or b"",
        )  # fmt: skip

    def param(self, name: bytes) -> bytes | None:
        """Return a URI parameter's value; b"" without a value, None when absent."""
        return grammar.param(self.params, name) if self.params else None

    def at(self, hostport: bytes, params: bytes) -> bytes:
        """Return this URI as bytes, at another host and port, with other parameters; the rest as it is."""
        user = b"" if self.user is None else self.user + b"@"
        return b"%b:%b%b%b%b" % (self.scheme, user, hostport, params, self.headers)


def scheme_of(text: bytes) -> bytes:
    """Return the scheme in lower case. Raises SipError 400 when there is none."""
    found = _SCHEME.match(text)
    if found is None:
        raise SipError(400, b"Bad URI")
    return found[1].lower()


@remembered
def parse_uri(text: bytes) -> Uri:
    """Return a sip or sips URI in its parts. Raises SipError 400, or 416 for another scheme."""
    found = _URI.fullmatch(text)
    if found is None or found[1].lower() not in _SCHEMES:
        raise SipError(400, b"Bad URI") if scheme_of(text) in _SCHEMES else SipError(416)
    scheme, user, host, port, params, headers = found.groups()
    return Uri(scheme, user, host, _port(port), params, headers)


def _port(text: bytes | None) -> int | None:
    if text is None:
        return None
    port = grammar.decimal(text, 65535)
    if not port:
        raise SipError(400, b"Bad Port")
    return port
