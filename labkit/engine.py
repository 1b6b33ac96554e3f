"""The Docker engine: what this machine has, and getting what it lacks.

Supported are Engine 20.10 or later and Compose 2.24.4 or later. On Debian and Ubuntu, as root, the missing parts are
installed from the distribution's packages; elsewhere the user gets one line that names what is missing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from labkit import progress
from labkit.outcome import Mistake, say

ENGINE_AT_LEAST = (20, 10)
COMPOSE_AT_LEAST = (2, 24, 4)  # `!reset`, by which an overlay takes a network away
DAEMON_START_S = 60  # a cold start on two busy cores took 4 s
DAEMON_LOG = Path("/var/log/dockerd.log")

# Part -> package. Only what is missing is asked for: Debian 13's docker-cli would push Debian 12's engine out.
DEBIAN_PACKAGES = {
    "engine": "docker.io", "client": "docker-cli", "compose": "docker-compose", "buildx": "docker-buildx",
}  # fmt: skip
UBUNTU_PACKAGES = {"engine": "docker.io", "compose": "docker-compose-v2", "buildx": "docker-buildx"}
ENGINE_PARTS = ("engine", "client", "compose", "buildx")
DEBIAN_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

Version = tuple[int, ...]


@dataclass(slots=True)
class Machine:
    """What `docker` on this machine says of itself; a version is None where a part is missing, silent, or not asked."""

    client: bool  # there is a `docker` on the PATH
    engine: Version | None  # the daemon's version: proof that it answers
    complaint: str  # what the client said when the daemon did not answer
    compose: Version | None
    buildx: bool


def examine() -> Machine:
    """Ask the daemon and the plugins; a `docker` on the PATH proves nothing."""
    machine = examine_daemon()
    if machine.client:
        questions = (["docker", "compose", "version", "--short"], ["docker", "buildx", "version"])
        with ThreadPoolExecutor() as pool:  # each is a program that takes its time to start
            compose, buildx = pool.map(_run, questions)
        machine.compose = _version(compose.stdout) if compose.returncode == 0 else None
        machine.buildx = buildx.returncode == 0
    return machine


def examine_daemon() -> Machine:
    """Ask the daemon alone, which takes a tenth of the time."""
    if shutil.which("docker") is None:
        return Machine(client=False, engine=None, complaint="", compose=None, buildx=False)
    engine = _run(["docker", "version", "--format", "{{.Server.Version}}"])
    return Machine(
        client=True,
        engine=_version(engine.stdout) if engine.returncode == 0 else None,
        complaint=(engine.stderr.strip().splitlines() or [""])[-1],
        compose=None,
        buildx=False,
    )


def unreachable(machine: Machine) -> str | None:
    """Return why this user does not reach a daemon that may well run, with the remedy; None where nothing says so."""
    if machine.engine is not None or not machine.client:
        return None
    if os.environ.get("DOCKER_HOST"):
        where = os.environ["DOCKER_HOST"]
        return f"the Docker daemon at DOCKER_HOST={where} does not answer: start it, or unset DOCKER_HOST"
    if "permission denied" in machine.complaint.lower():
        return (
            "this user may not talk to the Docker daemon: run as root, "
            "or `sudo usermod -aG docker $USER` and log in again"
        )
    return None


def is_running() -> bool:
    """Say whether a daemon answers, without installing or starting anything. Raises Mistake for one out of reach."""
    return _reach(examine_daemon()).engine is not None


def _reach(machine: Machine) -> Machine:
    obstacle = unreachable(machine)
    if obstacle is not None:
        raise Mistake(obstacle)
    return machine


def has_daemon() -> bool:
    """Say whether the daemon's program is installed: Debian has it where only root's PATH looks."""
    return shutil.which("dockerd", path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin") is not None


def ensure() -> Machine:
    """Return a machine that can run the lab, installing and starting what is missing where that is possible.

    Raises Mistake, with the remedy, where it is not.
    """
    machine = _reach(examine())
    if machine.engine is None:
        if not machine.client or not has_daemon():
            _install("no Docker engine on this machine", ENGINE_PARTS)
            machine = examine()
        if machine.engine is None:
            start_daemon()
            machine = examine()
    missing = []
    if machine.compose is None:
        missing.append("compose")
    if not machine.buildx:
        missing.append("buildx")
    if missing:
        name = "Docker Compose v2" if "compose" in missing else "docker buildx"
        _install(f"the Docker engine is here, but {name} is not", missing)
        machine = examine()
    return check_versions(machine)


def check_versions(machine: Machine) -> Machine:
    """Return the machine if its versions are supported; raise Mistake otherwise."""
    if machine.engine is None or machine.engine < ENGINE_AT_LEAST:
        raise Mistake(f"Docker Engine {dotted(machine.engine)} is too old: the lab needs {dotted(ENGINE_AT_LEAST)}")
    if machine.compose is None or machine.compose < COMPOSE_AT_LEAST:
        raise Mistake(f"Docker Compose {dotted(machine.compose)} is too old: the lab needs {dotted(COMPOSE_AT_LEAST)}")
    return machine


def dotted(version: Version | None) -> str:
    """Return 26.1.5 for (26, 1, 5)."""
    return ".".join(map(str, version)) if version else "(none)"


def start_daemon() -> None:
    """Start dockerd, by systemd where that runs the machine, and wait until it answers. Raises Mistake."""
    if os.geteuid() != 0:
        raise Mistake("the Docker daemon is not running: `sudo systemctl start docker`, then type the command again")
    say("starting the Docker daemon")
    if Path("/run/systemd/system").is_dir():
        started = _run(["systemctl", "start", "docker"])
        if started.returncode != 0:
            raise Mistake(f"systemd could not start Docker: {started.stderr.strip()}; see `journalctl -u docker`")
        alive: Callable[[], bool] = lambda: True  # noqa: E731  (systemd tells by its exit code)
    else:
        with DAEMON_LOG.open("ab") as log:
            daemon = subprocess.Popen(
                ["dockerd"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        alive = lambda: daemon.poll() is None  # noqa: E731
    deadline = time.monotonic() + DAEMON_START_S
    while examine_daemon().engine is None:
        if not alive() or time.monotonic() > deadline:
            last = DAEMON_LOG.read_text(errors="replace").strip().splitlines()[-1:] if DAEMON_LOG.exists() else []
            raise Mistake(f"the Docker daemon did not start; {DAEMON_LOG} ends: {' '.join(last)}")
        time.sleep(0.2)  # pacing of a poll, with a deadline


def distribution() -> tuple[str, str]:
    """Return (ID, VERSION_CODENAME) from os-release, e.g. ("debian", "bookworm")."""
    release: dict[str, str] = {}
    for path in (Path("/etc/os-release"), Path("/usr/lib/os-release")):
        if path.exists():
            for line in path.read_text().splitlines():
                key, _, value = line.partition("=")
                release[key] = value.strip('"')
            break
    return release.get("ID", ""), release.get("VERSION_CODENAME", "")


def can_install() -> str | None:
    """Return why this machine's packages cannot be installed from here, or None when they can."""
    if os.geteuid() != 0:
        return "run this as root to have it installed"
    identity, codename = distribution()
    if (identity, codename) in {("debian", "bookworm"), ("debian", "trixie")} or identity == "ubuntu":
        return None
    return f"automatic installation knows Debian 12 and 13 and Ubuntu, not {identity or 'this system'} {codename}"


