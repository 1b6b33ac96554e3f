"""What the end-to-end tests do with a lab: place calls, read the run's folder, type commands."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from labkit import call, evidence, images, settings, stack

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = Path(__file__).with_name("scripts")
COMMAND_S = 180
REPEATED_S = 0.45  # T1, but for what a clock is late
UNSUPPORTED = 127  # what natctl says to what this kernel cannot do
EVIDENCE = {"containers.log", "containers.txt", "nat.txt", "core.txt", "repeat.txt", "sipp", "proxy.pcap"}

RUN = os.environ.get("LABTEST_RUN", str(os.getpid()))  # who is interrupted finds the labs of all processes by it
# The labs that tests bring up lie in 198.18.0.0/15, which is for tests (RFC 2544), a /24 each.
PLACES = range(512)
_places: dict[str, int] = {}  # of this process's labs


def place(name: str) -> int:
    """Return the number of the place that this process's lab of this name has: no other process has it meanwhile.

    It is claimed as long as this process lives. Raises RuntimeError when all are taken.
    """
    if name not in _places:
        _places[name] = _claim()
    return _places[name]


def _claim() -> int:
    first = os.getpid()  # what a run that was killed has left is in the way of few others
    for step in range(len(PLACES)):
        number = PLACES[(first + step) % len(PLACES)]
        holder = socket.socket(socket.AF_UNIX)
        try:
            holder.bind(f"\0labtest-place-{number}")  # no file: the kernel's own list of names, abstract in unix(7)
        except OSError:
            holder.close()
        else:
            holder.detach()  # open until this process ends, however it ends
            return number
    raise RuntimeError(f"all {len(PLACES)} places for labs are taken by test runs on this machine")


def subnets(name: str) -> dict[str, str]:
    """Return project and subnets for the lab of this name: no other lab of any test run on this machine meets them."""
    number = place(name)
    chosen = {
        "LAB_PROJECT": f"labtest-{RUN}-{number}",
        "HOME_SUBNET": f"10.{128 + number // 256}.{number % 256}.0/24",
        "BOB_HOME_SUBNET": f"10.{130 + number // 256}.{number % 256}.0/24",
        "INTERNET_SUBNET": f"198.{18 + number // 256}.{number % 256}.0/24",
    }
    for variable, (subnet, octet) in settings.HOSTS.items():  # all of them: .env may name some
        chosen[variable] = chosen[subnet].replace(".0/24", f".{octet}")
    return chosen


@dataclass(slots=True)
class Run:
    """A run's folder, read."""

    code: int
    folder: Path

    @property
    def verdict(self) -> str:
        """pass, fail or lab-broken."""
        return str(self._json("verdict.json")["verdict"])

    @property
    def checks(self) -> dict[str, str]:
        """Results by name."""
        return {check["name"]: check["result"] for check in self._json("verdict.json")["checks"]}

    @property
    def failed(self) -> set[str]:
        """The names of the checks that did not pass."""
        return {name for name, result in self.checks.items() if result != "pass"}

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The sightings of story.json."""
        return list(self._json("story.json")["messages"])

    @property
    def facts(self) -> dict[str, str]:
        """What happened, in words, by the code of the fact; of several with one code, the first."""
        told = reversed(self._json("verdict.json")["facts"])
        return {fact["code"]: fact["text"] for fact in told}

    def explain(self) -> str:
        """The evidence of the checks that did not pass, for an assertion's message."""
        wrong = [check for check in self._json("verdict.json")["checks"] if check["result"] != "pass"]
        return "\n".join(f"{check['name']}: {check['result']}: {check['evidence']}" for check in wrong)

    def _json(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / name).read_text(encoding="utf-8"))
        return found


