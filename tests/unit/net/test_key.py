"""The proxy's secret file."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.net.key import KEY_BYTES, KeyFileError, load_key

ROOT = Path(__file__).resolve().parents[3]


def test_a_key_is_made_once_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "key"
    key = load_key(path)
    assert len(key) == KEY_BYTES
    assert load_key(path) == path.read_bytes() == key
    assert load_key(tmp_path / "other") != key
    assert sorted(each.name for each in tmp_path.iterdir()) == ["key", "other"]  # nothing else is left behind


def test_nobody_else_can_read_the_key_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        load_key(tmp_path / "key")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_processes_that_start_at_once_get_one_key(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from proxy.net.key import load_key; "
        "sys.stdout.write('ready\\n'); sys.stdout.flush(); sys.stdin.read(1); "
        "sys.stdout.write(load_key(Path(sys.argv[1])).hex())"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "key")]
    pipe = subprocess.PIPE
    starters = [subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) for _ in range(6)]
    for each in starters:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    for each in starters:
        assert each.stdin is not None
        each.stdin.write("!")
        each.stdin.flush()
    keys = {each.communicate()[0] for each in starters}
    assert keys == {(tmp_path / "key").read_bytes().hex()}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o622])
def test_a_key_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    load_key(path)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match=f"others can read or change the key \\(mode {mode:o}\\)"):
        load_key(path)


@pytest.mark.parametrize("size", [0, 1, KEY_BYTES - 1, KEY_BYTES + 1, 4096])
def test_a_file_of_another_size_is_refused_and_left_as_it_is(tmp_path: Path, size: int) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"k" * size)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="is not a key of 32 bytes"):
        load_key(path)
    assert path.stat().st_size == size


def test_what_is_not_a_file_is_refused_without_waiting(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir(0o700)
    os.mkfifo(tmp_path / "fifo", 0o600)
    for name in ("folder", "fifo"):
        with pytest.raises(KeyFileError, match="is not a file"):
            load_key(tmp_path / name)


@pytest.mark.parametrize("name", ["missing/key", "file/key"])
def test_a_folder_that_is_none_gets_one_clear_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KeyFileError) as caught:
        load_key(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert "\n" not in str(caught.value)
