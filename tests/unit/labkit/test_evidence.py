"""A run's folder in out/: what a container packed, unpacked by any Python that the lab may run on, for its user."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from labkit import evidence
from labkit.settings import ROOT

RUN = "20261123-120000-abc"
SYSTEM_PYTHON = Path("/usr/bin/python3")  # Debian 12's is the oldest that the lab runs on


def packed(*more: tarfile.TarInfo) -> bytes:
    """Return a run's folder as tar packs it, with more in it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        folder = tarfile.TarInfo(RUN)
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        file = tarfile.TarInfo(f"{RUN}/verdict.json")
        file.size = 2
        archive.addfile(file, io.BytesIO(b"{}"))
        for each in more:
            archive.addfile(each)
    return buffer.getvalue()


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty out/."""
    monkeypatch.setattr(evidence, "OUT", tmp_path)
    return tmp_path


def test_a_runs_folder_is_unpacked(out: Path) -> None:
    assert evidence.unpack(packed()) == out / RUN
    assert (out / RUN / "verdict.json").read_text() == "{}"


def test_nothing_is_unpacked_that_leads_elsewhere(out: Path) -> None:
    link, climbing, absolute = (tarfile.TarInfo(name) for name in (f"{RUN}/link", "../climbing", "/absolute"))
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    evidence.unpack(packed(link, climbing, absolute))
    assert not (out / RUN / "link").is_symlink()
    assert not (out.parent / "climbing").exists()
    assert not Path("/absolute").exists()


@pytest.mark.skipif(not SYSTEM_PYTHON.exists(), reason="unsupported: no Python of the system's own")
def test_the_systems_own_python_unpacks_it_too(tmp_path: Path) -> None:
    old = subprocess.run([SYSTEM_PYTHON, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"], check=False)
    if old.returncode:
        pytest.skip("unsupported: the system's own Python is older than 3.11")
    program = (
        "import pathlib, sys; from labkit import evidence; evidence.OUT = pathlib.Path(sys.argv[1]); "
        "print(evidence.unpack(sys.stdin.buffer.read()))"
    )
    done = subprocess.run(
        [SYSTEM_PYTHON, "-c", program, str(tmp_path)], input=packed(), capture_output=True, check=False,
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.stdout.decode().strip() == str(tmp_path / RUN), done.stderr.decode()


@pytest.mark.skipif(os.geteuid() != 0, reason="unsupported: only root gives files away")
@pytest.mark.parametrize("has_latest", [False, True])
def test_under_sudo_all_of_it_is_the_users(has_latest: bool, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", "12345")
    monkeypatch.setenv("SUDO_GID", "12346")
    folder = evidence.unpack(packed())
    if has_latest:
        (out / "latest").symlink_to(folder.name)
    evidence.own(folder)
    made = [out, folder, folder / "verdict.json", *([out / "latest"] if has_latest else [])]
    assert {(path.lstat().st_uid, path.lstat().st_gid) for path in made} == {(12345, 12346)}
