"""A tap captures what is there, and does not mind what is not."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from observer import tap
from observer.tap import Tap, interface_of, is_up

NOWHERE = "198.51.100.77"  # on no machine that runs tests


def test_the_interface_is_found_by_its_address() -> None:
    assert interface_of("127.0.0.1") == "lo"
    assert interface_of(NOWHERE) == ""


def test_an_interface_that_is_not_there_is_not_up() -> None:
    assert is_up("lo")
    assert not is_up("isp0")


def test_a_side_without_an_interface_is_not_captured_and_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tap, "ROOM", tmp_path)
    nowhere = Tap({"nat-isp": [NOWHERE]})
    assert nowhere.cut({"folder": str(tmp_path / "run")}) == {"drops": {}, "since": 0.0}
    assert list((tmp_path / "run").iterdir()) == []
    nowhere.end()


def test_what_is_thrown_away_is_missing_from_the_next_cut_and_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tap, "ROOM", tmp_path)
    monkeypatch.setattr(tap, "MOST_BYTES", 10)
    large = Ended(tmp_path / "a-1.pcap")
    crowded = Tap({"a": [NOWHERE]})
    crowded._captures["a"] = [large]  # type: ignore[list-item]
    monkeypatch.setattr(crowded, "_start", lambda _: [Ended(tmp_path / "a-2.pcap")])
    began = time.time()
    crowded._throw_away()
    assert not large.path.exists()
    assert began <= crowded.cut({"folder": str(tmp_path / "run")})["since"] <= time.time()
    crowded.end()


class Ended:
    """A capture with eleven bytes in it."""

    is_running = True

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(bytes(11))

    def end(self) -> int:
        return 0
