"""The header values that a proxy interprets: Via, name-addr (From, To, Contact, Route), CSeq (RFC 3261 §20)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from proxy.sip import grammar
from proxy.sip.errors import SipError
from proxy.sip.memory import remembered
from proxy.sip.uri import DEFAULT_PORT, Uri, parse_uri

# sent-protocol LWS sent-by *( SEMI via-params ); white space may stand around each slash and colon (RFC 3261 §25.1)
_VIA = re.compile(
    rb"SIP\s*/\s*([0-9]+\.[0-9]+)\s*/\s*([A-Za-z0-9\-.!%*_+`'~]+)\s+"
    rb"(\[[0-9A-Fa-f:.]{1,255}\]|[A-Za-z0-9._\-]{1,255})(?:\s*:\s*([0-9]{1,5}))?\s*"
    rb"((?:;.*)?)",
    re.IGNORECASE | re.DOTALL,
)
# The same as nearly all write it: one space, and the branch first, or behind a bare rport.
_USUAL_VIA = re.compile(
    rb"SIP/2\.0/(UDP|TCP|TLS|WSS?) "
    rb"((?:\[[0-9A-Fa-f:.]{1,255}\]|[A-Za-z0-9._\-]{1,255})(?::[0-9]{1,5})?)"
    rb"((?:;rport(?=;))?(?:;branch=([A-Za-z0-9\-.!%*_+`'~]+))?(?:;.*)?)",
    re.DOTALL,
)
# What is not quoted in a display name are words: *(token LWS), and what people write in their own alphabet. A tag that
# is the first parameter is found on the way.
_NAME_ADDR = re.compile(
    rb'([^"<,;:@]*(?:"%b"[^"<,;:@]*)*<)([^<>]*)(>(?:;tag=([A-Za-z0-9\-.!%%*_+`\'~]+)(?![^;]))?.*)' % grammar.QUOTED,
    re.DOTALL,
)
_CSEQ = re.compile(rb"([0-9]{1,10})\s+([A-Za-z0-9\-.!%*_+`'~]+)")

MAX_CSEQ = 2**31 - 1  # RFC 3261 §8.1.1.5


@dataclass(slots=True)
class Via:
    """One Via value (§20.42). Shared by all who ask for the same text, and never changed."""

    transport: bytes
    host: bytes
    port: int | None
    params: bytes
    version: bytes
    sent_by: tuple[str, int]  # host and port as the sender wrote them; the port is 5060 when he wrote none
    branch: bytes  # b"" where there is none

    def encode(self) -> bytes:
        """Return the value as bytes."""
        port = b"" if self.port is None else b":%d" % self.port
        return b"SIP/%b/%b %b%b%b" % (self.version, self.transport, self.host, port, self.params)

    def param(self, name: bytes) -> bytes | None:
        """Return a parameter's value; b"" without a value, None when absent."""
        return grammar.param(self.params, name)


@dataclass(slots=True)
class NameAddr:
    """A From, To, Contact or Route value: `before` + URI + `after` are its bytes; header parameters are in `after`.

    Shared by all who ask for the same text, and never changed.
    """

    before: bytes
    uri: bytes
    after: bytes
    tag: bytes | None  # of a From or To; None where there is none

    def encode(self) -> bytes:
        """Return the value as bytes."""
        return self.before + self.uri + self.after

    def parsed(self) -> Uri:
        """Return the URI in its parts. Raises SipError 400 or 416."""
        return parse_uri(self.uri)

    def parsed_or_none(self) -> Uri | None:
        """Return the URI in its parts; None when it is none of ours to read: another scheme, or malformed."""
        try:
            return self.parsed()
        except SipError:
            return None

    def param(self, name: bytes) -> bytes | None:
        """Return a header parameter's value (never one of the URI's)."""
        return grammar.param(self.after, name)


@remembered
def parse_via(text: bytes) -> Via:
    """Return one Via value. Raises SipError 400."""
    via = parse_any_via(text)
    if via.version != b"2.0":
        raise SipError(400, b"Bad Via")
    return via


def parse_any_via(text: bytes) -> Via:
    """Return one Via value, of whatever version: so a request of another SIP can be told 505. Raises SipError 400."""
    found = _USUAL_VIA.fullmatch(text)
    if found is not None:
        version = b"2.0"
        transport, where, params, branch = found.groups()
    else:
        found = _VIA.fullmatch(text)
        if found is None:
            raise SipError(400, b"Bad Via")
        version, transport, params, branch = found[1], found[2], found[5], None
        where = found[3] if found[4] is None else b"%b:%b" % found.group(3, 4)
    host, port, sent_by = _sent_by(where)
    if branch is None:
        branch = grammar.param(params, b"branch") or b""
    return Via(transport, host, port, params, version, sent_by, branch)


@remembered
def _sent_by(text: bytes) -> tuple[bytes, int | None, tuple[str, int]]:
    """Return host and port of a sent-by that is well spelled, and both for comparison. Raises SipError 400."""
    host, colon, digits = text.rpartition(b":")
    if not colon or digits.endswith(b"]"):
        return text, None, (grammar.host_text(text), DEFAULT_PORT)
    port = grammar.decimal(digits, 65535)
    if not port:
        raise SipError(400, b"Bad Via")
    return host, port, (grammar.host_text(host), port)


@remembered
def parse_name_addr(text: bytes) -> NameAddr:
    """Return a name-addr or addr-spec value. Raises SipError 400.

    Without angle brackets every parameter belongs to the header, not to the URI (§20).
    """
    found = _NAME_ADDR.fullmatch(text)
    if found is not None:
        before, uri, after, tag = found.groups()
        return NameAddr(before, uri.strip(), after, grammar.param(after, b"tag") if tag is None else tag)
    if b"<" in text or b">" in text or b'"' in text:
        raise SipError(400, b"Bad Address")
    uri, semicolon, params = text.partition(b";")
    return NameAddr(b"", uri.strip(), semicolon + params, grammar.param(semicolon + params, b"tag"))


@remembered
def parse_cseq(text: bytes) -> tuple[int, bytes]:
    """Return (number, method). Raises SipError 400."""
    found = _CSEQ.fullmatch(text)
    number = None if found is None else grammar.decimal(found[1], MAX_CSEQ)
    if found is None or number is None:
        raise SipError(400, b"Bad CSeq")
    return number, found[2]
