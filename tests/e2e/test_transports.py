"""TCP and TLS through the real NAT: calls by the connection that a phone registered by, and between two transports.

Two labs for all of it, and one whose proxy shows a certificate that no phone trusts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from labkit import certificates
from labkit.outcome import Exit
from tests.e2e.lab import Command, Run

pytestmark = pytest.mark.e2e

OPTIONS = {"tcp": ("--transport", "tcp", "--bob-transport", "udp"), "tls": ("--transport", "tls")}


class Typed(Command):
    """`./lab`, typed where nothing is said of phones and transports: the lab that tests share leaves its own there."""

    def __init__(self, name: str) -> None:
        super().__init__(f"transports {name}")
        for variable in ("LAB_BOB", "LAB_TRANSPORT", "LAB_BOB_TRANSPORT"):
            self.environment.pop(variable, None)


class StandingLab(Typed):
    """`./lab`, typed by a user whose lab stands already: `up` has placed the first calls."""

    def __init__(self, speaks: str) -> None:
        super().__init__(speaks)
        self.speaks = speaks
        done = self.run("up", *OPTIONS[speaks])
        assert done.returncode == Exit.PASS, done.stdout + done.stderr
        self.first = self.read(done)

    def call(self, *arguments: str) -> Run:
        """Place calls, and see them pass."""
        run = self.read(self.run("call", *arguments))
        assert run.code == Exit.PASS, run.explain()
        return run

    def address(self, name: str) -> str:
        """Return somebody's address: "alice", "nat_wan", "proxy", "bob"."""
        return self.environment[f"{name.upper()}_IP"]


def standing(speaks: str) -> Iterator[StandingLab]:
    """Yield a lab that is removed afterwards, or when it does not start."""
    try:
        yield StandingLab(speaks)
    finally:
        Typed(speaks).run("down")


@pytest.fixture(scope="module")
def tcp() -> Iterator[StandingLab]:
    yield from standing("tcp")


@pytest.fixture(scope="module")
def tls() -> Iterator[StandingLab]:
    yield from standing("tls")


@pytest.fixture(params=["tcp", "tls"])
def command(request: pytest.FixtureRequest) -> StandingLab:
    """One lab, and then the other. (A `command` leaves its evidence when its test fails.)"""
    found: StandingLab = request.getfixturevalue(request.param)
    return found


tcp_only = pytest.mark.parametrize("command", ["tcp"], indirect=True)
tls_only = pytest.mark.parametrize("command", ["tls"], indirect=True)


def goes(seen: dict[str, Any], end: str, address: str) -> bool:
    """Say whether a sighting's "source" or "destination" is this address."""
    return str(seen[end]).partition(":")[0] == address


def transports_of_alice(run: Run, lab: StandingLab) -> set[str]:
    """Return what went between Alice and the proxy by."""
    ends = [(end, lab.address(name)) for end in ("source", "destination") for name in ("alice", "nat_wan")]
    return {seen["transport"] for seen in run.messages if any(goes(seen, *end) for end in ends)}


def requests(run: Run, method: str, source: str) -> list[dict[str, Any]]:
    """Return the sightings of the requests of this method from an address."""
    found = (seen for seen in run.messages if seen["first_line"].startswith(f"{method} "))
    return [seen for seen in found if goes(seen, "source", source)]


def test_the_first_calls_each_way_are_carried_by_what_was_asked_for(command: StandingLab) -> None:
    assert command.first.verdict == "pass"
    assert transports_of_alice(command.first, command) == {command.speaks}
    for caller in ("alice", "bob"):
        assert requests(command.first, "INVITE", command.address(caller))


@pytest.mark.parametrize("caller", ["alice", "bob"])
def test_the_caller_may_hang_up_too(command: StandingLab, caller: str) -> None:
    run = command.call("--from", caller, "--hangup", "caller")
    assert requests(run, "BYE", command.address(caller))
    assert transports_of_alice(run, command) == {command.speaks}


def test_she_is_called_on_the_connection_by_which_she_registered(command: StandingLab) -> None:
    nat, proxy = command.address("nat_wan"), command.address("proxy")
    registered = {seen["source"] for seen in requests(command.first, "REGISTER", nat)}
    calls = requests(command.first, "INVITE", proxy)
    called = {seen["destination"] for seen in calls if goes(seen, "destination", nat)}
    assert called
    assert called <= registered


@tcp_only
def test_twenty_calls_share_her_connection(command: StandingLab) -> None:
    run = command.call("--from", "bob", "--count", "20", "--at-once")
    to_alice = [seen for seen in requests(run, "INVITE", command.address("proxy")) if seen["tap"] == "nat-lan"]
    assert len({seen["call_id"] for seen in to_alice}) == 20
    assert len({seen["destination"] for seen in to_alice}) == 1


@tcp_only
def test_between_tcp_and_udp_the_proxy_leaves_a_route_for_each(command: StandingLab) -> None:
    proxy = command.address("proxy")
    forwarded = [seen for seen in requests(command.first, "INVITE", proxy) if seen["tap"] == "proxy"]
    assert {seen["transport"] for seen in forwarded} == {"tcp", "udp"}
    for seen in forwarded:
        routes = [line for line in seen["headers"] if line.startswith(f"Record-Route: <sip:{proxy}:5060;")]
        named = ["tcp" if ";transport=tcp" in line else "udp" for line in routes]
        assert named == (["tcp", "udp"] if seen["transport"] == "tcp" else ["udp", "tcp"])
        came_by = {"tcp": "udp", "udp": "tcp"}[seen["transport"]]
        assert f"transport {came_by} → {seen['transport']}" in seen["changes"]


@tls_only
def test_what_tls_carries_nobody_reads_without_the_keys(command: StandingLab) -> None:
    run = command.call("--from", "alice")  # by the connection of the first calls
    assert requests(run, "INVITE", command.address("alice"))
    assert "CLIENT_TRAFFIC_SECRET_0" in (run.folder / "tls.keys").read_text(encoding="ascii")
    for tap in ("nat-lan", "nat-wan", "proxy", "core"):
        capture = (run.folder / f"{tap}.pcap").read_bytes()
        assert capture
        for word in (b"SIP/2.0", b"INVITE", b"Call-ID"):
            assert word not in capture, tap


def test_a_proxy_whose_certificate_a_stranger_signed_hears_nothing_of_the_phones(tmp_path: Path) -> None:
    lab = Typed("stranger")
    certificates.ensure(tmp_path, ["proxy.lab"], [lab.environment["PROXY_IP"]])
    tmp_path.chmod(0o755)
    for key in tmp_path.glob("*.key"):
        key.chmod(0o644)
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(f"services: {{proxy: {{volumes: ['{tmp_path}:/tls:ro']}}}}")
    try:
        done = lab.run("up", *OPTIONS["tls"], LAB_OVERLAY=str(overlay))
        run = lab.read(done)
        assert done.returncode == Exit.FAIL, done.stdout + done.stderr
        assert run.messages == []
        assert {"invite-translated", "baresip-alice", "baresip-bob"} <= run.failed
        assert {"nat-kind", "no-leak"}.isdisjoint(run.failed)
        said = (run.folder / "containers.log").read_text(encoding="utf-8")
        assert re.search("alice.*self-signed certificate in certificate chain", said)
    finally:
        lab.run("down")
