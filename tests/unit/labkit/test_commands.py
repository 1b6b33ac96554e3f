"""`./lab` as a user types it, on machines that lack something: one line that says what to do, and exit 2.

Each machine is a PATH of its own, and the user is nobody: whatever goes wrong here, nothing is installed or started.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from labkit.outcome import Exit
from labkit.settings import ROOT
from nat.kinds import PRESETS, parse

NOBODY = 65534
COREUTILS = ("dirname", "id")  # all that the door asks for
SILENT = "echo 'Cannot connect to the Docker daemon at unix:///var/run/docker.sock.' >&2; exit 1"
FORBIDDEN = "echo 'permission denied while trying to connect to the Docker daemon socket' >&2; exit 1"
NO_COMPOSE = """\
case $1 in
version) echo 26.1.5 ;;
buildx) echo github.com/docker/buildx 0.13.1 ;;
*) echo "docker: '$1' is not a docker command." >&2; exit 1 ;;
esac"""
OLD_COMPOSE = "case $1 in version) echo 26.1.5 ;; compose) echo 2.19.1 ;; *) exit 0 ;; esac"
OLD_ENGINE = "case $1 in version) echo 19.03.15 ;; compose) echo 2.26.1 ;; *) exit 0 ;; esac"


class Machine:
    """A PATH with Python and nothing else, and a user who may do nothing in particular."""

    def __init__(self, path: Path, checkout: Path) -> None:
        self._path = path
        self._checkout = checkout
        self.environment = {"PATH": str(path), "PYTHONDONTWRITEBYTECODE": "1"}
        for program in COREUTILS:
            (path / program).symlink_to(str(shutil.which(program)))
        (path / "python3").symlink_to(self._interpreter())

    def has(self, program: str, script: str) -> None:
        """Put a small program on the PATH."""
        (self._path / program).write_text(f"#!/bin/sh\n{script}\n")
        (self._path / program).chmod(0o755)

    def lab(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Type `./lab ARGUMENTS`."""
        return self._run([str(self._checkout / "lab"), *arguments])

    def _interpreter(self) -> str:
        """Return a Python that nobody may run: root's own often lives where only root can read."""
        for candidate in (os.path.realpath(sys.executable), "/usr/bin/python3"):
            probe = [candidate, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
            try:
                if self._run(probe).returncode == 0:
                    return candidate
            except OSError:
                continue
        raise LookupError("no Python 3.11 or later that an unprivileged user may run")

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        nobody: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        return subprocess.run(
            command, env=self.environment, cwd="/", capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL, timeout=30, **nobody,
        )  # fmt: skip


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that everybody may read: not in pytest's own, which nobody but its owner can enter."""
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.fixture(scope="module")
def checkout() -> Iterator[Path]:
    """A copy of the checkout, which may lie where only its owner can enter; compiled, for nobody else may do that."""
    with open_folder() as folder:
        for name in ("lab", "labkit", "nat", "phones", "sipp_scenarios", "topologies", "compose.yaml"):
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, folder / name)
        subprocess.run([sys.executable, "-m", "compileall", "-q", folder], env={}, check=True)
        yield folder


@pytest.fixture
def machine(checkout: Path) -> Iterator[Machine]:
    """A machine without Docker."""
    with open_folder() as folder:
        yield Machine(folder, checkout)


