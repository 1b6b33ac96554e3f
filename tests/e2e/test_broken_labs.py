"""The tests that the tests can fail: break the thing, see red, and the red that was meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from labkit.outcome import Exit
from tests.e2e.lab import ROOT, Command

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize(
    ("without", "must_fail"),
    [
        ("rport", {"answers-to-source", "via-received-rport"}),
        ("flow", {"no-private-on-internet", "sipp-bob"}),
        ("received,rport", {"answers-to-source", "via-received-rport", "no-private-on-internet"}),
    ],
)
def test_without_a_remedy_the_call_breaks_where_it_should(command: Command, without: str, must_fail: set[str]) -> None:
    done = command.run("up", "--without", without)
    run = command.latest(done.returncode)
    assert done.returncode == Exit.FAIL, done.stdout + done.stderr
    assert run.verdict == "fail"
    assert must_fail <= run.failed, run.explain()
    assert {"nat-kind", "no-leak"}.isdisjoint(run.failed), run.explain()
    assert "verdict: FAIL" in done.stdout
    evidence = {path.name for path in run.folder.iterdir()}
    assert evidence >= {"containers.log", "containers.txt", "nat.txt", "core.txt", "repeat.txt", "sipp", "proxy.pcap"}
    repeat = (run.folder / "repeat.txt").read_text(encoding="utf-8")
    assert repeat.endswith(f"./lab up --without {without}\n")
    assert f"LAB_PROJECT={command.project}" in repeat
    assert "MASQUERADE" in (run.folder / "nat.txt").read_text(encoding="utf-8")
    assert "SIP proxy without" in (run.folder / "containers.log").read_text(encoding="utf-8")


def test_without_contact_neither_bobs_bye_nor_his_ack_reaches_alice(command: Command) -> None:
    done = command.run("up", "--without", "contact")
    run = command.latest(done.returncode)
    assert done.returncode == Exit.FAIL, done.stdout + done.stderr
    assert {"contact-public", "no-private-on-internet", "sipp-alice", "sipp-bob"} <= run.failed, run.explain()
    alice = command_address(run.folder, "alice")
    for method in ("BYE", "ACK"):
        seen = [row for row in run.messages if row["first_line"].startswith(f"{method} sip:alice@")]
        assert seen, method
        assert not [row for row in seen if row["tap"] == "nat-lan"], method
        assert [row for row in seen if row["tap"] == "core" and row["destination"].startswith(alice)], method


def command_address(folder: Path, name: str) -> str:
    """The private address that this phone registered, as its own REGISTER says."""
    rows = json.loads((folder / "story.json").read_text(encoding="utf-8"))["messages"]
    register = next(row for row in rows if row["first_line"].startswith("REGISTER") and f"sip:{name}@" in str(row))
    return str(register["source"]).partition(":")[0]


def without_guard(tmp_path: Path, chain: str) -> Path:
    """Return an overlay in which the router lacks the guard of one chain (INPUT or FORWARD)."""
    rules = (ROOT / "nat" / "kinds" / "home.sh").read_text(encoding="utf-8")
    guard = f"iptables -A {chain} -i"
    assert rules.count(guard) == 1
    broken = tmp_path / "home.sh"
    broken.write_text("\n".join(line for line in rules.splitlines() if not line.startswith(guard)) + "\n")
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(f"services:\n  nat:\n    volumes: ['{broken}:/nat/kinds/home.sh:ro']\n")
    return overlay


@pytest.mark.parametrize(
    ("chain", "must_fail", "word"),
    [("INPUT", "nat-kind", "peer-speaks-first"), ("FORWARD", "no-leak", "by the router")],
)
def test_a_router_without_a_guard_is_a_broken_lab(
    command: Command, tmp_path: Path, chain: str, must_fail: str, word: str
) -> None:
    done = command.run("up", LAB_OVERLAY=str(without_guard(tmp_path, chain)))
    run = command.latest(done.returncode)
    assert done.returncode == Exit.BROKEN, done.stdout + done.stderr
    assert run.verdict == "lab-broken"
    assert must_fail in run.failed
    assert word in run.explain()


@pytest.mark.parametrize(
    ("leak", "word"),
    [
        # A public host has a second leg, in the home network.
        ("services: {core: {networks: {home: {ipv4_address: HOME.50}}}}", "by its own routes"),
        # The machine has an address in the home network.
        ('networks: {home: {driver_opts: {com.docker.network.bridge.inhibit_ipv4: "false"}}}', "the machine itself"),
    ],
    ids=["a second leg", "the host in the home"],
)
def test_a_leak_between_the_networks_is_a_broken_lab(command: Command, tmp_path: Path, leak: str, word: str) -> None:
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(leak.replace("HOME", command.environment["HOME_SUBNET"].removesuffix(".0/24")))
    done = command.run("up", LAB_OVERLAY=str(overlay))
    run = command.latest(done.returncode)
    assert done.returncode == Exit.BROKEN, done.stdout + done.stderr
    assert "no-leak" in run.failed
    assert word in run.explain()


def test_a_lab_that_does_not_start_leaves_its_evidence_and_nothing_else(command: Command, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("services: {nat: {command: [sh, -c, 'echo the router is dead; exit 7']}}")
    done = command.run("up", LAB_OVERLAY=str(overlay))
    folder = command.latest(done.returncode).folder
    assert done.returncode == Exit.BROKEN, done.stdout + done.stderr
    assert "lab broken" in done.stderr
    assert "the router is dead" in (folder / "containers.log").read_text(encoding="utf-8")
    assert command.traces() == ""
