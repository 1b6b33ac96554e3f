"""One event a line: a noun-verb name and its fields, for people or as JSON. Strangers cannot fill a disk with it.

Events are written some at a time: whoever reads them is a process that each write wakes, which costs us more than to
route the message that the line is about.
"""

from __future__ import annotations

import json
import select
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TextIO

LEVELS = {"debug": 10, "info": 20, "warning": 30}
STRANGERS_LINES_PER_S = 10  # what anybody can cause by sending rubbish
LINES_PER_S = 500  # what calls can cause: more than one can read, less than fills a disk over a weekend
FIELD_CHARACTERS = 200
WAIT_S = 0.1  # that an event may wait for others


class Log:
    """Writes lines to one stream; `clock` returns seconds.

    `later(seconds, action)`, once it is set, has `flush` called; until then, and when it is None, nothing waits.
    """

    def __init__(
        self, level: str, clock: Callable[[], float], stream: TextIO | None = None, as_json: bool = False
    ) -> None:
        self.enabled = LEVELS[level] <= LEVELS["info"]  # cached: hot paths ask before they build anything
        self._clock = clock
        self._stream = stream or sys.stdout
        self._as_json = as_json
        self._second = -1
        self._lines = 0
        self._suppressed = 0
        self._waiting: list[str] = []
        self.later: Callable[[float, Callable[[], None]], object] | None = None
        self.lost = 0  # lines that could not be written

    def event(self, name: str, fields: Mapping[str, object]) -> None:
        """Write one event."""
        if self.enabled and self._is_within(LINES_PER_S):
            self._event(name, fields)

    def strange(self, name: str, fields: Mapping[str, object]) -> None:
        """Write one event that a stranger can cause at will: far fewer lines a second, the rest counted."""
        if self.enabled and self._is_within(STRANGERS_LINES_PER_S):
            self._event(name, fields)

    def line(self, text: str) -> None:
        """Write a line for whoever runs the proxy, whatever the level, at once."""
        self._waiting.append(json.dumps({"event": "proxy", "text": text}) if self._as_json else text)
        self.flush()

    def flush(self) -> None:
        """Write what waits."""
        lines, self._waiting = self._waiting, []
        if not lines:
            return
        for piece in _pieces(lines):
            try:
                self._stream.write(piece)
                self._stream.flush()
            except (OSError, ValueError):  # a full disk, a reader that has gone: calls go on without their lines
                self.lost += piece.count("\n")

    def _is_within(self, most: int) -> bool:
        """Say whether this second has room for another line; what had none is counted in the next."""
        second = int(self._clock())
        if second != self._second:
            suppressed, self._second, self._lines, self._suppressed = self._suppressed, second, 0, 0
            if suppressed:
                self._event("lines-suppressed", {"count": suppressed})
        if self._lines >= most:
            self._suppressed += 1
            return False
        self._lines += 1
        return True

    def _event(self, name: str, fields: Mapping[str, object]) -> None:
        if self._as_json:
            line = json.dumps({"event": name, **{key: _readable(value) for key, value in fields.items()}})
        else:
            line = f"{name} {' '.join([f'{key}={_readable(value)}' for key, value in fields.items()])}"
            if not line.isprintable() or line.count(" ") > max(1, len(fields)):  # a stranger's, who would make another
                line = f"{name} {' '.join([f'{key}={_printable(value)}' for key, value in fields.items()])}"
        self._waiting.append(line)
        if self.later is None:
            self.flush()
        elif len(self._waiting) == 1:
            self.later(WAIT_S, self.flush)


def _pieces(lines: list[str]) -> Iterator[str]:
    """Yield lines together, as many as a pipe takes at once: those of other workers do not come in between."""
    piece, size = "", 0
    for line in lines:
        more = len(line.encode()) + 1
        if piece and size + more > select.PIPE_BUF:
            yield piece
            piece, size = "", 0
        piece, size = f"{piece}{line}\n", size + more
    yield piece


def _readable(value: object) -> str:
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    return text[:FIELD_CHARACTERS]


def _printable(value: object) -> str:
    return "".join(each if each.isprintable() and each != " " else "_" for each in _readable(value))
