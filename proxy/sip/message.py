"""A SIP message as lines that are edited in place (RFC 3261 §7).

The invariant: a line that nobody edited leaves byte for byte as it came, and in the same order. A proxy edits lines; it
does not rebuild messages. Values are interpreted when somebody asks for them.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import compress

from proxy.sip import grammar

_FOLDS = (b"\r\n ", b"\r\n\t")


def unfolded(text: bytes) -> bytes:
    """Return a header's value as one line, stripped of white space."""
    if grammar.CR in text:
        for fold in _FOLDS:
            text = text.replace(fold, b" ")
    return text.strip()


_COPIED = frozenset((b"via", b"from", b"to", b"call-id", b"cseq"))  # from a request into its answer
_COPIED_INTO_100 = _COPIED | {b"timestamp"}


class Message:
    """Start line, header lines, body.

    `lines[i]` is a header line as it came, without its final CRLF, folds included; `keys[i]` is its long name in lower
    case, b"" where the line has none. `first` has the value of the first line of each key, unfolded and stripped, and
    `header(key)` returns it, or None. `defect` says in a few words what is wrong with the head, if anything is.
    """

    __slots__ = ("_first", "_values", "body", "defect", "header", "keys", "lines")

    start: bytes

    def __init__(self, lines: list[bytes], keys: list[bytes], first: dict[bytes, bytes], body: bytes) -> None:
        self.lines = lines
        self.keys = keys
        self.body = body
        self.defect: bytes | None = None
        self._first = first
        self._values: dict[bytes, list[bytes]] = {}
        self.header: Callable[[bytes], bytes | None] = first.get  # asked for twenty times a message

    def encode(self) -> bytes:
        """Return the message as bytes."""
        return b"\r\n".join((self.start, *self.lines, b"", self.body))

    # Reading

    def count(self, key: bytes) -> int:
        """Return how many lines have this key."""
        return self.keys.count(key)

    def repeated(self) -> int:
        """Return how many lines have a key that a line above them has too."""
        return len(self.keys) - len(self._first)

    def values(self, key: bytes) -> list[bytes]:
        """Return the comma-separated values of all lines with this key, in order. Not to be changed by the caller."""
        text = self.header(key)
        if text is None:
            return []
        values = self._values.get(key)
        if values is None:
            values = grammar.split_values(text)
            index = -1
            for number in range(self.keys.count(key)):
                index = self.keys.index(key, index + 1)
                if number:
                    values += grammar.split_values(self._text(index))
            self._values[key] = values
        return values

    def top(self, key: bytes) -> bytes | None:
        """Return the first value of this key, or None."""
        text = self.header(key)
        if text is None or grammar.COMMA not in text:
            return text
        values = self.values(key)
        return values[0] if values else None

    def only(self, key: bytes) -> bytes | None:
        """Return the value of this key when there is exactly one."""
        text = self.header(key)
        if text is None or (grammar.COMMA not in text and (not self.repeated() or self.keys.count(key) == 1)):
            return text
        values = self.values(key)
        return values[0] if len(values) == 1 else None

    # Editing

    def set(self, name: bytes, value: bytes) -> None:
        """Give the first line with this name another value, or add a line at the end of the head."""
        key = name.lower()
        line = b"%b: %b" % (name, value)
        if key in self._first:
            self.lines[self.keys.index(key)] = line
            self._values.pop(key, None)
        else:
            self.keys.append(key)
            self.lines.append(line)
        self._first[key] = value

    def push(self, name: bytes, value: bytes) -> None:
        """Put a value above all others of this name, in a line of its own."""
        key = name.lower()
        index = self.keys.index(key) if key in self._first else self._below_vias()
        self.keys.insert(index, key)
        self.lines.insert(index, b"%b: %b" % (name, value))
        self._first[key] = value
        self._values.pop(key, None)

    def replace_top(self, name: bytes, value: bytes) -> None:
        """Replace the first value of this name; what follows it in the same line stays there."""
        key = name.lower()
        index = self.keys.index(key)
        if grammar.COMMA in self.lines[index]:
            self._edit_top(name, [value])
            return
        self.lines[index] = b"%b: %b" % (name, value)
        self._first[key] = value
        self._values.pop(key, None)

    def pop_top(self, name: bytes) -> None:
        """Remove the first value of this name, and its line when nothing else is in it."""
        index = self.keys.index(name.lower())
        if grammar.COMMA in self.lines[index]:
            self._edit_top(name, [])
        else:
            self.remove_line(index)

    def replace_values(self, name: bytes, values: list[bytes]) -> None:
        """Put these values, a line each, in the place of all lines of this name."""
        key = name.lower()
        index = self.keys.index(key) if key in self._first else len(self.keys)
        for _ in range(self.keys.count(key)):
            found = self.keys.index(key, index)
            del self.keys[found], self.lines[found]
        self.keys[index:index] = [key] * len(values)
        self.lines[index:index] = [b"%b: %b" % (name, value) for value in values]
        self._edited(key, values[0] if values else None)

    def remove_line(self, index: int) -> None:
        """Remove one line."""
        key = self.keys.pop(index)
        del self.lines[index]
        self._edited(key, None)

    def _edit_top(self, name: bytes, values: list[bytes]) -> None:
        key = name.lower()
        index = self.keys.index(key)
        while not (found := grammar.split_values(self._text(index))):  # a line of commas alone bears no value
            index = self.keys.index(key, index + 1)
        values = values + found[1:]
        if values:
            self.lines[index] = b"%b: %b" % (name, b", ".join(values))
        else:
            del self.keys[index], self.lines[index]
        self._edited(key, None)

    def _edited(self, key: bytes, first: bytes | None) -> None:
        """Forget what was read of a header; `first` is the value of its first line now, None: see for yourself."""
        self._values.pop(key, None)
        if first is not None:
            self._first[key] = first
        elif key in self.keys:
            self._first[key] = self._text(self.keys.index(key))
        else:
            self._first.pop(key, None)

    def _text(self, index: int) -> bytes:
        value = self.lines[index].partition(b":")[2]
        return unfolded(value) if grammar.CR in value else value.strip()

    def _below_vias(self) -> int:
        """A new Record-Route or Route stands below the Vias, where readers look for it."""
        index = 0
        while index < len(self.keys) and self.keys[index] == b"via":
            index += 1
        return index