def assert_mistake(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """One line on standard error that bears these words, nothing on standard output, exit 2."""
    assert done.returncode == Exit.USAGE, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("lab: ")
    assert done.stderr.count("\n") == 1, done.stderr
    for word in words:
        assert word in done.stderr


# ── usage ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["no verb", "up, call, report, ladder, nat, nats, experiment, experiments, measure", "./lab help"]),
        (["fly"], ["fly", "./lab help"]),
        (["up", "--fast"], ["--fast", "./lab help"]),
        (["up", "now"], ["now", "./lab help"]),
        (["up", "--without"], ["--without", "./lab help"]),
        (["up", "--without", "rport,magic"], ["--without magic: unknown", "received, rport, contact"]),
        (["up", "--alice", "tin-can"], ["--alice tin-can: unknown", "sipp, baresip"]),
        (["up", "--transport", "ws"], ["LAB_TRANSPORT=ws: unknown", "udp, tcp, tls"]),
        (["up", "--alice", "sipp", "--transport", "tls"], ["--alice sipp", "speaks no TLS"]),
        (["call", "--from", "carol"], ["carol", "alice", "bob"]),
        (["call", "--count", "many"], ["--count", "many"]),
        (["call", "--count", "0"], ["--count 0: must be from 1 to 1000"]),
        (["call", "--count", "-3"], ["--count -3: must be from 1 to 1000"]),
        (["call", "--count", "1001"], ["--count 1001: must be from 1 to 1000"]),
        (["call", "--hangup", "nobody"], ["--hangup", "caller", "callee"]),
        (["down", "--all"], ["--all", "./lab help"]),
        (["up", "--nat", "symetric"], ["--nat symetric: unknown; nearest: symmetric"]),
        (["up", "--nat", "cgnat,hairpin=external"], ["no router is hairpin with layers=2", "nearest: layers=1"]),
        (["up", "--nat", "nowhere.toml"], ["--nat nowhere.toml: No such file"]),
        (["up", "--bob-nat", "cgnat"], ["--bob-nat cgnat", "--topology two-homes only"]),
        (["up", "--topology", "ring", "--nat", "x"], ["--topology ring: unknown; the topologies", "--nat x: unknown"]),
        (["experiment", "rprt"], ["rprt: unknown; nearest: rport"]),
        (["experiment", "rport", "--nat", "hom"], ["--nat hom: what should happen", "presets only; nearest: home"]),
        (["experiment", "rport", "--nat", "lifetime=4"], ["--nat lifetime=4: what should happen is known for presets"]),
        (["experiments", "--remedies", "rport,x"], ["--remedies x: unknown; known: all-on, received"]),
        (["experiments", "--homes", "--nats", "sip-alg"], ["--nats sip-alg: unknown; known: home, port-preserving"]),
        (["experiments", "--homes", "--remedies", "rport"], ["--homes --remedies", "give one of the two"]),
        (["nats", "symetric"], ["nats: symetric: unknown; nearest: symmetric"]),
        (["nats", "home", "cgnat"], ["cgnat", "./lab help"]),
        (["nat", "xyzzy"], ["nat xyzzy: unknown; known: set, lifetime"]),
        (["nat", "rebnd"], ["nat rebnd: unknown; nearest: rebind"]),
        (["nat", "set", "symetric"], ["nat set: symetric: unknown; nearest: symmetric"]),
        (["nat", "--home", "carol", "show"], ["carol", "alice", "bob"]),
    ],
)
def test_what_cannot_be_meant_is_answered_in_one_line(
    machine: Machine, arguments: list[str], words: list[str]
) -> None:
    assert_mistake(machine.lab(*arguments), *words)


def test_help_lists_every_verb_and_what_exit_codes_mean(machine: Machine) -> None:
    done = machine.lab("help")
    assert (done.returncode, done.stderr) == (Exit.PASS, "")
    for word in ("up", "call", "nat", "nats", "measure", "reflector", "down", "test", "doctor", "NAT_TYPE_BOB",
                 "exit codes: 0 pass, 1 the call failed, 2 usage"):  # fmt: skip
        assert word in done.stdout


def test_a_verb_explains_itself(machine: Machine) -> None:
    done = machine.lab("call", "--help")
    assert (done.returncode, done.stderr) == (Exit.PASS, "")
    assert "--count" in done.stdout


def test_nat_without_a_verb_lists_the_verbs(machine: Machine) -> None:
    done = machine.lab("nat")
    assert (done.returncode, done.stderr) == (Exit.PASS, "")
    verbs = [line.split()[2] for line in done.stdout.splitlines()]
    assert verbs == [
        "set", "lifetime", "rebind", "change-ip", "reboot", "flush", "block-udp", "block-audio", "loss", "delay",
        "drop-next", "clear", "show", "rules",
    ]  # fmt: skip


def test_nats_lists_every_kind_though_there_is_nobody_to_ask_for_the_kernel(machine: Machine) -> None:
    done = machine.lab("nats")
    assert (done.returncode, done.stderr) == (Exit.PASS, "")
    listed = [line.split()[0] for line in done.stdout.splitlines() if line.endswith("not asked")]
    assert listed == list(PRESETS)
    assert done.stdout.endswith("Not asked: no image yet (`./lab up` builds it).\n")


