"""The two commands and their sisters, as a user types them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from labkit import stack
from labkit.images import ensure
from labkit.outcome import Exit
from labkit.settings import HOSTS, ROOT, load
from labkit.subnets import ROUTES, host_routes
from tests.e2e.lab import EVIDENCE, Command, docker, subnets

pytestmark = pytest.mark.e2e

SOON_S = 120  # a call, and what another one takes to end: not a thousand of them, which take minutes


@pytest.fixture(scope="module")
def standing() -> Iterator[Command]:
    """`./lab`, typed in one project by tests that each begin with `up`, whatever stands there."""
    typed = Command("standing")
    yield typed
    typed.run("down")


def test_up_without_a_remedy_fails_and_leaves_its_evidence_and_the_lab(standing: Command) -> None:
    done = standing.run("up", "--without", "record_route")
    assert done.returncode == Exit.FAIL, done.stdout + done.stderr
    run = standing.read(done)
    assert run.verdict == "fail"
    assert {"record-route", "in-dialog-through-proxy"} <= run.failed, run.explain()
    assert {"nat-kind", "no-leak"}.isdisjoint(run.failed), run.explain()
    assert "verdict: FAIL" in done.stdout
    assert {path.name for path in run.folder.iterdir()} >= EVIDENCE
    repeat = (run.folder / "repeat.txt").read_text(encoding="utf-8")
    assert repeat.endswith("./lab up --without record_route\n")
    assert f"LAB_PROJECT={standing.project}" in repeat
    assert "MASQUERADE" in (run.folder / "nat.txt").read_text(encoding="utf-8")
    assert "SIP proxy without record_route" in (run.folder / "containers.log").read_text(encoding="utf-8")


def test_up_heals_a_lab_without_a_remedy_and_then_up_call_down(standing: Command) -> None:
    """The remedy is back because the lab is another one: `up` starts it anew."""
    first = standing.run("up")
    assert first.returncode == Exit.PASS, first.stdout + first.stderr
    assert "verdict: PASS" in first.stdout
    assert "── INVITE bob ─" in first.stdout

    label = f"label=com.docker.compose.project={standing.project}"
    before = docker("ps", "--quiet", "--filter", label)
    again = standing.run("up")
    assert again.returncode == Exit.PASS, again.stdout + again.stderr
    assert docker("ps", "--quiet", "--filter", label) == before, "up while up must not start anything anew"

    called = standing.run("call", "--from", "bob", "--count", "3")
    assert called.returncode == Exit.PASS, called.stdout + called.stderr
    assert "bob → alice × 3" in called.stdout

    runs = ("exec", f"{standing.project}-observer-1", "ls", "/lab/runs")
    placed = docker(*runs)
    interrupt(standing, "call", "--count", "1000", when=lambda: docker(*runs) != placed)
    began = time.monotonic()
    after = standing.run("call", "--from", "alice")
    assert after.returncode == Exit.PASS, after.stdout + after.stderr
    assert time.monotonic() - began < SOON_S, "the calls of one who has gone go on"

    down = standing.run("down")
    assert down.returncode == Exit.PASS
    assert standing.traces() == ""

    nothing = standing.run("down")
    assert (nothing.returncode, nothing.stderr) == (Exit.PASS, "lab: nothing is up\n")
    call = standing.run("call")
    assert (call.returncode, call.stderr) == (Exit.USAGE, "lab: no lab is up: `./lab up` starts one\n")


def test_two_homes_and_what_happens_to_their_routers(command: Command) -> None:
    up = command.run("up", "--topology", "two-homes", "--nat", "port-preserving", "--bob-nat", "symmetric")
    assert up.returncode == Exit.PASS, up.stdout + up.stderr
    assert re.search(r"✓ nat-kind .*port-preserving: .*; .*symmetric: ", up.stdout), up.stdout

    became = command.run("nat", "--home", "bob", "set", "home,lifetime=40")
    assert became.returncode == Exit.PASS, became.stdout + became.stderr
    shown = {home: command.run("nat", "--home", home, "show").stdout.partition(": ")[0] for home in ("alice", "bob")}
    assert shown == {"alice": "port-preserving", "bob": "home,lifetime=40"}
    called = command.run("call", "--from", "alice", "--register", "bob")
    assert called.returncode == Exit.PASS, called.stdout + called.stderr

    assert command.run("nat", "block-udp").returncode == Exit.PASS
    worse = command.run("nat", "set", "symmetric")
    assert worse.returncode == Exit.USAGE
    assert "set: UDP is blocked: no router is measured so; `clear` first" in worse.stderr
    assert command.run("nat", "clear").returncode == Exit.PASS
    assert command.run("nat", "set", "one-to-one").returncode == Exit.PASS
    impossible = command.run("call", "--event", "rebind")
    assert (impossible.returncode, impossible.stderr) == (
        Exit.USAGE, "lab: --event rebind: a router of kind one-to-one gives no ports, and remembers nothing\n",
    )  # fmt: skip


def test_ctrl_c_in_the_middle_of_up_leaves_nothing_behind(command: Command) -> None:
    label = f"label=com.docker.compose.project={command.project}"
    interrupt(command, "up", when=lambda: len(docker("ps", "--quiet", "--filter", label).split()) >= 3)
    assert command.traces() == ""


def interrupt(by: Command, *words: str, when: Callable[[], bool]) -> None:
    """Type `./lab WORDS`, and then Ctrl-C."""
    typed = subprocess.Popen(
        [str(ROOT / "lab"), *words], env=by.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not when():
        assert time.monotonic() < deadline
        assert typed.poll() is None
        time.sleep(0.1)  # pacing of a poll, with a deadline
    os.killpg(typed.pid, signal.SIGINT)  # what the terminal does
    _, complaint = typed.communicate(timeout=60)
    assert typed.returncode == 130, complaint
    assert complaint.endswith("lab: interrupted\n")
    assert "Traceback" not in complaint


def test_a_subnet_that_is_taken_is_named_before_anything_starts(command: Command) -> None:
    interface, taken = next(
        (name, network) for name, network in host_routes(ROUTES.read_text()) if network.prefixlen <= 24
    )
    first = next(iter(taken.subnets(new_prefix=24))) if taken.prefixlen < 24 else taken
    derived_anew = {name: "" for name, (subnet, _) in HOSTS.items() if subnet == "HOME_SUBNET"}
    done = command.run("up", HOME_SUBNET=str(first), **derived_anew)
    assert done.returncode == Exit.USAGE
    assert done.stderr.count("\n") == 1
    assert f"HOME_SUBNET={first} overlaps" in done.stderr
    assert interface in done.stderr or "Docker network" in done.stderr
    assert command.traces() == ""


def test_another_labs_home_network_is_taken_too(command: Command) -> None:
    """A home network has no host route: Docker's list knows it, and so does the message."""
    name = f"{command.project}-other"
    docker("network", "create", "--subnet", command.environment["HOME_SUBNET"],
           "-o", "com.docker.network.bridge.inhibit_ipv4=true", name)  # fmt: skip
    try:
        done = command.run("up")
    finally:
        docker("network", "rm", name)
    assert done.returncode == Exit.USAGE
    assert f"overlaps the Docker network {name}" in done.stderr


