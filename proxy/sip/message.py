"""A SIP message as lines that are edited in place (RFC 3261 §7).

The invariant: a line that nobody edited leaves byte for byte as it came, and in the same order. A proxy edits lines; it
does not rebuild messages. Values are interpreted when somebody asks for them.
"""

from __future__ import annotations

from proxy.sip import grammar

_FOLD = (b"\r\n ", b"\r\n\t")


class Message:
    """Start line, header lines, body.

    `lines[i]` is a header line as it came, without its final CRLF, folds included; `keys[i]` is its long name in lower
    case, b"" where the line has none. `defect` says in a few words what is wrong with the head, if anything is.
    """

    __slots__ = ("_values", "body", "defect", "keys", "lines", "start")

    def __init__(self, start: bytes, lines: list[bytes], keys: list[bytes], body: bytes) -> None:
        self.start = start
        self.lines = lines
        self.keys = keys
        self.body = body
        self.defect: bytes | None = None
        self._values: dict[bytes, list[bytes]] = {}

    def encode(self) -> bytes:
        """Return the message as bytes."""
        return b"\r\n".join((self.start, *self.lines, b"", self.body))

    # Reading

    def count(self, key: bytes) -> int:
        """Return how many lines have this key."""
        return self.keys.count(key)

    def header(self, key: bytes) -> bytes | None:
        """Return the value of the first line with this key, unfolded and stripped; None when there is none."""
        try:
            return self._text(self.keys.index(key))
        except ValueError:
            return None

    def values(self, key: bytes) -> list[bytes]:
        """Return the comma-separated values of all lines with this key, in order. Not to be changed by the caller."""
        values = self._values.get(key)
        if values is None:
            values = []
            for index, found in enumerate(self.keys):
                if found == key:
                    values += grammar.split_values(self._text(index))
            self._values[key] = values
        return values

    def top(self, key: bytes) -> bytes | None:
        """Return the first value of this key, or None."""
        values = self.values(key)
        return values[0] if values else None

    # Editing

    def set(self, name: bytes, value: bytes) -> None:
        """Give the first line with this name another value, or add a line at the end of the head."""
        key = name.lower()
        line = b"%b: %b" % (name, value)
        self._values.pop(key, None)
        if key in self.keys:
            self.lines[self.keys.index(key)] = line
        else:
            self.keys.append(key)
            self.lines.append(line)

    def push(self, name: bytes, value: bytes) -> None:
        """Put a value above all others of this name, in a line of its own."""
        key = name.lower()
        self._values.pop(key, None)
        index = self.keys.index(key) if key in self.keys else self._below_vias()
        self.keys.insert(index, key)
        self.lines.insert(index, b"%b: %b" % (name, value))

    def replace_top(self, name: bytes, value: bytes) -> None:
        """Replace the first value of this name; what follows it in the same line stays there."""
        self._edit_top(name, [value])

    def pop_top(self, name: bytes) -> None:
        """Remove the first value of this name, and its line when nothing else is in it."""
        self._edit_top(name, [])

    def replace_values(self, name: bytes, values: list[bytes]) -> None:
        """Put these values, a line each, in the place of all lines of this name."""
        key = name.lower()
        index = self.keys.index(key) if key in self.keys else len(self.keys)
        while key in self.keys:
            found = self.keys.index(key)
            del self.keys[found], self.lines[found]
        self.keys[index:index] = [key] * len(values)
        self.lines[index:index] = [b"%b: %b" % (name, value) for value in values]
        self._values.pop(key, None)

    def remove_line(self, index: int) -> None:
        """Remove one line."""
        self._values.pop(self.keys[index], None)
        del self.keys[index], self.lines[index]

    def _edit_top(self, name: bytes, values: list[bytes]) -> None:
        key = name.lower()
        index = self.keys.index(key)
        while not (found := grammar.split_values(self._text(index))):  # a line of commas alone bears no value
            index = self.keys.index(key, index + 1)
        values = values + found[1:]
        self._values.pop(key, None)
        if values:
            self.lines[index] = b"%b: %b" % (name, b", ".join(values))
        else:
            del self.keys[index], self.lines[index]

    def _text(self, index: int) -> bytes:
        text = self.lines[index].partition(b":")[2]
        if b"\r\n" in text:
            for fold in _FOLD:
                text = text.replace(fold, b" ")
        return text.strip()

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
        self, method: bytes, uri: bytes, version: bytes, lines: list[bytes], keys: list[bytes], body: bytes
    ) -> None:
        super().__init__(b"%b %b %b" % (method, uri, version), lines, keys, body)
        self.method = method
        self.uri = uri
        self.version = version

    def copy(self) -> Request:
        """Return a request that can be edited without changing this one."""
        return Request(self.method, self.uri, self.version, self.lines.copy(), self.keys.copy(), self.body)

    def set_uri(self, uri: bytes) -> None:
        """Replace the Request-URI."""
        self.uri = uri
        self.start = b"%b %b %b" % (self.method, uri, self.version)


class Response(Message):
    """A response: `status` from 100 to 699."""

    __slots__ = ("status",)

    def __init__(self, start: bytes, status: int, lines: list[bytes], keys: list[bytes], body: bytes) -> None:
        super().__init__(start, lines, keys, body)
        self.status = status


def answer(
    request: Request, status: int, reason: bytes, headers: tuple[tuple[bytes, bytes], ...], to_tag: bytes | None
) -> Response:
    """Return the answer to a request (§8.2.6.2): Via, From, To, Call-ID and CSeq copied, `to_tag` where To has none.

    A 100 has no `to_tag`, but the Timestamp of its request (§8.2.6.1).
    """
    lines: list[bytes] = []
    keys: list[bytes] = []
    for key, line in zip(request.keys, request.lines, strict=True):
        if key in {b"via", b"from", b"call-id", b"cseq"}:
            lines.append(line)
            keys.append(key)
        elif key == b"to" and b"to" not in keys:
            params = line.rpartition(b">")[2] if b">" in line else line
            if to_tag is not None and grammar.param(params, b"tag") is None:
                line = b"%b;tag=%b" % (line, to_tag)
            lines.append(line)
            keys.append(key)
        elif key == b"timestamp" and status == 100:
            lines.append(line)
            keys.append(key)
    for name, value in (*headers, (b"Content-Length", b"0")):
        lines.append(b"%b: %b" % (name, value))
        keys.append(name.lower())
    return Response(b"SIP/2.0 %d %b" % (status, reason), status, lines, keys, b"")
