"""Tokens, parameters and comma lists: the parts of RFC 3261 §25.1 that several headers share."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv6Address

from proxy.sip.memory import remembered

# token = 1*(alphanum / "-" / "." / "!" / "%" / "*" / "_" / "+" / "`" / "'" / "~")
TOKEN = re.compile(rb"[A-Za-z0-9\-.!%*_+`'~]+")

# SEMI generic-param, with gen-value = token / host / quoted-string
PARAM = re.compile(rb';\s*([^;=\s",]+)(?:\s*=\s*("(?:[^"\\]|\\.)*"|[^;\s",]*))?')

# What stands between the quotes of a quoted-string, with DOTALL. Neither here nor elsewhere is a possessive quantifier:
# PyPy 7.3 misreads them. Each byte can be matched in one way only, so nothing is tried twice.
QUOTED = rb'[^"\\]*(?:\\.[^"\\]*)*'

# One byte as a number: `COMMA in text` costs a tenth of `b"," in text`, which first takes the bytes for a number.
COMMA, COLON, EQUALS, PERCENT, GREATER, QUOTE, BACKSLASH, CR, LF, NUL = b',:=%>"\\\r\n\0'

# A comma separates two values, but not within a quoted string or an angle-bracketed URI. What is never closed ends with
# the text and is not tried again from its second character: one datagram of quotes or brackets would take seconds.
_GUARDED = re.compile(rb'"%b\\?"?|<[^<>]*>?|,' % QUOTED, re.DOTALL)

# RFC 3261 §7.3.3 and the registry's later additions: compact form -> long name, lower case.
COMPACT = {
    b"a": b"accept-contact",
    b"b": b"referred-by",
    b"c": b"content-type",
    b"d": b"request-disposition",
    b"e": b"content-encoding",
    b"f": b"from",
    b"i": b"call-id",
    b"j": b"reject-contact",
    b"k": b"supported",
    b"l": b"content-length",
    b"m": b"contact",
    b"o": b"event",
    b"r": b"refer-to",
    b"s": b"subject",
    b"t": b"to",
    b"u": b"allow-events",
    b"v": b"via",
    b"x": b"session-expires",
    b"y": b"identity",
}

# The spellings that nearly every message uses: found without a look at their letters.
_SPELLED = (
    b"Via From To Call-ID CSeq Contact Max-Forwards Content-Length Content-Type Record-Route Route Allow Supported "
    b"User-Agent Server Expires Event Subject Require Proxy-Require Authorization Proxy-Authorization Accept "
    b"WWW-Authenticate Proxy-Authenticate Session-Expires Min-SE Timestamp Path Service-Route Content-Disposition "
    b"Accept-Encoding Accept-Language Allow-Events Date P-Asserted-Identity P-Preferred-Identity Privacy RSeq RAck "
    b"Refer-To Referred-By Replaces Subscription-State Warning Reason Organization MIME-Version Max-Breadth"
).split()
KEYS = {name: name.lower() for name in _SPELLED} | COMPACT


@remembered
def host_text(host: bytes) -> str:
    """Return a host as it is compared: lower case, IPv6 without brackets and in its shortest form (RFC 5952)."""
    text = host.decode("latin-1").strip("[]").lower()
    if ":" not in text:
        return text
    try:
        return str(IPv6Address(text.replace(":::", "::")))  # a bug in RFC 3261's grammar; tolerated (RFC 5118 §4.10)
    except AddressValueError:
        return text


def header_key(name: bytes) -> bytes | None:
    """Return the key of a header name as written, e.g. b"v" or b"VIA " -> b"via"; None if it is no name."""
    key = KEYS.get(name)
    if key is not None:
        return key
    name = name.rstrip(b" \t")  # HCOLON = *( SP / HTAB ) ":" SWS
    if TOKEN.fullmatch(name) is None:
        return None
    lower = name.lower()
    return COMPACT.get(lower, lower)


def split_values(text: bytes) -> list[bytes]:
    """Return the comma-separated values of a header that may bear several, stripped of white space."""
    if COMMA not in text:
        return [text.strip()]
    values, begin = [], 0
    for found in _GUARDED.finditer(text):
        if found[0] == b",":
            values.append(text[begin : found.start()].strip())
            begin = found.end()
    values.append(text[begin:].strip())
    return [value for value in values if value]


def param(params: bytes, name: bytes) -> bytes | None:
    """Return a parameter's value, b"" for one without a value, None when it is absent. `params` begins with b";"."""
    place = _place(params, name)
    if place is None:  # as most that are asked for
        return None
    if place is not UNUSUAL:
        begin, end = place
        return params[begin + len(name) + 2 : end]
    for found in PARAM.finditer(params):
        if found[1].lower() == name:
            return found[2] or b""
    return None


def without_param(params: bytes, name: bytes) -> bytes:
    """Return the parameters without one of them; every other byte stays."""
    place = _place(params, name)
    if place is None:
        return params
    if place is not UNUSUAL:
        begin, end = place
        return params[:begin] + params[end:]
    return PARAM.sub(lambda found: b"" if found[1].lower() == name else found[0], params)


def with_param(params: bytes, name: bytes, value: bytes) -> bytes:
    """Return the parameters with one of them set, in its place if it was there, else at the end."""
    place = _place(params, name)
    if place is None:
        return b"%b;%b=%b" % (params, name, value)
    if place is not UNUSUAL:
        begin, end = place
        return b"%b=%b%b" % (params[: begin + 1 + len(name)], value, params[end:])
    done = False

    def replace(found: re.Match[bytes]) -> bytes:
        nonlocal done
        if found[1].lower() != name:
            return found[0]
        if done:
            return b""
        done = True
        return b";%b=%b" % (found[1], value)

    params = PARAM.sub(replace, params)
    return params if done else b"%b;%b=%b" % (params, name, value)


UNUSUAL = (-1, -1)


def _place(params: bytes, name: bytes) -> tuple[int, int] | None:
    """Return where a parameter begins and ends, None where it is not; UNUSUAL where only PARAM can tell."""
    lower = params.lower()
    if lower.find(name) < 0:
        return None
    begin = lower.find(b";" + name)
    if begin < 0 or lower.count(name) > 1 or COMMA in params or QUOTE in params or params.split() != [params]:
        return UNUSUAL  # the last: white space
    stop = begin + 1 + len(name)
    end = lower.find(b";", stop)
    if end < 0:
        end = len(params)
    return (begin, end) if stop == end or params[stop] == EQUALS else UNUSUAL


def decimal(text: bytes, most: int) -> int | None:
    """Return a decimal number from 0 to `most`, or None. No sign, no underscore, no other alphabet's digits."""
    if not text.isdigit() or len(text) > 10:
        return None
    number = int(text)
    return number if number <= most else None
