"""When a phone refreshes its registration, and when it must not."""

from __future__ import annotations

from pathlib import Path

import pytest

from sipp_scenarios.phone import Phone


class Idle:
    """A SIPp that waits for calls and has none."""

    def calls_up(self) -> bool:
        return False

    def stop(self) -> None:
        pass


class Recorded(Phone):
    """A phone that writes down how often it registers, and starts no SIPp."""

    registrations = 0

    def _register(self) -> None:
        self.registrations += 1

    def _wait_for_calls(self, *_: object, **__: object) -> None:
        self._waiting = Idle()  # type: ignore[assignment]


@pytest.fixture
def phone(tmp_path: Path) -> Recorded:
    """A phone that has registered, and waits."""
    made = Recorded("alice", "bob", files=tmp_path)
    made.start()
    return made


def test_a_phone_that_waits_for_calls_refreshes(phone: Recorded, tmp_path: Path) -> None:
    phone.refresh()
    assert phone.registrations == 2
    assert (tmp_path / "refreshes").read_text() == "1"


def test_a_phone_that_has_left_stays_away_until_it_is_told_to_come_back(phone: Recorded) -> None:
    """It leaves because its router changes: a refresh in the midst of that is lost, and seen as a fault."""
    phone.answer({"do": "leave"})
    phone.refresh()
    assert phone.registrations == 1
    phone.answer({"do": "register"})
    phone.refresh()
    assert phone.registrations == 3


def test_a_phone_in_a_run_does_not_refresh(phone: Recorded) -> None:
    phone.answer({"do": "listen", "run": "r", "count": 1, "at_once": False, "hangup": "callee"})
    phone.refresh()
    assert phone.registrations == 1
