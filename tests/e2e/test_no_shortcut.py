"""The host is no shortcut to Alice, and no packet of the lab leaves the machine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from labkit.subnets import ROUTES, host_routes
from tests.e2e.lab import SCRIPTS, Lab, docker, place

pytestmark = pytest.mark.e2e

GATEWAY, STRAY, CONTROL = 1, 9, 10  # hosts outside


def test_the_machine_has_neither_an_address_nor_a_route_in_the_home(lab: Lab) -> None:
    home = lab.settings.subnet("HOME_SUBNET")
    assert not [network for _, network in host_routes(ROUTES.read_text()) if network.overlaps(home)]
    network = json.loads(docker("network", "inspect", f"{lab.settings.project}_home"))[0]
    bridge = f"br-{network['Id'][:12]}"
    show = ["ip", "-4", "address", "show", "dev", bridge]
    assert "inet " not in subprocess.run(show, capture_output=True, text=True, check=True).stdout


def outside(host: int) -> str:
    """Return an address in the network that only a veth of this test carries: what the host forwards would show there.

    It belongs to the place of the shared lab, as the veth does: another run has others.
    """
    number = place("main")
    return f"10.{252 + number // 256}.{number % 256}.{host}"


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """A network of this machine that lies outside the lab; the name of the interface to it."""
    if os.geteuid() != 0:
        pytest.skip("unsupported: only root can add the interface on which a leak would show")
    name = f"labtest{place('main')}"
    peer = f"{name}-peer"  # 15 characters at most: the longest that Linux allows
    subprocess.run(["ip", "link", "add", name, "type", "veth", "peer", "name", peer], check=True)
    try:
        for command in (f"address add {outside(GATEWAY)}/24 dev {name}", f"link set {name} up", f"link set {peer} up"):
            subprocess.run(["ip", *command.split()], check=True)
        yield name
    finally:
        subprocess.run(["ip", "link", "del", name], check=True)


def test_what_the_lab_sends_to_nowhere_ends_in_core(lab: Lab, elsewhere: str) -> None:
    """Every host's strays are counted by `core`, and the machine is not even asked to look for their target."""
    before = strays(lab)
    senders = ("bob", "proxy", "alice-home", "nat")
    for sender in senders:
        lab.script(sender, "stray", outside(STRAY))
    assert strays(lab) == before + len(senders)
    assert outside(STRAY) not in asked_for(elsewhere)
    # The detectors detect: the check sees the strays, and what the machine itself sends there is seen.
    run = lab.call()
    assert run.failed == {"no-private-on-internet"}, run.explain()
    assert f"at core: a packet to {outside(STRAY)}:9" in run.explain()
    subprocess.run([sys.executable, str(SCRIPTS / "stray.py"), outside(CONTROL)], check=True)
    assert outside(CONTROL) in asked_for(elsewhere)


def strays(lab: Lab) -> int:
    """How many packets core was asked to forward."""
    found = re.search(r"packets (\d+)", lab.execute("core", "nft", "list", "counter", "ip", "lab", "strays"))
    assert found
    return int(found[1])


def asked_for(interface: str) -> str:
    """The addresses that the machine has looked for on an interface."""
    return subprocess.run(
        ["ip", "-4", "neighbour", "show", "dev", interface], capture_output=True, text=True, check=True
    ).stdout
