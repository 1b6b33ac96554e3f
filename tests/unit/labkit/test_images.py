"""An image's tag stands for all that goes into it."""

from __future__ import annotations

from pathlib import Path

import pytest

from labkit import images
from labkit.outcome import Mistake


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small checkout, and a PATH whose `docker` names the base image's id."""
    (tmp_path / "proxy").mkdir()
    (tmp_path / "proxy" / "engine.py").write_text("pass\n")
    (tmp_path / "compose.yaml").write_text("services: {}\n")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "docker").write_text("#!/bin/sh\necho sha256:$5\n")
    (tmp_path / "bin" / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setattr(images, "ROOT", tmp_path)
    return tmp_path


def test_the_same_files_have_the_same_fingerprint(root: Path) -> None:
    first = images.fingerprint("base")
    (root / "proxy" / "engine.py").write_text("pass\n")
    assert images.fingerprint("base") == first
    assert len(first) == 12


def test_a_changed_file_changes_it(root: Path) -> None:
    first = images.fingerprint("base")
    (root / "proxy" / "engine.py").write_text("...\n")
    assert images.fingerprint("base") != first


def test_the_executable_bit_changes_it(root: Path) -> None:
    first = images.fingerprint("base")
    (root / "proxy" / "engine.py").chmod(0o755)
    assert images.fingerprint("base") != first


def test_a_renamed_file_changes_it(root: Path) -> None:
    first = images.fingerprint("base")
    (root / "proxy" / "engine.py").rename(root / "proxy" / "motor.py")
    assert images.fingerprint("base") != first


@pytest.mark.usefixtures("root")
def test_another_base_changes_it() -> None:
    assert images.fingerprint("base") != images.fingerprint("other")


def test_what_python_leaves_behind_and_what_no_image_holds_does_not(root: Path) -> None:
    first = images.fingerprint("base")
    (root / "proxy" / "__pycache__").mkdir()
    (root / "proxy" / "__pycache__" / "engine.pyc").write_bytes(b"\0")
    (root / "README.md").write_text("Read me.\n")
    assert images.fingerprint("base") == first


def test_every_source_exists() -> None:
    here = Path(__file__).parents[3]
    assert [source for source in images.SOURCES if not (here / source).exists()] == []


def test_what_others_may_not_read_is_refused_before_anything_is_built(root: Path) -> None:
    sources = ("proxy", "compose.yaml")
    (root / "proxy" / ".#engine.py").symlink_to("somebody@somewhere.1")  # an editor's lock
    images.require_readable(sources)
    for path, mode in ((root / "proxy" / "engine.py", 0o600), (root / "proxy", 0o700), (root / "compose.yaml", 0o640)):
        usual = path.stat().st_mode
        path.chmod(mode)
        with pytest.raises(Mistake, match=rf"{path.name}: only its owner.*chmod -R go\+rX proxy compose\.yaml"):
            images.require_readable(sources)
        path.chmod(usual)
    images.require_readable(sources)
