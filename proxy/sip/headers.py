"""The header values that a proxy interprets: Via, name-addr (From, To, Contact, Route), CSeq (RFC 3261 §20)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from proxy.sip import grammar
from proxy.sip.errors import SipError
from proxy.sip.uri import DEFAULT_PORT, Uri, parse_uri

# sent-protocol LWS sent-by *( SEMI via-params ); white space may stand around each slash and colon (RFC 3261 §25.1)
_VIA = re.compile(
    rb"SIP\s*/\s*([0-9]+\.[0-9]+)\s*/\s*([A-Za-z0-9\-.!%*_+`'~]+)\s+"
    rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._\-]+)(?:\s*:\s*([0-9]{1,5}))?\s*"
    rb"((?:;.*)?)",
    re.IGNORECASE | re.DOTALL,
)
# What is not quoted in a display name are words: *(token LWS), and what people write in their own alphabet.
_NAME_ADDR = re.compile(rb'((?:"(?:[^"\\]|\\.)*"|[^"<,;:@])*<)([^<>]*)(>.*)', re.DOTALL)
_CSEQ = re.compile(rb"([0-9]{1,10})\s+([A-Za-z0-9\-.!%*_+`'~]+)")

MAX_CSEQ = 2**31 - 1  # RFC 3261 §8.1.1.5


@dataclass(slots=True)
class Via:
    """One Via value (§20.42)."""

    transport: bytes
    host: bytes
    port: int | None
    params: bytes
    version: bytes = b"2.0"

    def encode(self) -> bytes:
        """Return the value as bytes."""
        port = b"" if self.port is None else b":%d" % self.port
        return b"SIP/%b/%b %b%b%b" % (self.version, self.transport, self.host, port, self.params)

    def param(self, name: bytes) -> bytes | None:
        """Return a parameter's value; b"" without a value, None when absent."""
        return grammar.param(self.params, name)

    def sent_by(self) -> tuple[str, int]:
        """Return (host, port) as the sender wrote them; the port is 5060 when he wrote none."""
        return grammar.host_text(self.host), self.port or DEFAULT_PORT


@dataclass(slots=True)
class NameAddr:
    """A From, To, Contact or Route value: `before` + URI + `after` are its bytes; header parameters are in `after`."""

    before: bytes
    uri: bytes
    after: bytes

    def encode(self) -> bytes:
        """Return the value as bytes."""
        return self.before + self.uri + self.after

    def parsed(self) -> Uri:
        """Return the URI in its parts. Raises SipError 400 or 416."""
        return parse_uri(self.uri)

    def parsed_or_none(self) -> Uri | None:
        """Return the URI in its parts; None when it is none of ours to read: another scheme, or malformed."""
        try:
            return parse_uri(self.uri)
        except SipError:
            return None

    def param(self, name: bytes) -> bytes | None:
        """Return a header parameter's value (never one of the URI's)."""
        return grammar.param(self.after, name)


def parse_via(text: bytes, any_version: bool = False) -> Via:
    """Return one Via value. Raises SipError 400; `any_version` lets a request of another SIP be told 505."""
    found = _VIA.fullmatch(text)
    if found is None or (found[1] != b"2.0" and not any_version):
        raise SipError(400, b"Bad Via")
    port = None if found[4] is None else grammar.decimal(found[4], 65535)
    if port == 0 or (found[4] is not None and port is None):
        raise SipError(400, b"Bad Via")
    return Via(found[2], found[3], port, found[5], found[1])


def parse_name_addr(text: bytes) -> NameAddr:
    """Return a name-addr or addr-spec value. Raises SipError 400.

    Without angle brackets every parameter belongs to the header, not to the URI (§20).
    """
    found = _NAME_ADDR.fullmatch(text)
    if found is not None:
        return NameAddr(found[1], found[2].strip(), found[3])
    if b"<" in text or b">" in text or b'"' in text:
        raise SipError(400, b"Bad Address")
    uri, semicolon, params = text.partition(b";")
    return NameAddr(b"", uri.strip(), semicolon + params)


def parse_cseq(text: bytes) -> tuple[int, bytes]:
    """Return (number, method). Raises SipError 400."""
    found = _CSEQ.fullmatch(text)
    number = None if found is None else grammar.decimal(found[1], MAX_CSEQ)
    if found is None or number is None:
        raise SipError(400, b"Bad CSeq")
    return number, found[2]
