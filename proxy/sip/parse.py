"""Bytes to a message (RFC 3261 §7): split the head and key the lines, nothing more.

A defect in the head does not stop the parser: it is noted, so that the sender of a request can be told with a 400.
"""

from __future__ import annotations

from proxy.sip import grammar
from proxy.sip.errors import NotSip
from proxy.sip.message import Request, Response, unfolded

_key_of = grammar.KEYS.get


def parse(data: bytes) -> Request | Response:
    """Return the message in a datagram. Raises NotSip when the bytes have no SIP start line."""
    head, separator, body = data.lstrip(b"\r\n").partition(b"\r\n\r\n")
    start, *lines = head.split(b"\r\n")
    parts = [line.partition(b":") for line in lines]
    keys = [_key_of(part[0], b"") for part in parts]
    values = [part[2].strip() for part in parts]
    defect = None
    if not separator:
        defect = b"No End of Headers"
    elif head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines) or _has_nul(head):
        # What one parser takes for white space and the next for a line end would smuggle a header past us.
        defect = b"Bare CR, LF or NUL"
    if b"" in keys:  # a name that we have no list of, a folded line, or no header at all
        lines, keys, values, is_sound = _read_one_by_one(lines)
        defect = defect or (None if is_sound else b"Bad Header Line")
    first = dict(zip(reversed(keys), reversed(values), strict=True))  # the first line of a key is entered last
    meant = _start(start)
    if isinstance(meant, int):
        message: Request | Response = Response(start, meant, lines, keys, first, body)
    else:
        method, uri, version, is_sound = meant
        message = Request(method, uri, version, lines, keys, first, body)
        defect = defect or (None if is_sound else b"Bad Request-Line")
    message.defect = defect
    return message


def _read_one_by_one(given: list[bytes]) -> tuple[list[bytes], list[bytes], list[bytes], bool]:
    """Join folded lines with those above (§7.3.1), and key what has an unusual name.

    Return lines, keys, values, and whether each is a header.
    """
    lines: list[bytes] = []
    keys: list[bytes] = []
    is_sound = True
    for line in given:
        if line[:1] in {b" ", b"\t"}:
            if lines:
                lines[-1] += b"\r\n" + line
            else:
                is_sound = False
            continue
        name, colon, _ = line.partition(b":")
        key = grammar.header_key(name) if colon else None
        is_sound = is_sound and key is not None
        lines.append(line)
        keys.append(key or b"")
    return lines, keys, [unfolded(line.partition(b":")[2]) for line in lines], is_sound


def _has_nul(head: bytes) -> bool:
    """Say whether there is a NUL but in a quoted-pair, where §25.1 has it."""
    return grammar.NUL in head and grammar.NUL in head.replace(b"\\\0", b"")


@grammar.remembered
def _start(line: bytes) -> int | tuple[bytes, bytes, bytes, bool]:
    """Return a response's status, or a request's method, URI and version, and whether the line is as it must be."""
    parts = line.split(b" ")
    if parts[0].upper() == b"SIP/2.0":
        status = grammar.decimal(parts[1], 699) if len(parts) > 1 and len(parts[1]) == 3 else None
        if status is None or status < 100:
            raise NotSip("bad status line")
        return status
    is_sound = len(parts) == 3 and parts[1] != b""
    while len(parts) > 3 and not parts[-1]:  # spaces at the end: a defect, but one can see what was meant
        parts.pop()
    if len(parts) < 3 or not parts[-1].upper().startswith(b"SIP/"):
        raise NotSip("no start line")
    if grammar.TOKEN.fullmatch(parts[0]) is None:
        raise NotSip("bad method")
    return parts[0], b" ".join(parts[1:-1]), parts[-1], is_sound
