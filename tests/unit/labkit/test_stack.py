"""A command in a service ends when whoever asked for it has gone: of a signal it would hear nothing."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from labkit import stack
from labkit.settings import ROOT, Settings

# In the place of Docker: it runs the command here, and like Docker hands its stdin on.
DOCKER = """\
#!/bin/sh
while [ "$1" != lab-bob-1 ]; do shift; done
shift
exec "$@"
"""
ASK = "from labkit import settings, stack; stack.ask(settings.Settings({'LAB_PROJECT': 'lab'}, []), 'bob', %r)"


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for what commands leave, with a `docker` on the PATH."""
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def await_file(path: Path) -> str:
    """Return what a command leaves in this file, when it has."""
    deadline, pace = time.monotonic() + 20, threading.Event()
    while not path.exists() or not path.read_text():
        assert time.monotonic() < deadline
        pace.wait(0.01)  # pacing of a poll, with a deadline
    return path.read_text()


@pytest.mark.usefixtures("docker")
def test_the_exit_code_is_the_commands() -> None:
    assert stack.ask(Settings({"LAB_PROJECT": "lab"}, []), "bob", ["sh", "-c", "exit 7"]) == 7


def test_a_command_whose_asker_is_killed_reads_the_end_of_its_stdin(docker: Path) -> None:
    script = f"echo $STDIN_HELD >{docker}/begun; cat; echo ended >{docker}/ended"
    with subprocess.Popen([sys.executable, "-c", ASK % ["sh", "-c", script]], cwd=ROOT) as asker:
        try:
            assert await_file(docker / "begun") == "1\n"
            assert not (docker / "ended").exists()
        finally:
            asker.kill()
    assert await_file(docker / "ended") == "ended\n"
