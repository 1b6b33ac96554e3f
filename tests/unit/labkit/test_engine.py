"""Which engines will do, and what the user is told where one will not."""

from __future__ import annotations

from pathlib import Path

import pytest

from labkit import engine
from labkit.engine import Machine, Version, check_versions, dotted, examine, has_daemon, unreachable
from labkit.outcome import Mistake


def machine(
    version: Version | None = (26, 1, 5), compose: Version | None = (2, 26, 1), complaint: str = "", client: bool = True
) -> Machine:
    """A machine that has all it takes, but for what is given."""
    return Machine(client=client, engine=version, complaint=complaint, compose=compose, buildx=True)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    return tmp_path


def write(program: Path, script: str) -> None:
    """Put a small program there."""
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("26.1.5+dfsg1", (26, 1, 5)), ("20.10.24+dfsg1", (20, 10, 24)), ("v2.26.1", (2, 26, 1)), ("2.20", (2, 20)),
        ("2.26.1-4", (2, 26, 1)), ("29.0.0-rc.1", (29, 0, 0)),
    ],
)  # fmt: skip
def test_versions_are_read_as_engines_write_them(said: str, version: Version, programs: Path) -> None:
    write(programs / "docker", f"echo '{said}'")
    found = examine()
    assert (found.engine, found.compose, found.buildx) == (version, version, True)


@pytest.mark.usefixtures("programs")
def test_no_docker_on_the_path_is_no_engine() -> None:
    assert examine() == Machine(client=False, engine=None, complaint="", compose=None, buildx=False)


def test_a_client_proves_nothing(programs: Path) -> None:
    write(programs / "docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    found = examine()
    assert (found.client, found.engine, found.compose) == (True, None, None)
    assert found.complaint == "Cannot connect to the Docker daemon"


@pytest.mark.parametrize("version", [(20, 10), (20, 10, 24), (29, 1, 0)])
def test_a_recent_engine_will_do(version: Version) -> None:
    assert check_versions(machine(version)).engine == version


@pytest.mark.parametrize("version", [(20, 9, 9), (19, 3, 15), None])
def test_an_old_engine_is_refused_with_the_version_it_takes(version: Version | None) -> None:
    with pytest.raises(Mistake, match=r"Docker Engine .* is too old: the lab needs 20\.10$"):
        check_versions(machine(version))


@pytest.mark.parametrize("version", [(2, 24, 3), (1, 29, 2), None])
def test_an_old_compose_is_refused_with_the_version_it_takes(version: Version | None) -> None:
    with pytest.raises(Mistake, match=r"Docker Compose .* is too old: the lab needs 2\.24\.4$"):
        check_versions(machine(compose=version))


def test_a_version_is_written_with_dots() -> None:
    assert (dotted((26, 1, 5)), dotted(None)) == ("26.1.5", "(none)")


@pytest.mark.usefixtures("programs")
def test_a_user_without_permission_is_told_how_to_get_it() -> None:
    complaint = "permission denied while trying to connect to the Docker daemon socket"
    assert "usermod -aG docker" in str(unreachable(machine(None, complaint=complaint)))


def test_a_docker_host_that_is_silent_is_named(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert programs.is_dir()
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent.sock")
    assert "DOCKER_HOST=unix:///nonexistent.sock does not answer" in str(unreachable(machine(None)))


@pytest.mark.usefixtures("programs")
def test_an_engine_that_answers_or_is_not_there_is_not_out_of_reach() -> None:
    assert unreachable(machine()) is None
    assert unreachable(machine(None, client=False)) is None
    assert unreachable(machine(None, complaint="Cannot connect to the Docker daemon")) is None


def test_the_daemon_is_found_where_the_path_looks(programs: Path) -> None:
    write(programs / "dockerd", "exit 0")
    assert has_daemon()


def test_what_is_missing_is_installed_only_where_it_is_known_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    for release, can in ((("debian", "bookworm"), True), (("debian", "trixie"), True), (("ubuntu", "noble"), True),
                         (("debian", "buster"), False), (("fedora", ""), False), (("", ""), False)):  # fmt: skip
        monkeypatch.setattr(engine, "distribution", lambda release=release: release)
        assert (engine.can_install() is None) == can, release
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert engine.can_install() == "run this as root to have it installed"
