"""What the proxy does for the Python that it runs on."""

from __future__ import annotations

import platform
import sys
from types import SimpleNamespace

import pytest

from proxy import serve, users
from proxy.config import Settings


@pytest.mark.parametrize(("python", "told"), [("PyPy", [serve.COMPILER]), ("CPython", [])])
def test_pypy_alone_is_told_to_compile_early(monkeypatch: pytest.MonkeyPatch, python: str, told: list[str]) -> None:
    said: list[str] = []
    monkeypatch.setattr(platform, "python_implementation", lambda: python)
    monkeypatch.setitem(sys.modules, "pypyjit", SimpleNamespace(set_param=said.append))
    with pytest.raises(users.BadUsers):
        serve.serve(Settings(users="/nowhere/users"))
    assert said == told
