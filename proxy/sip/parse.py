"""Bytes to a message (RFC 3261 §7): split the head and key the lines, nothing more.

A defect in the head does not stop the parser: it is noted, so that the sender of a request can be told with a 400.
"""

from __future__ import annotations

from proxy.sip import grammar
from proxy.sip.errors import NotSip
from proxy.sip.message import Request, Response


def parse(data: bytes) -> Request | Response:
    """Return the message in a datagram. Raises NotSip when the bytes have no SIP start line."""
    head, separator, body = data.lstrip(b"\r\n").partition(b"\r\n\r\n")
    raw = head.split(b"\r\n")
    start = raw[0]
    message = _start(start)
    message.body = body
    lines, keys = message.lines, message.keys
    for line in raw[1:]:
        if line[:1] in {b" ", b"\t"}:  # a folded line belongs to the one above (§7.3.1)
            if lines:
                lines[-1] += b"\r\n" + line
            else:
                message.defect = b"Bad Header Line"
            continue
        name, colon, _ = line.partition(b":")
        key = grammar.header_key(name) if colon else None
        if key is None:
            message.defect = b"Bad Header Line"
        lines.append(line)
        keys.append(key or b"")
    if not separator:
        message.defect = b"No End of Headers"
    elif head.count(b"\n") != len(raw) - 1 or head.count(b"\r") != len(raw) - 1 or _has_nul(head):
        # What one parser takes for white space and the next for a line end would smuggle a header past us.
        message.defect = b"Bare CR, LF or NUL"
    return message


def _has_nul(head: bytes) -> bool:
    """Say whether there is a NUL but in a quoted-pair, where §25.1 has it."""
    return b"\0" in head and b"\0" in head.replace(b"\\\0", b"")


def _start(line: bytes) -> Request | Response:
    parts = line.split(b" ")
    if parts[0].upper() == b"SIP/2.0":
        status = grammar.decimal(parts[1], 699) if len(parts) > 1 and len(parts[1]) == 3 else None
        if status is None or status < 100:
            raise NotSip("bad status line")
        return Response(line, status, [], [], b"")
    sound = len(parts) == 3 and parts[1] != b""
    while len(parts) > 3 and not parts[-1]:  # spaces at the end: a defect, but one can see what was meant
        parts.pop()
    if len(parts) < 3 or not parts[-1].upper().startswith(b"SIP/"):
        raise NotSip("no start line")
    if grammar.TOKEN.fullmatch(parts[0]) is None:
        raise NotSip("bad method")
    request = Request(parts[0], b" ".join(parts[1:-1]), parts[-1], [], [], b"")
    if not sound:
        request.defect = b"Bad Request-Line"
    return request
