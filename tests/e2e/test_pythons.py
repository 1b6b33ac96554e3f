"""The Pythons of the proxy's image: one serves, and both do the same."""

from __future__ import annotations

import pytest

from labkit import settings
from labkit.settings import ROOT
from tests.e2e.lab import SCRIPTS, Lab, docker

pytestmark = pytest.mark.e2e

MESSAGES = 60  # of RFC 4475 and 5118, and those of three phones


def test_the_proxy_is_served_by_pypy(lab: Lab) -> None:
    assert "pypy3" in lab.execute("proxy", "cat", "/proc/1/cmdline")


def test_both_make_the_same_of_every_torture_message(lab_settings: settings.Settings) -> None:
    found = {python: _told(lab_settings, python) for python in ("python3", "pypy3")}
    assert found["pypy3"] == found["python3"]
    assert len(found["python3"].splitlines()) > 2 * MESSAGES


def _told(lab_settings: settings.Settings, python: str) -> str:
    tests = ROOT / "tests"
    volumes = (f"{SCRIPTS}:/scripts:ro", f"{tests}/data/torture:/torture:ro", f"{tests}/bench:/bench:ro")
    return docker(
        "run", "--rm", "--network", "none", "--env", "PYTHONPATH=/srv",
        *(part for volume in volumes for part in ("--volume", volume)),
        f"sip-nat-lab/proxy:{lab_settings.values['LAB_TAG']}", python, "/scripts/alike.py",
    )  # fmt: skip
