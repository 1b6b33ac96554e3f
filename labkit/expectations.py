"""What must happen when a remedy is taken away: the data of expectations.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

ALL_ON = "all-on"  # the row in which nothing is taken away


@dataclass(slots=True, frozen=True)
class Expectation:
    """One remedy: what is done without it, and which causes must be seen behind which kind."""

    remedy: str
    off: str  # what is otherwise then, in words
    caller: str  # who calls: alice, bob, or both one after the other
    silence: int  # seconds after which the router forgets, before the call; 0: its own, and the call comes at once
    otherwise: frozenset[str]
    kinds: dict[str, frozenset[str]]
    has_audio: bool = False  # it is judged who hears whom

    def causes(self, kind: str) -> frozenset[str]:
        """Return the causes that must be seen behind this kind: no others, and all of them."""
        return self.kinds.get(kind, self.otherwise)


def _read() -> tuple[dict[str, Expectation], dict[str, str]]:
    tables = tomllib.loads(Path(__file__).with_name("expectations.toml").read_text(encoding="utf-8"))
    words: dict[str, str] = tables.pop("words")
    everywhere: dict[str, list[str]] = tables.pop("everywhere")
    found = {}
    for remedy, table in tables.items():
        kinds = {kind: frozenset(causes) for kind, causes in {**table.get("kinds", {}), **everywhere}.items()}
        found[remedy] = Expectation(
            remedy, table["off"], table["caller"], table.get("silence", 0), frozenset(table["otherwise"]), kinds,
            table.get("audio", False),
        )  # fmt: skip
    return found, words


EXPECTATIONS, WORDS = _read()


def in_words(causes: frozenset[str] | set[str]) -> str:
    """Return causes as a reader is told them, in the order of the file."""
    return "; ".join(words for cause, words in WORDS.items() if cause in causes) or "nothing that was seen before"
