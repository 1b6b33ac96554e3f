"""Phones that are not SIPp: baresip in Alice's place, and baresip on the machine itself."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator

import pytest

from labkit import images, settings
from labkit.outcome import Exit
from tests.e2e.lab import SCRIPTS, Command, Lab, docker
from tests.unit.process import free_port

pytestmark = pytest.mark.e2e


def test_baresip_in_alices_place_registers_is_called_answers_is_heard_and_hangs_up(command: Command) -> None:
    done = command.run("up", "--alice", "baresip")
    run = command.read(done)
    assert done.returncode == Exit.PASS, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "verdict: PASS  alice → bob, bob → alice"
    heard = ("audio-alice-to-bob", "audio-bob-to-alice")
    assert [run.checks[name] for name in ("sipp-bob", *heard)] == ["pass"] * 3
    assert "sipp-alice" not in run.checks
    agents = {line for seen in run.messages if seen["tap"] == "nat-lan" for line in seen["headers"]}
    assert any(re.search("baresip", line) for line in agents)
    called = command.run("call", "--from", "bob", "--hangup", "callee")
    run = command.read(called)
    assert called.returncode == Exit.PASS, called.stdout + called.stderr
    bye = next(seen for seen in run.messages if seen["first_line"].startswith("BYE "))
    assert bye["tap"] == "nat-lan", "the BYE is Alice's"


@pytest.fixture
def home_unreachable(lab: Lab) -> Iterator[None]:
    """The machine's own RTP for Alice's private address goes nowhere, instead of out by the default route."""
    if os.geteuid() != 0:
        pytest.skip("unsupported: only root can keep the softphone's RTP on this machine, by an unreachable route")
    route = ["unreachable", lab.settings.values["HOME_SUBNET"]]
    subprocess.run(["ip", "route", "add", *route], check=True)
    yield
    subprocess.run(["ip", "route", "del", *route], check=True)


@pytest.fixture
def softphone(lab: Lab, home_unreachable: None) -> Iterator[str]:
    """baresip in the machine's own network namespace, as `carol`; the container's id."""
    lab_settings = settings.load(alice="baresip")
    images.ensure(lab_settings)
    control = free_port()
    values = lab.settings.values
    container = docker(
        "run", "--detach", "--network", "host", "--cap-drop", "ALL", "--read-only", "--tmpfs", "/tmp", "--tmpfs",
        "/lab:mode=1777", "--env", f"PHONE_IP={values['INTERNET_GATEWAY']}", "--env", f"PROXY_IP={values['PROXY_IP']}",
        "--env", f"CONTROL_PORT={control}", f"sip-nat-lab/baresip:{lab_settings.values['LAB_TAG']}", "phone", "carol",
    ).strip()  # fmt: skip
    try:
        docker("exec", container, "ready", "test", "-S", "/lab/carol.sock")
        yield container
    finally:
        docker("rm", "--force", container)


@pytest.fixture
def frames(lab: Lab) -> Iterator[str]:
    """A capture of what arrives in Alice's pod, with link-layer addresses; the container's id."""
    container = docker(
        "run", "--detach", "--network", f"container:{lab.container('alice-home')}", "--cap-drop", "ALL", "--cap-add",
        "NET_RAW", "--entrypoint", "tcpdump", f"sip-nat-lab/observer:{lab.settings.values['LAB_TAG']}",
        "-i", "eth0", "-Q", "in", "-n", "-e", "-l", "--immediate-mode", "-Z", "root", "ip",
    ).strip()  # fmt: skip
    try:
        deadline = time.monotonic() + 10
        while "listening on" not in docker_logs(container):
            assert time.monotonic() < deadline
            time.sleep(0.05)  # pacing of a poll, with a deadline
        yield container
    finally:
        docker("rm", "--force", container)


def docker_logs(container: str) -> str:
    """What a container has printed, errors included."""
    return subprocess.run(
        ["docker", "logs", container], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
    ).stdout


def test_a_softphone_on_the_machine_calls_alice_and_only_the_router_reaches_her(
    lab: Lab, softphone: str, frames: str
) -> None:
    script = (SCRIPTS / "softphone_call.py").read_text(encoding="utf-8")
    counts = json.loads(
        docker("exec", "--interactive", "--env", "PYTHONPATH=/srv", softphone, "python3", "-", "carol", stdin=script)
    )
    assert counts == {"up": 1, "ended": 1}, docker_logs(softphone)
    docker("kill", "--signal", "INT", frames)
    docker("wait", frames)
    lines = [line for line in docker_logs(frames).splitlines() if " > " in line and "IPv4" in line]
    assert [line for line in lines if f"{lab.settings.values['PROXY_IP']}.5060" in line]
    router = re.search(r"link/ether (\S+)", lab.execute(
        "nat", "sh", "-c", "ip link show $(ip -o -4 address show to $LAN_IP | awk '{print $2}')"))  # fmt: skip
    assert router
    assert {line.split()[1] for line in lines} == {router[1]}
