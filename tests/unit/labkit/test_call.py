"""`./lab call` in a lab that is not whole: one of which a part has died is broken; one that is starting is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from labkit import settings
from labkit.call import LEAST_AUDIO_S, MOST_AUDIO_S, cannot_happen, fallen
from observer import audio, sound

DOCKER = """\
#!/bin/sh
case $1 in
ps) printf '%s\\n' {states} ;;
exec) echo '{kind}: mapping none' ;;
compose)
    echo 'level=warning msg="the attribute version is obsolete"' >&2
    printf '%s\\n' nat bob proxy ;;
esac
"""


@pytest.mark.parametrize(
    ("states", "died"),
    [
        (["nat running", "bob running", "proxy running"], []),
        (["nat exited", "bob running", "proxy running"], ["nat is exited"]),
        (["nat running", "bob paused", "proxy running"], ["bob is paused"]),
        (["bob running", "proxy running"], ["nat is gone"]),
        (["nat exited", "bob running", "proxy created"], []),  # somebody else is starting it just now
        (["nat exited", "bob exited", "proxy exited"], []),  # `docker compose stop`
        ([], []),
    ],
)
def test_what_has_died_of_a_lab(
    states: list[str], died: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_docker(tmp_path, monkeypatch, states=" ".join(f"'{state}'" for state in states))
    assert fallen(settings.load()) == died


def put_docker(folder: Path, monkeypatch: pytest.MonkeyPatch, states: str = "", kind: str = "home") -> None:
    """Put a `docker` on the PATH whose containers are in these states; Alice's router is of this kind."""
    docker = folder / "docker"
    docker.write_text(DOCKER.format(states=states, kind=kind))
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


@pytest.mark.parametrize(
    ("event", "kind", "why"),
    [
        ("rebind", "one-to-one", "a router of kind one-to-one gives no ports, and remembers nothing"),
        ("change-ip", "none", "a router of kind none leaves each phone a public address of its own"),
        ("reboot", "none", ""),
        ("rebind", "symmetric,lifetime=9", ""),
        ("rebind", "Error response from daemon", ""),
    ],
)
def test_what_cannot_happen_to_the_router_as_it_is_now(
    event: str, kind: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_docker(tmp_path, monkeypatch, kind=kind)
    assert cannot_happen(settings.load(), event).startswith(why)
    assert bool(cannot_happen(settings.load(), event)) == bool(why)


def test_what_can_be_asked_for_is_what_phones_play_and_the_judge_listens_to() -> None:
    assert LEAST_AUDIO_S == sound.SECONDS
    assert MOST_AUDIO_S == audio.MOST_S