def once(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return sightings without those of what was said again after half a second (RFC 3261 §17), because a machine was
    busy: each is the first of its kind at its place. What is doubled at once stays."""
    first: dict[tuple[str, ...], float] = {}
    kept = []
    for row in rows:
        place = row["tap"], row["source"], row["destination"], row["first_line"], *row["headers"]
        if row["time"] - first.setdefault(place, row["time"]) < REPEATED_S:
            kept.append(row)
    return kept


@dataclass(slots=True)
class Lab:
    """A lab that is up."""

    settings: settings.Settings
    again: Sequence[str]  # the verb with the options that repeats a run

    def call(self, *arguments: str) -> Run:
        """Place calls as `./lab call` does, and return the run."""
        return Run(*call.place(self.settings, arguments, self.again))

    def execute(self, service: str, *command: str, stdin: str = "") -> str:
        """Run a command in a service and return what it prints. Raises CalledProcessError."""
        return subprocess.run(
            stack.inside(self.settings, service, *command), input=stdin, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip

    def script(self, service: str, name: str, *arguments: str) -> str:
        """Run a Python script of tests/e2e/scripts in a service and return what it prints."""
        text = (SCRIPTS / f"{name}.py").read_text(encoding="utf-8")
        return self.execute(service, "env", "PYTHONPATH=/srv", "python3", "-", *arguments, stdin=text)

    def become(self, kind: str) -> None:
        """Make Alice's router one of another kind, and have it measured from every home behind it. The phones leave.

        Skips the test where this kernel cannot do it. Raises CalledProcessError when it is not what it claims to be.
        """
        pods = "alice-home,bob-home" if self.settings.values["LAB_TOPOLOGY"] == "same-home" else "alice-home"
        try:
            self.script("bob", "become", kind, pods)
        except subprocess.CalledProcessError as error:
            if error.returncode == UNSUPPORTED:
                pytest.skip(f"unsupported: {error.stderr.strip()}")
            raise

    def register(self, *names: str) -> None:
        """Have these phones register now: by a router that has forgotten them, for example."""
        self.script("bob", "register", *names)

    def restore(self) -> None:
        """Make Alice's router what the lab was started with: kind, public address, ports; the phones are registered."""
        self.script("bob", "original", self.settings.values["NAT_WAN_IP"])
        self.become(self.settings.values["NAT_TYPE"])
        self.register("alice", "bob")

    def container(self, service: str) -> str:
        """Return the id of a service's container."""
        return stack.output(self.settings, "ps", "--quiet", service).decode().strip()


@contextmanager
def standing(name: str, variables: Mapping[str, str] = MappingProxyType({}), **options: str) -> Iterator[Lab]:
    """A lab of its own, up without calls, and removed afterwards.

    `variables` are what a user would set for it, `options` as settings.load takes them. Nobody else's lab sees them.
    """
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in {**subnets(name), **variables}.items():
            patch.setenv(variable, value)
        found = settings.load(**options)
        images.ensure(found)
    found.values |= variables
    try:
        stack.start(found)
        yield Lab(found, ["test", "tests/e2e"])
    finally:
        stack.remove(found)


class Command:
    """`./lab`, typed by a user in a project of its own."""

    def __init__(self, name: str) -> None:
        owned = {
            *settings.DEFAULTS, *settings.HOSTS, "WITHOUT", "ALICE_DOES", "LAB_ALICE", "LAB_BOB", "LAB_TAG", "NAT_TYPE",
            "LAB_TRANSPORT", "LAB_BOB_TRANSPORT", "LAB_TOPOLOGY", "NAT_TYPE_BOB", "BOB_HOME_SUBNET",
        }  # fmt: skip
        self.environment = {name: value for name, value in os.environ.items() if name not in owned}
        self.environment |= subnets(name) | {settings.PAGE_PORT: "0"}  # a test that wants the page names a port
        self.name = name

    @property
    def project(self) -> str:
        """The project's name."""
        return self.environment["LAB_PROJECT"]

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            [str(ROOT / "lab"), *arguments], env={**self.environment, **variables}, cwd=ROOT,
            capture_output=True, text=True, check=False, timeout=COMMAND_S, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def read(self, done: subprocess.CompletedProcess[str]) -> Run:
        """Return the run whose folder a command named."""
        found = re.search(r"(?:verdict|evidence) in (\S+)$", done.stderr, re.MULTILINE)
        assert found, done.stderr
        return Run(done.returncode, Path(found[1]))

    def evidence(self) -> Path | None:
        """Leave in out/ what explains this project's state; None where nothing of it stands."""
        if not self.traces():
            return None
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            return evidence.collect(settings.load(), ["test"])

    def traces(self) -> str:
        """Return what Docker still has of the project: containers, networks, volumes."""
        label = f"label=com.docker.compose.project={self.project}"
        listings = (["ps", "--all"], ["network", "ls"], ["volume", "ls"])
        return "".join(docker(*listing, "--quiet", "--filter", label) for listing in listings)


def docker(*arguments: str, stdin: str = "") -> str:
    """Run a docker command and return what it prints. Raises CalledProcessError, with what docker complains of."""
    try:
        return subprocess.run(["docker", *arguments], input=stdin, capture_output=True, text=True, check=True).stdout
    except subprocess.CalledProcessError as error:
        error.add_note(error.stderr)
        raise
