"""The running lab, through `docker compose`: start, state, removal, and a command in a service."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Sequence

from labkit import progress
from labkit.outcome import LabBroken, Mistake
from labkit.settings import ROOT, Settings

PROJECT = "com.docker.compose.project"  # the label of all that belongs to one
SERVICES = 12  # of compose.yaml
REMOVALS = 3  # what the engine was creating when `up` was interrupted may appear after the first


def compose(settings: Settings, *arguments: str) -> list[str]:
    """Return the `docker compose` command line for this lab."""
    files = [argument for path in settings.layers for argument in ("-f", str(path))]
    return ["docker", "compose", "--project-directory", str(ROOT), "-p", settings.project, *files, *arguments]


def inside(settings: Settings, service: str, *command: str) -> list[str]:
    """Return the command line of a command in a service. (`docker compose exec` takes twice as long to do it.)"""
    return ["docker", "exec", "--interactive", f"{settings.project}-{service}-1", *command]


def start(settings: Settings) -> None:
    """Start all services, each when those it depends on are healthy. Raises LabBroken with Docker's last words.

    Alice's phone, which nobody depends on, is waited for by who asks her to call.
    """
    done = progress.run(compose(settings, "up", "--detach", "--no-build"), "starting", settings.environment())
    if done.returncode != 0:
        raise LabBroken(f"the lab did not start: {progress.last_lines(done.stdout)}")


def renew(settings: Settings, *services: str) -> None:
    """Have other containers for these services, with the settings as they are now. Raises LabBroken.

    Whoever shares a network namespace with one of them has to be among them.
    """
    up = ("up", "--detach", "--wait", "--no-build", "--no-deps", "--timeout", "1", *services)
    done = progress.run(compose(settings, *up), "starting", settings.environment())
    if done.returncode != 0:
        raise LabBroken(f"{', '.join(services)} did not start anew: {progress.last_lines(done.stdout)}")


def running(settings: Settings) -> dict[str, str]:
    """Return {service: state} of the lab's containers; empty when nothing of it is there."""
    listed = _docker("ps", "--all", "--filter", f"label=com.docker.compose.project={settings.project}",
                     "--format", '{{.Label "com.docker.compose.service"}} {{.State}}')  # fmt: skip
    return dict(line.split(" ", 1) for line in listed.splitlines() if " " in line)


def is_up(settings: Settings) -> bool:
    """Say whether the lab stands whole."""
    states = running(settings)
    return len(states) >= SERVICES and set(states.values()) == {"running"}


def started_with(settings: Settings) -> dict[str, str]:
    """Return the variables of the running lab's observer: LAB_ALICE, LAB_CONFIG and others; empty when none runs."""
    found = _docker("ps", "--quiet", *_of(settings), "--filter", "label=com.docker.compose.service=observer").split()
    listed = json.loads(_docker("inspect", "--format", "{{json .Config.Env}}", found[0]) or "[]") if found else []
    return {name: value for name, _, value in (str(line).partition("=") for line in listed)}


def fingerprint(settings: Settings) -> str:
    """Return what stands for all that compose would start with these settings, overlays and `.env` included."""
    hashes = config(Settings({**settings.values, "LAB_CONFIG": ""}, settings.files), "--hash", "*")
    return hashlib.sha256(hashes.encode()).hexdigest()[:12]


def config(settings: Settings, *what: str) -> str:
    """Return what compose says of its files, without its warnings. Raises Mistake when it cannot read them."""
    done = subprocess.run(
        compose(settings, "config", *what), env=settings.environment(), check=False, stdin=subprocess.DEVNULL,
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode != 0:
        raise Mistake(f"{', '.join(map(str, settings.files))}: {progress.last_lines(done.stderr)}")
    return done.stdout


def _of(settings: Settings) -> tuple[str, str]:
    return "--filter", f"label={PROJECT}={settings.project}"


def remove(settings: Settings) -> bool:
    """Remove every trace: containers, networks, volumes. Returns False when there was none.

    A second Ctrl-C does not stop it half way. Raises LabBroken when something is left.
    """
    there = _has_traces(settings)
    if there:
        down = ("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "2")  # the page too
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            for _ in range(REMOVALS):
                done = subprocess.run(
                    compose(settings, *down), check=False,
                    env=settings.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                    errors="replace", start_new_session=True,
                )  # fmt: skip
                # A lab of another topology has networks that are in none of these files.
                for network in _docker("network", "ls", "--quiet", *_of(settings)).split():
                    _docker("network", "rm", network)
                if not _has_traces(settings):
                    break
            else:
                raise LabBroken(f"{settings.project} could not be removed whole: {progress.last_lines(done.stdout)}")
        finally:
            signal.signal(signal.SIGINT, before)
    return there


def remove_all(beginning: str) -> None:
    """Remove every trace of the projects whose names begin like that."""
    for kind, removal in (
        (("ps", "--all"), ("rm", "--force", "--volumes")),
        (("network", "ls"), ("network", "rm")),
        (("volume", "ls"), ("volume", "rm")),
    ):
        named = _docker(*kind, "--filter", f"label={PROJECT}", "--format", f'{{{{.Label "{PROJECT}"}}}}')
        for project in sorted(set(named.split())):
            if project.startswith(beginning):
                _docker(*removal, *_docker(*kind, "--quiet", "--filter", f"label={PROJECT}={project}").split())


def _has_traces(settings: Settings) -> bool:
    label = f"label={PROJECT}={settings.project}"
    listings = (("ps", "--all"), ("network", "ls"), ("volume", "ls"))
    return any(_docker(*listing, "--quiet", "--filter", label).strip() for listing in listings)


def ask(settings: Settings, service: str, command: Sequence[str]) -> int:
    """Run a command in a service with its output going to the user; return its exit code.

    `docker exec` forwards no signal, but the end of its stdin: with STDIN_HELD the command has one that ends with us.
    """
    heard, held = os.pipe()
    try:
        return subprocess.run(
            inside(settings, service, "env", "STDIN_HELD=1", *command), check=False, stdin=heard
        ).returncode  # fmt: skip
    finally:
        os.close(heard)
        os.close(held)


def output(settings: Settings, *arguments: str) -> bytes:
    """Return what a `docker compose` command prints, errors included; whatever its exit code."""
    return subprocess.run(
        compose(settings, *arguments), env=settings.environment(), check=False, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ).stdout  # fmt: skip


def told(settings: Settings, service: str, *command: str) -> bytes:
    """Return what a command in a service prints, errors included; whatever its exit code."""
    return subprocess.run(
        inside(settings, service, *command), check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ).stdout  # fmt: skip


def _docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False).stdout