def test_nats_with_a_kind_has_every_axis_of_it(machine: Machine) -> None:
    done = machine.lab("nats", "symmetric,lifetime=45")
    assert (done.returncode, done.stderr) == (Exit.PASS, "")
    said = dict(line.split()[:2] for line in done.stdout.splitlines() if line.startswith("  "))
    assert said == {axis: str(value) for axis, value in parse("symmetric,lifetime=45").profile.items()}
    assert "its rules: not asked: no image yet" in done.stdout


def test_a_wrong_setting_is_answered_in_one_line(machine: Machine) -> None:
    machine.environment |= {"HOME_SUBNET": "10.77.0.0/16", "INTERNET_SUBNET": "192.168.1.0/24"}
    assert_mistake(machine.lab("up"), "HOME_SUBNET=10.77.0.0/16", "INTERNET_SUBNET=192.168.1.0/24")


# ── machines that lack something ──────────────────────────────────────────────────────────────────────────────────


def test_no_engine(machine: Machine) -> None:
    assert_mistake(machine.lab("up"), "no Docker engine on this machine", "install Docker Engine 20.10+",
                   "run this as root to have it installed")  # fmt: skip


def test_a_client_without_an_engine_somewhere_else(machine: Machine) -> None:
    machine.has("docker", SILENT)
    machine.environment["DOCKER_HOST"] = "unix:///nonexistent.sock"
    assert_mistake(machine.lab("up"), "DOCKER_HOST=unix:///nonexistent.sock does not answer", "unset DOCKER_HOST")


def test_the_daemon_is_not_running(machine: Machine) -> None:
    machine.has("docker", SILENT)
    machine.has("dockerd", "exit 1")
    assert_mistake(machine.lab("up"), "the Docker daemon is not running", "sudo systemctl start docker")


def test_a_user_who_may_not_talk_to_the_daemon(machine: Machine) -> None:
    machine.has("docker", FORBIDDEN)
    assert_mistake(machine.lab("up"), "this user may not talk to the Docker daemon", "sudo usermod -aG docker")


def test_an_engine_without_compose(machine: Machine) -> None:
    machine.has("docker", NO_COMPOSE)
    assert_mistake(machine.lab("up"), "the Docker engine is here, but Docker Compose v2 is not", "Compose 2.24.4+",
                   "run this as root")  # fmt: skip


def test_a_compose_that_is_too_old(machine: Machine) -> None:
    machine.has("docker", OLD_COMPOSE)
    assert_mistake(machine.lab("up"), "Docker Compose 2.19.1 is too old: the lab needs 2.24.4")


def test_an_engine_that_is_too_old(machine: Machine) -> None:
    machine.has("docker", OLD_ENGINE)
    assert_mistake(machine.lab("up"), "Docker Engine 19.3.15 is too old: the lab needs 20.10")


@pytest.mark.parametrize("docker", [None, SILENT], ids=["no engine", "silent daemon"])
def test_where_no_engine_runs_no_lab_is_up(machine: Machine, docker: str | None) -> None:
    if docker:
        machine.has("docker", docker)
    assert_mistake(machine.lab("call"), "no lab is up", "./lab up")
    assert_mistake(machine.lab("nat", "--home", "bob", "loss", "5"), "no lab is up", "./lab up")
    down = machine.lab("down")
    assert (down.returncode, down.stdout) == (Exit.PASS, "")
    assert down.stderr == "lab: nothing is up: no Docker engine runs here\n"


@pytest.mark.parametrize("words", [["call"], ["down"], ["nat", "show"], ["nats"]])
def test_a_daemon_out_of_reach_may_well_have_a_lab(machine: Machine, words: list[str]) -> None:
    machine.has("docker", FORBIDDEN)
    assert_mistake(machine.lab(*words), "this user may not talk to the Docker daemon")


def test_the_doctor_names_every_lack_with_its_remedy(machine: Machine) -> None:
    done = machine.lab("doctor")
    assert (done.returncode, done.stderr) == (Exit.USAGE, "")
    lines = done.stdout.splitlines()
    for lack in ("✗ no Docker engine", "✗ no Docker Compose v2", "✗ no docker buildx"):
        assert "install it by hand (run this as root" in lines[lines.index(f"  {lack}") + 1]


def test_the_doctor_knows_a_daemon_out_of_reach(machine: Machine) -> None:
    machine.has("docker", FORBIDDEN)
    done = machine.lab("doctor")
    assert done.returncode == Exit.USAGE
    assert "✗ the Docker daemon is silent: permission denied" in done.stdout
    assert "sudo usermod -aG docker" in done.stdout
