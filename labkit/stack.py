"""The running lab, through `docker compose`: start, state, removal, and a command in a service."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Sequence

from labkit import progress
from labkit.outcome import LabBroken
from labkit.settings import HOSTS, ROOT, Settings

SERVICES = 10
SHAPE = ("WITHOUT", "LAB_ALICE", "LAB_TAG", "NAT_TYPE", *HOSTS)  # where these differ, it is another lab


def compose(settings: Settings, *arguments: str) -> list[str]:
    """Return the `docker compose` command line for this lab."""
    files = [argument for path in settings.files for argument in ("-f", str(path))]
    return ["docker", "compose", "--project-directory", str(ROOT), "-p", settings.project, *files, *arguments]


def start(settings: Settings) -> None:
    """Start all services and return when they are healthy. Raises LabBroken with Docker's last words."""
    done = progress.run(compose(settings, "up", "--detach", "--wait", "--no-build"), "starting", settings.environment())
    if done.returncode != 0:
        raise LabBroken(f"the lab did not start: {progress.last_lines(done.stdout)}")


def running(settings: Settings) -> dict[str, str]:
    """Return {service: state} of the lab's containers; empty when nothing of it is there."""
    listed = _docker("ps", "--all", "--filter", f"label=com.docker.compose.project={settings.project}",
                     "--format", '{{.Label "com.docker.compose.service"}} {{.State}}')  # fmt: skip
    return dict(line.split(" ", 1) for line in listed.splitlines() if " " in line)


def is_up(settings: Settings) -> bool:
    """Say whether the lab stands whole."""
    states = running(settings)
    return len(states) >= SERVICES and set(states.values()) == {"running"}


def shape(settings: Settings) -> dict[str, str]:
    """Return what the running lab was started with: the variables of SHAPE, as its observer has them."""
    found = _docker("ps", "--quiet", "--filter", f"label=com.docker.compose.project={settings.project}",
                    "--filter", "label=com.docker.compose.service=observer").split()  # fmt: skip
    if not found:
        return {}
    listed = json.loads(_docker("inspect", "--format", "{{json .Config.Env}}", found[0]) or "[]")
    values = dict(line.split("=", 1) for line in listed)
    return {name: values.get(name, "") for name in SHAPE}


def remove(settings: Settings) -> bool:
    """Remove every trace: containers, networks, volumes. Returns False when there was none.

    A second Ctrl-C does not stop it half way. Raises LabBroken when something is left.
    """
    there = _has_traces(settings)
    if there:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            done = subprocess.run(
                compose(settings, "down", "--volumes", "--remove-orphans", "--timeout", "2"), check=False,
                env=settings.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                errors="replace", start_new_session=True,
            )  # fmt: skip
            if _has_traces(settings):
                raise LabBroken(f"{settings.project} could not be removed whole: {progress.last_lines(done.stdout)}")
        finally:
            signal.signal(signal.SIGINT, before)
    return there


def _has_traces(settings: Settings) -> bool:
    label = f"label=com.docker.compose.project={settings.project}"
    listings = (("ps", "--all"), ("network", "ls"), ("volume", "ls"))
    return any(_docker(*listing, "--quiet", "--filter", label).strip() for listing in listings)


def ask(settings: Settings, service: str, command: Sequence[str]) -> int:
    """Run a command in a service with its output going to the user; return its exit code."""
    return subprocess.run(
        compose(settings, "exec", "-T", service, *command), env=settings.environment(), check=False,
        stdin=subprocess.DEVNULL,
    ).returncode  # fmt: skip


def output(settings: Settings, *arguments: str) -> bytes:
    """Return what a `docker compose` command prints, errors included; whatever its exit code."""
    return subprocess.run(
        compose(settings, *arguments), env=settings.environment(), check=False, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ).stdout  # fmt: skip


def _docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False).stdout