class Request(Message):
    """A request: `method` as written (methods are case-sensitive), `uri` as in the start line, `version`."""

    __slots__ = ("method", "uri", "version")

    def __init__(
        self, method: bytes, uri: bytes, version: bytes, lines: list[bytes], keys: list[bytes],
        first: dict[bytes, bytes], body: bytes,
    ) -> None:  # fmt: skip
        super().__init__(lines, keys, first, body)
        self.method = method
        self.uri = uri
        self.version = version

    def copy(self) -> Request:
        """Return a request that can be edited without changing this one."""
        return Request(
            self.method, self.uri, self.version, self.lines.copy(), self.keys.copy(), self._first.copy(), self.body
        )

    @property
    def start(self) -> bytes:  # type: ignore[override]  # nobody sets it
        """The start line."""
        return b"%b %b %b" % (self.method, self.uri, self.version)


class Response(Message):
    """A response: `status` from 100 to 699."""

    __slots__ = ("start", "status")

    def __init__(
        self, start: bytes, status: int, lines: list[bytes], keys: list[bytes], first: dict[bytes, bytes], body: bytes
    ) -> None:
        super().__init__(lines, keys, first, body)
        self.start = start
        self.status = status


def answer(
    request: Request, status: int, reason: bytes, headers: tuple[tuple[bytes, bytes], ...], to_tag: bytes | None
) -> Response:
    """Return the answer to a request (§8.2.6.2): Via, From, To, Call-ID and CSeq copied, `to_tag` where To has none.

    A 100 has no `to_tag`, but the Timestamp of its request (§8.2.6.1).
    """
    copied = _COPIED_INTO_100 if status == 100 else _COPIED
    picked = list(map(copied.__contains__, request.keys))
    keys = list(compress(request.keys, picked))
    lines = list(compress(request.lines, picked))
    first = dict(compress(request._first.items(), map(copied.__contains__, request._first)))
    if to_tag is not None and b"to" in first:
        index = keys.index(b"to")
        line = lines[index]
        params = line.rpartition(b">")[2] if grammar.GREATER in line else line
        if grammar.param(params, b"tag") is None:
            lines[index] = b"%b;tag=%b" % (line, to_tag)
            first[b"to"] = b"%b;tag=%b" % (first[b"to"], to_tag)
    for name, value in (*headers, (b"Content-Length", b"0")):
        key = name.lower()
        lines.append(b"%b: %b" % (name, value))
        keys.append(key)
        first.setdefault(key, value)
    return Response(b"SIP/2.0 %d %b" % (status, reason), status, lines, keys, first, b"")
