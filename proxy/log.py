"""One event a line: a noun-verb name and its fields. Strangers cannot fill a disk with it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TextIO

LEVELS = {"debug": 10, "info": 20, "warning": 30}
STRANGERS_LINES_PER_S = 10  # what anybody can cause by sending rubbish
FIELD_CHARACTERS = 200


class Log:
    """Writes lines to one stream; `clock` returns seconds."""

    def __init__(self, level: str, clock: Callable[[], float], stream: TextIO | None = None) -> None:
        self.enabled = LEVELS[level] <= LEVELS["info"]  # cached: hot paths ask before they build anything
        self._clock = clock
        self._stream = stream or sys.stdout
        self._second = -1
        self._lines = 0
        self._suppressed = 0

    def event(self, name: str, fields: dict[str, object]) -> None:
        """Write one event."""
        if self.enabled:
            self.line(f"{name} {' '.join(f'{key}={_printable(value)}' for key, value in fields.items())}")

    def strange(self, name: str, fields: dict[str, object]) -> None:
        """Write one event that a stranger can cause at will: at most so many lines a second, the rest counted."""
        second = int(self._clock())
        if second != self._second:
            if self._suppressed:
                self.line(f"lines-suppressed count={self._suppressed}")
            self._second, self._lines, self._suppressed = second, 0, 0
        if self._lines >= STRANGERS_LINES_PER_S:
            self._suppressed += 1
            return
        self._lines += 1
        self.event(name, fields)

    def line(self, text: str) -> None:
        """Write a line as it is, whatever the level."""
        print(text, file=self._stream, flush=True)


def _printable(value: object) -> str:
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    text = "".join(character if character.isprintable() and character != " " else "_" for character in text)
    return text[:FIELD_CHARACTERS]
