"""Where the page is: where it is wanted, where it is already, or where there is room."""

from __future__ import annotations

import socket

import pytest

from labkit import desk, settings, stack
from labkit.outcome import Mistake
from labkit.settings import NO_PAGE, PAGE_PORT, Settings


def lab(
    monkeypatch: pytest.MonkeyPatch, wanted: str = "", has: str = "", taken: frozenset[int] = frozenset()
) -> Settings:  # fmt: skip
    monkeypatch.setattr(stack, "started_with", lambda _: {PAGE_PORT: has} if has else {})
    monkeypatch.setattr(desk, "is_free", lambda port: port not in taken)
    monkeypatch.delenv(PAGE_PORT, raising=False)
    if wanted:
        monkeypatch.setenv(PAGE_PORT, wanted)
    found = settings.load(page=None)
    desk.choose(found)
    return found


def test_the_usual_port_is_8080(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = lab(monkeypatch)
    assert desk.address(found) == "http://localhost:8080"
    assert NO_PAGE not in found.layers
    assert capsys.readouterr().err == ""


def test_a_second_lab_has_the_next_one_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert desk.address(lab(monkeypatch, taken=frozenset({8080}))) == "http://localhost:8081"
    assert capsys.readouterr().err == "lab: port 8080 is taken: 8081 is the page's (LAB_PAGE_PORT sets one)\n"


def test_where_all_are_taken_there_is_no_page(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = lab(monkeypatch, taken=frozenset(desk.PORTS))
    assert desk.address(found) == ""
    assert NO_PAGE in found.layers
    assert "there is no page" in capsys.readouterr().err


def test_a_lab_that_runs_keeps_its_port(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lab(monkeypatch, has="8083", taken=frozenset({8080, 8083})).values[PAGE_PORT] == "8083"


def test_none_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert desk.address(lab(monkeypatch, wanted="0")) == ""


@pytest.mark.parametrize(
    ("wanted", "words"), [("9000", "somebody listens there"), ("x", "must be a port"), ("70000", "must be a port")]
)
def test_a_port_that_cannot_be_had_is_a_mistake(monkeypatch: pytest.MonkeyPatch, wanted: str, words: str) -> None:
    with pytest.raises(Mistake, match=words):
        lab(monkeypatch, wanted=wanted, taken=frozenset({9000}))


def test_other_labs_have_no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PAGE_PORT, "8080")
    assert NO_PAGE in settings.load().layers


def test_a_port_at_which_somebody_listens_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert not desk.is_free(port)
    assert desk.is_free(port)
