"""Every kind of router is measured from behind, as a user would, and is what it claims to be; coturn agrees."""

from __future__ import annotations

import os
import re
import subprocess
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit.outcome import Exit
from nat import kinds
from tests.e2e.lab import ROOT, Lab, docker

pytestmark = pytest.mark.e2e

HERE = Path(__file__).parent
REFEREE = "sip-nat-lab/coturn:test"
READY_S = 10
UNSUPPORTED = 127
LIFETIME_KINDS = {name for name, kind in kinds.PRESETS.items() if 0 < int(kind.profile["lifetime"]) <= 6}
# He waits three seconds for every packet that does not come: not all of them every day.
BEHAVIOURS = (
    "address-restricted", "symmetric",
    *(pytest.param(name, marks=pytest.mark.long)
      for name in ("home", "none", "full-cone", "one-to-one", "address-dependent", "port-preserving", "naive-linux",
                   "cgnat")),
)  # fmt: skip
# The canary measures all kinds from within; from without, as a customer's router, not all of them every day.
MEASURED = [
    pytest.param(name, marks=[] if name in (*LIFETIME_KINDS, "symmetric", "cgnat", "udp-blocked") else pytest.mark.long)
    for name in kinds.PRESETS
]


class Home:
    """Alice's home in the shared lab: its router, which becomes one of another kind, and the place of her phone."""

    def __init__(self, lab: Lab) -> None:
        self.values, self.project = lab.settings.values, lab.settings.project
        self.router, self.pod = lab.container("nat"), lab.container("alice-home")
        self.process = docker("inspect", "--format", "{{.State.Pid}}", self.pod).strip()
        self.profile = kinds.PRESETS[kinds.BASE].profile

    def become(self, kind: str) -> None:
        """Make the router one of another kind, and have the pod take the addresses that go with it."""
        try:
            docker("exec", self.router, "natctl", "set", kind)
        except subprocess.CalledProcessError as error:
            if error.returncode == UNSUPPORTED:
                pytest.skip(f"unsupported: {error.stderr.strip()}")
            raise
        self.profile = kinds.parse(kind).profile
        docker("exec", self.pod, "python3", "-c", f"from nat import pod; pod.settle({self.profile!r})")

    @property
    def hosts(self) -> str:
        """The addresses of the two hosts beside the phone, as `--source` reads them."""
        phone = self.values["ALICE_FACE_IP" if self.profile["mapping"] == "none" else "ALICE_IP"]
        network, _, last = phone.rpartition(".")
        return ",".join(f"{network}.{int(last) + number}" for number in (1, 2))

    def measure(self, path: Path, *options: str) -> tuple[str, dict[str, object]]:
        """Type `./lab measure` where Alice's phone stands; return what it prints and what it writes."""
        if os.geteuid() != 0:
            pytest.skip("unsupported: only root may enter a phone's network namespace")
        reflector = ",".join(self.values[name] for name in ("REFLECTOR_IP", "REFLECTOR_IP2"))
        done = subprocess.run(
            ["nsenter", "--target", self.process, "--net", str(ROOT / "lab"), "measure", "--reflector", reflector,
             "--write", str(path), *options],
            capture_output=True, text=True, check=False, timeout=120, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == Exit.PASS, done.stdout + done.stderr
        return done.stdout, tomllib.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def home(router: Lab) -> Home:
    """It, and what it was before when the module is done."""
    return Home(router)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file for `--write`."""
    return tmp_path / "customer.toml"


def unmeasured(text: str) -> set[str]:
    """Return the axes of which `lab measure` said that it did not measure them."""
    return set(re.findall(r"^  (\S+) +not measured: ", text, re.MULTILINE))


@pytest.mark.parametrize("kind", MEASURED)
def test_a_kind_is_measured_as_what_it_is(home: Home, path: Path, kind: str) -> None:
    home.become(kind)
    limit = "8" if kind in LIFETIME_KINDS else "0"
    said, table = home.measure(path, "--source", home.hosts, "--lifetime-limit", limit)
    assert kinds.from_table(table, kind).profile == home.profile, said
    expected = set() if kind in LIFETIME_KINDS else {"lifetime", "refresh"}
    if home.profile["filtering"] == "none":
        expected = {"refresh"}
    if home.profile["mapping"] == "address-and-port-dependent":
        expected |= {"peer-first"}
    if home.profile["udp"] == "blocked":
        expected = set(kinds.AXES) - {"udp"}
    assert unmeasured(said) == expected
    assert "  ! " not in said


@pytest.mark.parametrize("kind", ["home", "udp-blocked", "port-starved"])
def test_from_one_address_a_kind_is_measured_too(home: Home, path: Path, kind: str) -> None:
    home.become(kind)
    said, table = home.measure(path, "--lifetime-limit", "0")
    assert kinds.from_table(table, kind).profile == home.profile, said


def test_a_host_with_one_port_is_measured_with_its_neighbours(home: Home, path: Path) -> None:
    home.become("block=1")
    said, table = home.measure(path, "--source", home.hosts, "--lifetime-limit", "0")
    assert kinds.from_table(table, "x").profile == home.profile, said
    said, table = home.measure(path, "--lifetime-limit", "0")
    assert (table["udp"], table["block"]) == ("passed", 1)
    assert unmeasured(said) == set(kinds.AXES) - {"udp", "block"}


@pytest.mark.long
@pytest.mark.parametrize("kind", ["home", "cgnat", "address-dependent", "full-cone,lifetime=20"])
def test_half_a_minutes_lifetime_is_measured(home: Home, path: Path, kind: str) -> None:
    home.become(kind)
    said, table = home.measure(path, "--source", home.hosts)
    assert (table["lifetime"], table["refresh"]) == (home.profile["lifetime"], "both"), said


def test_a_lifetime_beyond_the_limit_is_its_lower_bound(home: Home, path: Path) -> None:
    home.become("home")
    said, table = home.measure(path, "--source", home.hosts, "--lifetime-limit", "2")
    assert table["lifetime"] == 1
    assert "a mapping survived 1.5 s of silence, and nothing longer was tried" in said
    assert unmeasured(said) == {"refresh"}


# A router that lies


@pytest.mark.long
def test_a_router_that_is_not_what_it_claims_breaks_the_lab(home: Home, lab: Lab, path: Path) -> None:
    """It says symmetric, and has the rules of home."""
    home.become("symmetric")
    docker(
        "exec", home.router, "sh", "-c",
        "iptables -t nat -F LAB_SNAT && iptables -t nat -A LAB_SNAT -p udp -j MASQUERADE --to-ports 50000-50999"
        " && iptables -t nat -A LAB_SNAT -j MASQUERADE && conntrack -F",
    )  # fmt: skip
    said, _ = home.measure(path, "--source", home.hosts, "--lifetime-limit", "0")
    assert "--nat home" in said
    with pytest.raises(subprocess.CalledProcessError) as broken:
        docker("exec", home.pod, "remeasure")
    assert broken.value.returncode == Exit.BROKEN
    assert "mapping: declared address-and-port-dependent, measured endpoint-independent" in broken.value.stdout
    run = lab.call("--from", "alice", "--count", "1", "--hangup", "callee")
    assert run.verdict == "lab-broken"
    assert "nat-kind" in run.failed, run.explain()


# The referee


@pytest.fixture(scope="module")
def referee(home: Home) -> Iterator[str]:
    """coturn on two addresses of the Internet: the first of them."""
    first, second = (home.values["INTERNET_SUBNET"].replace(".0/24", f".{last}") for last in (60, 61))
    docker("build", "--quiet", "--network", "host", "--build-arg", f"BASE_IMAGE={home.values['BASE_IMAGE']}",
           "--tag", REFEREE, str(HERE / "coturn"))  # fmt: skip
    container = docker(
        "run", "--detach", "--network", f"{home.project}_internet", "--ip", first, "--cap-drop", "ALL",
        "--cap-add", "NET_ADMIN", "--cap-add", "SETUID", "--cap-add", "SETGID", REFEREE, "sh", "-c",
        f"ip address add {second}/24 dev eth0 && exec turnserver -n -L {first} -L {second} --stun-only"
        " --no-auth --no-cli --no-tls --no-dtls --log-file stdout --simple-log",
    ).strip()  # fmt: skip
    try:
        deadline = time.monotonic() + READY_S
        # It asks once, and waits for ever for what a server that is not there yet does not say.
        asking = ["docker", "exec", container, "timeout", "1", "turnutils_stunclient", first]
        while b"reflexive" not in subprocess.run(asking, capture_output=True, check=False).stdout:
            assert time.monotonic() < deadline, docker("logs", container)
        yield first
    finally:
        docker("rm", "--force", container)


@pytest.mark.parametrize("kind", BEHAVIOURS)
def test_the_referee_sees_the_same(home: Home, referee: str, kind: str) -> None:
    home.become(kind)
    said = docker("run", "--rm", "--network", f"container:{home.pod}", REFEREE,
                  "turnutils_natdiscovery", "-m", "-f", referee)  # fmt: skip
    found = re.findall(r"NAT with ([A-Z][\w ]+) (Mapping|Filtering)!", said)
    seen = {what.lower(): how.lower().replace(" ", "-") for how, what in found}
    # He has no word for no translation at all.
    declared = {axis: str(home.profile[axis]) for axis in ("mapping", "filtering")}
    assert seen == {axis: value.replace("none", "endpoint-independent") for axis, value in declared.items()}, said
