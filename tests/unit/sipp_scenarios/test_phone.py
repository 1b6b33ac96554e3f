"""When a phone refreshes its registration, and when it must not; and how the calls that it places are ended."""

from __future__ import annotations

import errno
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sipp_scenarios import phone as program
from sipp_scenarios import routers
from sipp_scenarios.phone import Phone
from sipp_scenarios.sipp import Counts, Sipp, own_address


class Idle:
    """A SIPp that waits for calls and has none."""

    def is_running(self) -> bool:
        return True

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


@pytest.mark.parametrize(("is_confirmed", "known"), [(1, None), (0, ("10.77.1.100", 5060))])
def test_a_contact_that_could_not_be_taken_back_is_remembered(
    phone: Recorded, monkeypatch: pytest.MonkeyPatch, is_confirmed: int, known: object
) -> None:
    """The next registration takes it back: else calls would go there too."""

    class Leaving:
        def wait(self, _: float) -> Counts:
            return Counts(is_confirmed, 1 - is_confirmed, 0, 0)

    monkeypatch.setattr(phone, "_sipp", lambda *_: Leaving())
    phone._known = ("10.77.1.100", 5060)
    phone.answer({"do": "leave"})
    assert phone._known == known


def test_a_phone_in_a_run_does_not_refresh(phone: Recorded) -> None:
    phone.answer({"do": "listen", "run": "r", "count": 1, "at_once": False, "hangup": "callee"})
    phone.refresh()
    assert phone.registrations == 1


class Enough(BaseException):
    """Ends what goes on for ever."""


def test_a_refresh_that_fails_is_not_the_last_one(
    phone: Recorded, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Routes change, and machines are busy: the phone says so, and goes on."""
    fates = [OSError(errno.ENETUNREACH, "unreachable"), RuntimeError("SIPp does not listen"), Enough()]

    def refresh() -> None:
        raise fates.pop(0)

    monkeypatch.setattr(phone, "refresh", refresh)
    monkeypatch.setattr(program, "REFRESH_S", 0.0)
    with pytest.raises(Enough):
        phone.keep_registered()
    assert capsys.readouterr().out.splitlines() == [
        "alice: no refresh this time: OSError(101, 'unreachable')",
        "alice: no refresh this time: RuntimeError('SIPp does not listen')",
    ]


def test_a_phone_whose_refresh_has_failed_half_way_has_not_left(
    phone: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PROXY_IP", raising=False)
    monkeypatch.setattr(phone, "_register", own_address)
    with pytest.raises(KeyError, match="PROXY_IP"):
        phone.refresh()
    monkeypatch.undo()
    phone.refresh()
    assert (tmp_path / "refreshes").read_text() == "1"
    assert phone.registrations == 2


# In the place of SIPp: a call is up until it is told to place no more.
CALLING = """\
#!/bin/sh
trap 'kill $!; exit 7' USR1
echo "$@" >>"$CALLS"
sleep 60 &
wait
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with a line for each SIPp that was started."""
    (tmp_path / "sipp").write_text(CALLING)
    (tmp_path / "sipp").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("PROXY_IP", "127.0.0.1")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setattr(program, "ROOM", tmp_path / "room")
    return tmp_path / "calls"


def placing(pool: ThreadPoolExecutor, phone: Phone, calls: Path, run: str) -> Future[dict[str, Any]]:
    """Have it place calls without an end; return when it has begun."""
    before = calls.read_text() if calls.exists() else ""
    request = {"do": "place", "run": run, "count": 1000, "at_once": False, "hangup": "callee"}
    placed = pool.submit(phone.answer, request)
    deadline, pace = time.monotonic() + 10, threading.Event()
    while not calls.exists() or calls.read_text() == before:
        assert time.monotonic() < deadline
        pace.wait(0.005)  # pacing of a poll, with a deadline
    return placed


def test_calls_are_ended_while_they_are_placed_and_the_phone_waits_and_refreshes_again(
    phone: Recorded, calls: Path
) -> None:
    with ThreadPoolExecutor() as pool:
        placed = placing(pool, phone, calls, "run")
        phone.answer({"do": "hang-up", "run": "run"})
        assert placed.result(5)["exit_code"] == 7  # it was told, not killed
    phone.refresh()
    assert phone.registrations == 2


def test_a_call_that_the_router_refuses_its_event_ends_and_the_phone_waits_again(
    phone: Recorded, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(home: str, event: str) -> None:
        raise routers.Refused("no", 2)

    monkeypatch.setattr(routers, "suffer", refuse)
    monkeypatch.setattr(Sipp, "when_up", lambda self, happen: happen())
    phone.answer({"do": "hang-up", "run": "run"})  # so that it ends as soon as it may
    request = {"do": "place", "run": "run", "count": 1, "at_once": False, "hangup": "callee", "event": "rebind"}
    phone._waiting = None
    with pytest.raises(routers.Refused):
        phone.answer(request)
    assert phone._waiting is not None
    assert not phone._placing[1].is_running()


def test_calls_of_another_run_go_on(phone: Recorded, calls: Path) -> None:
    with ThreadPoolExecutor() as pool:
        placed = placing(pool, phone, calls, "new")
        phone.answer({"do": "hang-up", "run": "old"})
        with pytest.raises(TimeoutError):
            placed.result(0.2)
        phone.answer({"do": "hang-up", "run": "new"})
        assert placed.result(5)["exit_code"] == 7


def test_calls_that_were_hung_up_before_they_began_end_when_they_begin(phone: Recorded, calls: Path) -> None:
    phone.answer({"do": "hang-up", "run": "run"})
    with ThreadPoolExecutor() as pool:
        request = {"do": "place", "run": "run", "count": 1000, "at_once": False, "hangup": "callee"}
        assert pool.submit(phone.answer, request).result(5)["successful"] == 0


def test_a_sipp_that_keeps_its_connection_refreshes_as_often_as_its_phone_and_writes_no_statistics(
    calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may stay for weeks, and a row every second fills the disk."""
    (tmp_path / "sipp").write_text('#!/bin/sh\necho "$@" >"$CALLS"\n')
    monkeypatch.setenv("TRANSPORT", "tcp")
    monkeypatch.setattr(program, "REFRESH_S", 3600.0)
    Phone("alice", "bob", files=tmp_path).start()
    command = calls.read_text()
    assert " -set refresh_ms 3600000 " in command
    assert "-trace_stat" not in command
