"""The tests that the tests can fail: break the thing, see red, and the red that was meant."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from labkit.outcome import Exit
from tests.e2e.lab import ROOT, Command, Run, docker

pytestmark = pytest.mark.e2e

BEGIN_S = 20
CALLS = ("call", "--count", "20", "--at-once")  # all up together, for a second


def without_guard(tmp_path: Path, rules: str, guard: str) -> str:
    """Return the service `nat` of an overlay in which the router lacks one line of one file of its rules."""
    lines = (ROOT / "nat" / "rules" / rules).read_text(encoding="utf-8").splitlines()
    assert lines.count(guard) == 1
    broken = tmp_path / rules
    broken.write_text("".join(f"{line}\n" for line in lines if line != guard))
    return f"  nat: {{volumes: ['{broken}:/srv/nat/rules/{rules}:ro']}}\n"


def broken_run(command: Command, tmp_path: Path, overlay: str) -> Run:
    """Run `./lab up` with an overlay that breaks the lab, and see that it says so."""
    path = tmp_path / "overlay.yaml"
    path.write_text(overlay)
    done = command.run("up", LAB_OVERLAY=str(path))
    assert done.returncode == Exit.BROKEN, done.stdout + done.stderr
    assert "verdict: LAB-BROKEN" in done.stdout
    run = command.read(done)
    assert run.verdict == "lab-broken"
    return run


@pytest.mark.long  # test_router takes the same guard away from a router that runs
def test_a_router_without_its_input_guard_is_a_broken_lab(command: Command, tmp_path: Path) -> None:
    router = without_guard(tmp_path, "peer-first-kept.sh", "iptables -A LAB_INPUT -j DROP")
    run = broken_run(command, tmp_path, f"services:\n{router}")
    assert "nat-kind" in run.failed
    assert "peer-first: declared kept, measured lost" in run.explain()


def test_every_leak_between_the_networks_is_found_and_the_lab_is_broken(command: Command, tmp_path: Path) -> None:
    """Three at once, each found by itself: a public host with a second leg in the home, a router that lets strangers
    in, and the machine with an address in the home network."""
    home = command.environment["HOME_SUBNET"].removesuffix(".0/24")
    run = broken_run(
        command,
        tmp_path,
        "services:\n"
        f"  core: {{networks: {{home: {{ipv4_address: {home}.50}}}}}}\n"
        + without_guard(tmp_path, "filtering-address-and-port-dependent.sh", "iptables -A LAB_IN -j DROP")
        + "networks: {home: {driver_opts: {com.docker.network.bridge.inhibit_ipv4: 'false'}}}\n",
    )
    assert "no-leak" in run.failed
    for way in ("by its own routes", "by the router", "the machine itself"):
        assert way in run.explain()


def test_a_lab_that_does_not_start_leaves_its_evidence_and_nothing_else(command: Command, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.yaml"
    dying = "until [ -S /lab/tap-core.sock ]; do sleep 0.1; done; echo the router is dead; exit 7"  # a tap has seen it
    overlay.write_text(f"services: {{nat: {{volumes: ['lab:/lab'], command: [sh, -c, '{dying}']}}}}")
    done = command.run("up", LAB_OVERLAY=str(overlay))
    folder = command.read(done).folder
    assert done.returncode == Exit.BROKEN, done.stdout + done.stderr
    assert "lab broken" in done.stderr
    assert "the router is dead" in (folder / "containers.log").read_text(encoding="utf-8")
    assert list((folder / "captures").glob("*.pcap")), "what the taps had seen"
    assert command.traces() == ""


def container(command: Command, service: str) -> str:
    """Return the id of a running container."""
    labels = (f"project={command.project}", f"service={service}")
    filters = [word for label in labels for word in ("--filter", f"label=com.docker.compose.{label}")]
    return docker("ps", "--quiet", *filters).strip()


def test_a_lab_whose_router_was_killed_is_broken_and_removed_by_the_next_call(command: Command) -> None:
    assert command.run("up").returncode == Exit.PASS
    docker("kill", container(command, "nat"))
    done = command.run("call")
    assert done.returncode == Exit.BROKEN, done.stdout + done.stderr
    assert "lab broken: nat is exited; the lab is removed: `./lab up` starts one anew\n" in done.stderr
    folder = command.read(done).folder
    assert "Exited (137)" in (folder / "containers.txt").read_text(encoding="utf-8")
    assert "router: home" in (folder / "containers.log").read_text(encoding="utf-8")
    assert list((folder / "captures").glob("nat-wan*.pcap")), "what the taps had seen"
    assert command.traces() == ""
    event = command.run("nat", "rebind")
    assert (event.returncode, event.stderr) == (Exit.USAGE, "lab: no lab is up: `./lab up` starts one\n")


@pytest.mark.long
def test_a_router_that_is_killed_while_the_phones_call_breaks_the_lab(command: Command) -> None:
    assert command.run("up").returncode == Exit.PASS
    observer, router = (container(command, service) for service in ("observer", "nat"))
    before = docker("exec", observer, "ls", "/lab/runs")
    typed = subprocess.Popen(
        [str(ROOT / "lab"), *CALLS], env=command.environment, cwd=ROOT, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + BEGIN_S
    while docker("exec", observer, "ls", "/lab/runs") == before:
        assert time.monotonic() < deadline
        assert typed.poll() is None
    docker("kill", router)
    said, complaint = typed.communicate(timeout=60)
    assert typed.returncode == Exit.BROKEN, said + complaint
    assert "verdict: LAB-BROKEN" in said
    run = command.read(subprocess.CompletedProcess(CALLS, typed.returncode, said, complaint))
    assert run.verdict == "lab-broken"
    assert "router-alive" in run.failed
    assert "nat does not answer" in run.explain()
    assert "lab: nat is exited: the lab is removed\n" in complaint
    assert command.traces() == ""