def test_compose_alone_prints_the_same_ladder_and_verdict(command: Command) -> None:
    environment = {**command.environment, **derived(command), "NAT_TYPE": "symmetric"}
    try:
        done = subprocess.run(
            ["docker", "compose", "--ansi", "never", "up", "--exit-code-from", "alice", "--no-build"],
            env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        printed = done.stdout.replace("\x1b[2K", "")  # compose clears the line even where there is no terminal
        observer = [line.partition("| ")[2] for line in printed.splitlines() if line.startswith("observer")]
        text = "\n".join(observer)
        assert "── INVITE bob ─" in text
        assert "✓ contact-restored" in text
        assert re.search("✓ nat-kind +symmetric: .*mapping address-and-port-dependent", text)
        assert "verdict: PASS  alice → bob, bob → alice" in text
    finally:
        subprocess.run(["docker", "compose", "down", "-v"], env=environment, cwd=ROOT, capture_output=True, check=True)


def derived(command: Command) -> dict[str, str]:
    """The addresses that belong to a test's subnets: compose alone derives nothing."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in subnets(command.name).items():
            patch.setenv(name, value)
        for name in HOSTS:
            patch.delenv(name, raising=False)
        found = load()
        ensure(found)
    return {name: value for name, value in found.values.items() if name != "ALICE_DOES"}


def test_what_an_interrupted_run_of_the_tests_has_left_is_removed_and_nothing_else() -> None:
    mine, others = (f"labtest-{os.getpid()}x{number}-" for number in (1, 2))
    for project in (f"{mine}1", f"{mine}2", f"{others}1"):
        docker("volume", "create", "--label", f"com.docker.compose.project={project}", project)
    try:
        stack.remove_all(mine)
        left = docker("volume", "ls", "--quiet").split()
        assert not [name for name in left if name.startswith(mine)]
        assert f"{others}1" in left
    finally:
        stack.remove_all(others)
    assert f"{others}1" not in docker("volume", "ls", "--quiet").split()
