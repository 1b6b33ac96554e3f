"""What a parser said of a text, kept for the next time: the messages of a call say the same, and most twice or more.

What is kept is shared, and never changed. Texts are chosen by strangers: few are kept, and none that is long.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

MOST = 1024  # of one parser
LONGEST = 512  # bytes, or characters; of a tuple, all of its texts together

Text = TypeVar("Text", bytes, str)
Parts = TypeVar("Parts", bound=tuple[Any, ...])
Result = TypeVar("Result")


class _Memory(dict[Any, Any]):
    """Results by argument. `functools.lru_cache` takes three times as long to find one for bytes."""

    def __init__(self, function: Callable[[Any], object], length: Callable[[Any], int] = len) -> None:
        self._function = function
        self._length = length

    def __missing__(self, key: Any) -> object:
        """Ask the function. What it raises is not kept."""
        result = self._function(key)
        if self._length(key) <= LONGEST:
            if len(self) >= MOST:
                self.clear()  # what is asked often is soon here again
            self[key] = result
        return result


def _length(key: tuple[Any, ...]) -> int:
    return sum(len(part) for part in key if isinstance(part, bytes | str))


def remembered(function: Callable[[Text], Result]) -> Callable[[Text], Result]:
    """Return the function of a text, with a memory."""
    return _Memory(function).__getitem__


def remembered_by_parts(function: Callable[[Parts], Result]) -> Callable[[Parts], Result]:
    """Return the function of a tuple, with a memory."""
    return _Memory(function, _length).__getitem__