def apt_install(packages: Sequence[str]) -> None:
    """Install Debian packages without recommendations, removing nothing; raise Mistake with apt's own last word."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "--no-remove", *packages],
    ):
        done = progress.run(command, f"apt-get {command[1]}", environment)
        if done.returncode != 0:
            raise Mistake(f"`{' '.join(command)}` failed: {progress.last_lines(done.stdout, 1) or 'no reason given'}")


def install_package(package: str, problem: str) -> None:
    """Install one package that has the same name everywhere; raise Mistake where that cannot be done from here."""
    obstacle = can_install()
    if obstacle is not None:
        raise Mistake(f"{problem}: install the package {package} ({obstacle})")
    say(f"{problem}: installing it from the distribution's packages")
    apt_install([package])


def debian_source() -> str | None:
    """Return the URI of the Debian archive that this machine's own package source names, or None."""
    listing = _run(["apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages"])
    for line in listing.stdout.splitlines():
        codename, _, uri = line.partition(" ")
        if codename in {"bookworm", "trixie"}:
            return uri.rstrip("/")
    return None


def packages_for(parts: Sequence[str], identity: str, codename: str) -> tuple[str, ...]:
    """Return the packages of these parts; Debian 12 takes them from Debian 13."""
    known = UBUNTU_PACKAGES if identity == "ubuntu" else DEBIAN_PACKAGES
    suite = "/trixie" if codename == "bookworm" else ""
    return tuple(f"{known[part]}{suite}" for part in parts if part in known)


def _install(problem: str, parts: Sequence[str]) -> None:
    obstacle = can_install()
    if obstacle is not None:
        raise Mistake(f"{problem}: install Docker Engine 20.10+ with Compose 2.24.4+ and buildx ({obstacle})")
    identity, codename = distribution()
    packages = packages_for(parts, identity, codename)
    say(f"{problem}: installing {', '.join(packages)} from the distribution's packages")
    if codename == "bookworm":
        _offer_trixie()
    apt_install(packages)


def _offer_trixie() -> None:
    """Let Debian 12 take single packages from Debian 13: it has no Compose v2 of its own.

    The suite is pinned low, so nothing that is not asked for comes from there.
    """
    uri = debian_source()
    if uri is None:
        raise Mistake("no Debian package source is configured here: add one to /etc/apt/sources.list.d")
    Path("/etc/apt/preferences.d/sip-nat-lab").write_text(
        "Package: *\nPin: release n=trixie\nPin-Priority: 100\n"
    )
    Path("/etc/apt/sources.list.d/sip-nat-lab.sources").write_text(
        f"Types: deb\nURIs: {uri}\nSuites: trixie\nComponents: main\nSigned-By: {DEBIAN_KEYRING}\n"
    )


def _version(text: str) -> Version | None:
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part) for part in found.groups() if part) if found else None


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
