"""Is a request fit to be served? RFC 3261 §16.3, in its order: syntax, scheme, Max-Forwards, Proxy-Require."""

from __future__ import annotations

from dataclasses import replace

from proxy.sip import framing, grammar
from proxy.sip.errors import SipError
from proxy.sip.headers import parse_cseq, parse_name_addr
from proxy.sip.memory import remembered
from proxy.sip.message import Message, Request
from proxy.sip.uri import Uri, parse_uri

MAX_MESSAGE_BYTES = 65_535  # RFC 3261 §18.1.1
MAX_HEADER_LINES = 256
MAX_HOPS = 100  # Vias or Routes: more than Max-Forwards lets anything go
_ONCE = ((b"From", b"from"), (b"To", b"to"), (b"Call-ID", b"call-id"), (b"CSeq", b"cseq"))
PROXY: frozenset[bytes] = frozenset()  # what a Proxy-Require may name: nothing
REGISTRAR = frozenset((b"path", b"outbound", b"gruu"))  # what a Require may name where we answer ourselves


def validate(request: Request) -> Uri:
    """Return the Request-URI of a sound request. Raises SipError 400, 416, 420, 483, 505 or 513."""
    check_head(request)
    if request.version.upper() != b"SIP/2.0":
        raise SipError(505)
    if parse_cseq(request.header(b"cseq") or b"")[1] != request.method:
        raise SipError(400, b"CSeq Method Differs")
    if (request.top(b"via") or b"").find(b";;") >= 0:
        raise SipError(400, b"Bad Via")
    is_repeated = request.repeated()
    for key in (b"via", b"route"):
        text = request.header(key)
        if text is None or (grammar.COMMA not in text and not is_repeated):
            continue  # one at most
        if len(request.values(key)) > MAX_HOPS:
            raise SipError(400, b"Too Many Hops Listed")
    framing.cut_body(request)
    uri = parse_uri(request.uri)
    if uri.headers:
        uri = replace(uri, headers=b"")  # §19.1.1: never there; not passed on (RFC 4475 §3.1.2.11)
    given = request.header(b"max-forwards")
    if given is not None:
        hops = _hops(given)
        if hops is None:
            raise SipError(400, b"Bad Max-Forwards")
        if hops == 0:
            raise SipError(483)
    if request.header(b"proxy-require") is not None:
        check_extensions(request, b"proxy-require", PROXY)
    return uri


@remembered
def _hops(text: bytes) -> int | None:
    return grammar.decimal(text, 255)


def check_extensions(request: Request, key: bytes, known: frozenset[bytes]) -> None:
    """Check that nothing is demanded that we cannot do (§8.2.2.3): Proxy-Require, and Require where we answer.

    Raises SipError 420.
    """
    if request.header(key) is None:
        return
    unsupported = [name for name in request.values(key) if name.lower() not in known]
    if unsupported:
        raise SipError(420, headers=((b"Unsupported", b", ".join(unsupported)),))


def check_head(message: Message) -> None:
    """Check what requests and responses share (§8.1.1). Raises SipError 400 or 513."""
    if message.defect is not None:
        raise SipError(400, message.defect)
    if len(message.lines) > MAX_HEADER_LINES:
        raise SipError(513)
    header, count = message.header, message.keys.count
    sender, target, cseq = header(b"from"), header(b"to"), header(b"cseq")
    if not (sender and target and cseq and header(b"call-id")):
        raise SipError(400, b"Not Exactly One " + next(name for name, key in _ONCE if not header(key)))
    repeated = message.repeated()
    if repeated and repeated != count(b"via") - 1:  # that of a Via is what nearly always is
        for name, key in _ONCE:
            if count(key) > 1:
                raise SipError(400, b"Not Exactly One " + name)
        if count(b"max-forwards") > 1:
            raise SipError(400, b"Two Max-Forwards")
    parse_name_addr(sender)
    parse_name_addr(target)
    parse_cseq(cseq)
