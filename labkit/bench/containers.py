"""The benchmark's containers: a pod that holds network and SIPp, and the system that is measured beside it in the pod.

The pod has loopback and nothing else: no packet can leave. All containers of one benchmark bear its project's label,
and are removed at its end, whatever that is.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from labkit import progress
from labkit.bench import accounting
from labkit.bench.accounting import Account
from labkit.outcome import LabBroken, Mistake
from labkit.settings import ROOT

LABEL = "sip-nat-lab.bench"
SCENARIOS = ROOT / "tests" / "bench"
SYSTEM_CPU, LOAD_CPU = "0", "1"  # what is measured, and what measures
BOTH = f"{SYSTEM_CPU},{LOAD_CPU}"
REMOVALS = 3  # what the engine was creating when we were interrupted may appear after the first
HARDENED = (
    "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
    "--log-driver", "json-file", "--log-opt", "max-size=10m", "--log-opt", "max-file=2",
)  # fmt: skip


@dataclass(slots=True, frozen=True)
class Program:
    """What a container runs: image, command, variables, volumes (a source and its place, or a place).

    `port`: where it listens as soon as it serves.
    """

    image: str
    command: Sequence[str]
    variables: Mapping[str, str]
    volumes: Sequence[str] = ()
    port: int = 5060


@dataclass(slots=True, frozen=True)
class Standing:
    """A system that serves, and the pod from which it is called."""

    name: str
    pod: str
    account: Account | None  # None where SIPp calls SIPp and there is no system


def need_two_processors() -> None:
    """Raises Mistake on a machine with one: what measures would take its time from what is measured."""
    count = docker("info", "--format", "{{.NCPU}}").stdout.strip()
    if not count.isdigit() or int(count) < 2:
        raise Mistake(f"bench: needs two processors, and the Docker engine has {count or 'none'}")


@contextmanager
def removed_afterwards(project: str) -> Iterator[None]:
    """Remove what an earlier run of this project left, and at the end what this one has. Raises LabBroken."""
    remove(project)
    try:
        yield
    finally:
        remove(project)


def remove(project: str) -> None:
    """Remove every container of this project's benchmark, and its volumes; a Ctrl-C does not stop it half way."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for _ in range(REMOVALS):
            left = docker("ps", "--all", "--quiet", "--filter", f"label={LABEL}={project}").stdout.split()
            if not left:
                return
            subprocess.run(
                ["docker", "rm", "--force", "--volumes", *left], check=False, capture_output=True,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def pod(project: str, name: str, image: str, cpus: str, *volumes: str) -> Iterator[str]:
    """A pod, removed afterwards with what was started in it."""
    title = f"{project}-bench-{name}-pod"
    start(project, title, Program(image, ["sleep", "infinity"], {}, [f"{SCENARIOS}:/bench:ro", *volumes]),
          "--network", "none", "--init", "--cpuset-cpus", cpus)  # fmt: skip
    try:
        yield title
    finally:
        docker("rm", "--force", "--volumes", title)


@contextmanager
def serving(project: str, name: str, program: Program, inside: str, cpus: str, transport: str) -> Iterator[Standing]:
    """A system that serves in a pod, removed afterwards. Raises LabBroken with its last words."""
    title = f"{project}-bench-{name}"
    start(project, title, program, "--network", f"container:{inside}", "--cpuset-cpus", cpus)
    try:
        listening = docker("exec", inside, "python3", "/bench/sipp.py", "await", str(program.port), transport)
        if listening.returncode != 0:
            said = docker("logs", "--tail", "5", title)
            words = progress.last_lines(said.stdout + said.stderr) or "no reason given"
            raise LabBroken(f"{name} does not serve: {words}")
        yield Standing(name, inside, account(title))
    finally:
        docker("rm", "--force", "--volumes", title)


def account(container: str) -> Account:
    """Return where the use of a running container is read. Raises Mistake."""
    found = json.loads(docker("inspect", "--format", '{"id":"{{.Id}}","pid":{{.State.Pid}}}', container).stdout)
    return accounting.of(found["id"], found["pid"])


def start(project: str, title: str, program: Program, *options: str) -> None:
    """Start a container that nothing can be written to but its volumes. Raises LabBroken."""
    variables = [argument for name, value in program.variables.items() for argument in ("--env", f"{name}={value}")]
    volumes = [argument for volume in program.volumes for argument in ("--volume", volume)]
    done = docker(
        "run", "--detach", "--name", title, "--label", f"{LABEL}={project}", *HARDENED, *options, *variables, *volumes,
        program.image, *program.command,
    )  # fmt: skip
    if done.returncode != 0:
        raise LabBroken(f"{title} did not start: {progress.last_lines(done.stderr)}")


def docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a docker command to its end."""
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
