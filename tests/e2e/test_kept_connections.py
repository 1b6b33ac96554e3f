"""TLS connections that outlive a run: those that are open are kept for the next one, by the real tcpdump."""

from __future__ import annotations

import json
from typing import Any

import pytest

from observer.connections import MOST_OPEN
from tests.e2e.lab import Lab

pytestmark = pytest.mark.e2e

PHONE, OTHER, PROXY = ("10.77.1.100", 40001), ("10.77.1.110", 40001), ("198.51.100.10", 5061)
SYN, FIN, DATA = 0x02, 0x11, 0x18

Packet = tuple[int, tuple[str, int], tuple[str, int], int, int]


def kept(lab: Lab, *runs: list[Packet], most_bytes: int | None = None) -> list[dict[str, Any]]:
    """Return what became of the captures of these runs, one after another: scripts/keep_connections.py."""
    asked = json.dumps({"most_bytes": most_bytes, "runs": runs})
    found: list[dict[str, Any]] = json.loads(lab.script("observer", "keep_connections", asked))
    return found


def test_what_is_open_is_put_before_the_next_run_until_it_has_ended(lab: Lab) -> None:
    first, second, third = kept(
        lab,
        [(1, PHONE, PROXY, SYN, 0), (2, OTHER, PROXY, SYN, 0), (3, PHONE, PROXY, DATA, 3), (4, OTHER, PROXY, FIN, 0),
         (5, PHONE, (PROXY[0], 5060), SYN, 0)],
        [(6, PROXY, PHONE, DATA, 3)],
        [(7, PROXY, PHONE, FIN, 0)],
    )  # fmt: skip
    assert first == {"began": 1.0, "capture": [1, 2, 3, 4, 5], "kept": [1, 3], "said": ""}
    assert second == {"began": 6.0, "capture": [1, 3, 6], "kept": [1, 3, 6], "said": ""}
    assert third == {"began": 7.0, "capture": [1, 3, 6, 7], "kept": [], "said": ""}


def test_what_has_become_too_large_is_forgotten_and_said_once(lab: Lab) -> None:
    large: list[Packet] = [(second, PHONE, PROXY, DATA, 60_000) for second in range(2, 52)]
    first, second = kept(lab, [(1, PHONE, PROXY, SYN, 0), *large], large, most_bytes=2 << 20)
    assert first["said"].startswith("connections: proxy: 1 of 1 open TLS connections are forgotten, ")
    assert first["said"].count("\n") == 1
    assert (second["capture"][0], second["kept"], second["said"]) == (2, [], "")


def test_of_too_many_the_newest_are_kept(lab: Lab) -> None:
    ends = [(f"10.77.1.{number}", 30_000 + number) for number in range(1, MOST_OPEN + 3)]
    (run,) = kept(lab, [(second, end, PROXY, SYN, 0) for second, end in enumerate(ends, 1)])
    assert run["kept"] == list(range(3, len(ends) + 1))
    assert "proxy: 2 of 102 open TLS connections are forgotten, " in run["said"]
