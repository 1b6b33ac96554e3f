"""Where a message ends: Content-Length in datagrams and in streams (RFC 3261 §18.3).

How a stream was cut into segments changes nothing: the same bytes give the same messages and the same error.
"""

from __future__ import annotations

import re

from proxy.sip import grammar
from proxy.sip.errors import SipError
from proxy.sip.memory import remembered
from proxy.sip.message import Message

STUN_COOKIE = b"\x21\x12\xa4\x42"  # RFC 8489 §5: bytes 4 to 7 of every STUN message, whose first two bits are 0
PING = b"\r\n\r\n"  # RFC 5626 §3.5.1: asks for one CRLF in return
MAX_START_LINE = 4096  # bytes: longer than any URI in use; what has no line end by then is not SIP

_END = b"\r\n\r\n"
_BLANK = re.compile(rb"[\r\n]*")
_NUL = re.compile(rb"(?<!\\)\0")  # one that stands where parse() wants none either: not in a quoted-pair (§25.1)
# Lines end where parse() ends them, so that both see the same headers: at CRLF, unless SP or HTAB follows (§7.3.1).
_LENGTH = re.compile(rb"\r\n(?i:content-length|l)[ \t]*:([^\r]*(?:\r(?:(?!\n)|\n[ \t])[^\r]*)*)")
_MOST = 9_999_999_999  # bytes: what grammar.decimal() reads; the caller has a limit of its own


@remembered
def _number(text: bytes) -> int | None:
    return grammar.decimal(text, 65535)


def is_keep_alive(data: bytes) -> bool:
    """Say whether a datagram only keeps a NAT open: CRLFs, zero bytes, or STUN (RFC 5626 §3.5)."""
    return not data.strip(b"\r\n\0") or (data[0] < 0x40 and data[4:8] == STUN_COOKIE)


def cut_body(message: Message) -> None:
    """Cut what follows the body in a datagram. Raises SipError 400 when the body is shorter than it claims."""
    text = message.header(b"content-length")
    if text is None:
        return
    if _number(text) == len(message.body) and (not message.repeated() or message.count(b"content-length") == 1):
        return  # as nearly every message says
    claims = set(message.values(b"content-length"))
    length = grammar.decimal(claims.pop(), 65535)
    if length is None or claims:
        raise SipError(400, b"Bad Content-Length")
    if length > len(message.body):
        raise SipError(400, b"Body Shorter Than Content-Length")
    message.body = message.body[:length]


class StreamError(Exception):
    """Why nobody can say where the next message of a stream begins: the connection is of no more use.

    `head` is the head, blank line included, of the message that is to blame, where it is whole: it can be answered.
    `before` are the items that stood before it in the same segment.
    """

    def __init__(self, reason: str, head: bytes | None = None) -> None:
        self.reason = reason
        self.head = head
        self.before: list[bytes] = []
        super().__init__(reason)


class StreamReader:
    """Cuts a stream into messages, in time linear in its bytes, and keeps no more than the one that has begun.

    `max_head` counts the blank line, `max_message` head and body; both in bytes.
    """

    __slots__ = ("_blank", "_kept", "_length", "_max_head", "_max_message", "_scanned")

    def __init__(self, max_head: int, max_message: int) -> None:
        self._max_head = max_head
        self._max_message = max_message
        self._kept = bytearray()  # begins with the first byte of a message
        self._length = 0  # bytes of that message; 0: its head is not whole
        self._scanned = 0  # bytes of that head in which its end is not
        self._blank = b""  # the last CRs and LFs since a message or a ping, as far as they can begin a ping

    @property
    def is_within(self) -> bool:
        """Say whether a message has begun that is not whole."""
        return bool(self._kept)

    def feed(self, data: bytes) -> list[bytes]:
        """Return the messages that are whole now, and PING for each double CRLF between them, in order.

        Raises StreamError; nothing may be fed after that.
        """
        source: bytes | bytearray = data
        if self._kept:
            self._kept += data
            source = self._kept
        items: list[bytes] = []
        begin, size = 0, len(source)
        try:
            while begin < size:
                if not self._length:
                    if not self._scanned and source[begin] in b"\r\n":
                        begin = self._skip_blank(source, begin, items)
                        continue
                    self._blank = b""
                    self._length = self._measure(source, begin)
                end = begin + self._length
                if end > size or not self._length:
                    break
                items.append(bytes(source[begin:end]))
                begin = end
                self._length = self._scanned = 0
        except StreamError as error:
            error.before = items
            raise
        if source is not data:
            del self._kept[:begin]
        elif begin < size:
            self._kept += data[begin:]
        return items

    def _skip_blank(self, source: bytes | bytearray, begin: int, items: list[bytes]) -> int:
        """Return where the next message begins: CRLFs before it are ignored (§7.5), unless they are a ping."""
        end = _BLANK.match(source, begin).end()  # type: ignore[union-attr]  # it matches everywhere
        parts = (self._blank + source[begin:end]).split(PING)
        items += [PING] * (len(parts) - 1)
        self._blank = parts[-1][-3:]
        return end

    def _measure(self, source: bytes | bytearray, begin: int) -> int:
        """Return the length of the message that begins here, 0 while its head is not whole. Raises StreamError."""
        stop = min(len(source), begin + self._max_head)
        seen = begin + self._scanned
        found = source.find(_END, max(begin, seen - 3), stop)
        end = stop if found < 0 else found + 4
        if source.find(0, seen, end) >= 0 and (not source[begin] or _NUL.search(source, seen, end)):
            raise StreamError("not SIP")
        if end - begin >= MAX_START_LINE and source.find(b"\n", begin, begin + MAX_START_LINE) < 0:
            raise StreamError("not SIP")
        if found < 0:
            if end - begin == self._max_head:
                raise StreamError(f"head of more than {self._max_head} bytes")
            self._scanned = end - begin
            return 0
        head = bytes(source[begin:end])
        length = len(head) + _claim(head)
        if length > self._max_message:
            raise StreamError(f"message of more than {self._max_message} bytes", head)
        return length


def _claim(head: bytes) -> int:
    """Return what Content-Length says. Raises StreamError where it is absent (§18.3), malformed or said in two ways."""
    values = _LENGTH.findall(head)
    if len(values) == 1 and (length := _number(values[0].strip())) is not None:
        return length  # what nearly every message says
    claims = {claim for value in values for claim in grammar.split_values(value)}
    if not claims:
        raise StreamError("no Content-Length", head)
    length = grammar.decimal(claims.pop(), _MOST)
    if length is None or claims:
        raise StreamError("bad Content-Length", head)
    return length
