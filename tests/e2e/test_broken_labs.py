"""The tests that the tests can fail: break the thing, see red, and the red that was meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from labkit.outcome import Exit
from tests.e2e.lab import ROOT, Command, Run

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
    run = command.read(done)
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
    run = command.read(done)
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


def without_guard(tmp_path: Path, chain: str) -> str:
    """Return the service `nat` of an overlay in which the router lacks the guard of one chain (INPUT or FORWARD)."""
    rules = (ROOT / "nat" / "kinds" / "home.sh").read_text(encoding="utf-8")
    guard = f"iptables -A {chain} -i"
    assert rules.count(guard) == 1
    broken = tmp_path / "home.sh"
    broken.write_text("\n".join(line for line in rules.splitlines() if not line.startswith(guard)) + "\n")
    return f"  nat: {{volumes: ['{broken}:/nat/kinds/home.sh:ro']}}\n"


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


def test_a_router_without_its_input_guard_is_a_broken_lab(command: Command, tmp_path: Path) -> None:
    run = broken_run(command, tmp_path, "services:\n" + without_guard(tmp_path, "INPUT"))
    assert "nat-kind" in run.failed
    assert "peer-speaks-first: declared kept, measured lost" in run.explain()


def test_every_leak_between_the_networks_is_found_and_the_lab_is_broken(command: Command, tmp_path: Path) -> None:
    """Three at once, each found by itself: a public host with a second leg in the home, a router that lets strangers
    in, and the machine with an address in the home network."""
    home = command.environment["HOME_SUBNET"].removesuffix(".0/24")
    run = broken_run(
        command,
        tmp_path,
        "services:\n"
        f"  core: {{networks: {{home: {{ipv4_address: {home}.50}}}}}}\n"
        + without_guard(tmp_path, "FORWARD")
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
