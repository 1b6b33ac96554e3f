"""What `natctl` says to what cannot be: one line, with what is right, whether it or the router finds it."""

from __future__ import annotations

import threading
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

from labkit.settings import ROOT
from nat import router, rules
from nat.router import Router
from observer import control
from tests.unit.nat.test_router import ENVIRONMENT, Kernel


@pytest.fixture
def natctl() -> ModuleType:
    """The program, which has no ending."""
    spec = spec_from_loader("natctl", SourceFileLoader("natctl", str(ROOT / "nat" / "natctl")))
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Router:
    """A router that answers on its socket."""
    monkeypatch.setattr(router, "run", Kernel().run)
    monkeypatch.setattr(control, "ROOM", tmp_path)
    monkeypatch.setattr(control, "SERVING", tmp_path / "serving")
    monkeypatch.setenv("ROUTER", "nat")
    asked = Router(ENVIRONMENT)
    threading.Thread(
        target=control.serve, args=("nat", lambda request: router.answer(asked, request)), daemon=True
    ).start()
    control.await_room("nat", 5)
    return asked


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["drop-next", "INVITE *", "nan"], "drop-next nan: must be a whole number"),
        (["drop-next", "INVITE *", "inf"], "drop-next inf: must be a whole number"),
        (["drop-next", "INVITE *", "2.7"], "drop-next 2.7: must be a whole number"),
        (["drop-next", "INVITE *", "0"], "0 times: must be from 1 to 1000"),
        (["rules"], "rules: takes KIND"),
        (["rules", "home", "none"], "rules home none: takes KIND"),
        (["rules", "symetric"], "symetric: unknown; nearest: symmetric"),
        (["rule"], "rule: unknown; nearest: rules"),
        (["reboot", "0.5"], "reboot 0.5: must be from 1 to 60 seconds"),
        (["reboot", "nan"], "reboot nan: must be from 1 to 60 seconds"),
        (["reboot", "inf"], "reboot inf: must be from 1 to 60 seconds"),
        (["reboot", "soon"], "reboot soon: must be a number"),
        (["lifetime", "5,alg=on"], "lifetime 5,alg=on: must be a whole number"),
        (["lifetime", "-5"], "lifetime=-5: must be a whole number from 0 to 86400"),
        (["loss", "nan"], "loss nan %: must be from 0 to 100"),
        (["loss", "inf"], "loss inf %: must be from 0 to 100"),
        (["delay", "nan"], "delay nan ms: must be from 0 to 10000"),
        (["delay", "inf"], "delay inf ms: must be from 0 to 10000"),
    ],
)
def test_a_mistake_is_one_line(
    natctl: ModuleType, home: Router, words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = home.kind
    with pytest.raises(SystemExit) as ended:
        natctl.main(*words)
    assert (ended.value.code, capsys.readouterr().err) == (2, f"natctl: {complaint}\n")
    assert (home.kind, home.history.events(0.0)) == (before, [])


def test_the_rules_of_a_kind_are_printed_and_no_router_is_asked(
    natctl: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    natctl.main("rules", "one-to-one")
    assert "# ── mapping-one-to-one ──" in capsys.readouterr().out


def test_a_whole_number_is_understood(
    natctl: ModuleType, home: Router, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rules, "load", Kernel().load)
    natctl.main("lifetime", "5")
    assert home.kind.profile["lifetime"] == 5
    assert "lifetime=5" in capsys.readouterr().out
