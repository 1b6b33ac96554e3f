"""Bytes to a message (RFC 3261 §7): split the head and key the lines, nothing more.

A defect in the head does not stop the parser: it is noted, so that the sender of a request can be told with a 400.
"""

from __future__ import annotations

from operator import itemgetter

from proxy.sip import grammar
from proxy.sip.errors import NotSip
from proxy.sip.memory import remembered
from proxy.sip.message import Request, Response, unfolded

_key = itemgetter(0)


def parse(data: bytes) -> Request | Response:
    """Return the message in a datagram. Raises NotSip when the bytes have no SIP start line."""
    head, separator, body = data.lstrip(b"\r\n").partition(b"\r\n\r\n")
    start, *lines = head.split(b"\r\n")
    status, method, uri, version, defect = _start(start)
    fields = list(map(_field, lines))
    first = dict(reversed(fields))  # the first line of a key is entered last
    if b"" in first:
        lines, fields, wrong = _read_closely(lines)
        first = dict(reversed(fields))
        defect = wrong or defect
    keys = list(map(_key, fields))
    message: Request | Response
    if status:
        message = Response(start, status, lines, keys, first, body)
    else:
        message = Request(method, uri, version, lines, keys, first, body)
    message.defect = defect if separator else b"No End of Headers"
    return message


@remembered  # most lines are the same in the messages of a call, many in all that a phone sends
def _field(line: bytes) -> tuple[bytes, bytes]:
    """Return key and value of a header line; no key for one that takes a closer look: a fold, or none at all."""
    name, colon, value = line.partition(b":")
    key = (grammar.KEYS.get(name) or grammar.header_key(name)) if colon and not _is_torn(line) else None
    return key or b"", value.strip()


def _read_closely(given: list[bytes]) -> tuple[list[bytes], list[tuple[bytes, bytes]], bytes | None]:
    """Join folded lines with those above (§7.3.1), and key them. Return lines, keys and values, and what is wrong."""
    groups: list[list[bytes]] = []
    for line in given:
        if line[:1] in {b" ", b"\t"} and groups:
            groups[-1].append(line)
        else:
            groups.append([line])
    lines = [b"\r\n".join(group) for group in groups]
    parts = [line.partition(b":") for line in lines]
    fields = [(grammar.header_key(name) or b"" if colon else b"", unfolded(value)) for name, colon, value in parts]
    defect = None if all(key for key, _ in fields) else b"Bad Header Line"
    return lines, fields, b"Bare CR, LF or NUL" if any(map(_is_torn_for_good, given)) else defect


def _is_torn(line: bytes) -> bool:
    """Say whether a line bears what one parser takes for white space and the next for a line end, and a NUL.

    It would smuggle a header past us.
    """
    return grammar.CR in line or grammar.LF in line or grammar.NUL in line


def _is_torn_for_good(line: bytes) -> bool:
    """Say so but for a NUL in a quoted-pair, where §25.1 has it."""
    return _is_torn(line.replace(b"\\\0", b""))


@remembered
def _start(line: bytes) -> tuple[int, bytes, bytes, bytes, bytes | None]:
    """Return a response's status, or 0 and a request's method, URI and version; and what is wrong with the line."""
    defect = b"Bare CR, LF or NUL" if _is_torn_for_good(line) else None
    parts = line.split(b" ")
    if parts[0].upper() == b"SIP/2.0":
        status = grammar.decimal(parts[1], 699) if len(parts) > 1 and len(parts[1]) == 3 else None
        if status is None or status < 100:
            raise NotSip("bad status line")
        return status, b"", b"", parts[0], defect
    if len(parts) != 3 or parts[1] == b"":
        defect = defect or b"Bad Request-Line"
    while len(parts) > 3 and not parts[-1]:  # spaces at the end: a defect, but one can see what was meant
        parts.pop()
    if len(parts) < 3 or not parts[-1].upper().startswith(b"SIP/"):
        raise NotSip("no start line")
    if grammar.TOKEN.fullmatch(parts[0]) is None:
        raise NotSip("bad method")
    return 0, parts[0], b" ".join(parts[1:-1]), parts[-1], defect
