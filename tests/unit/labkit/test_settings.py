"""Subnets and a name make a lab; what no lab can have is said, all of it at once."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import pytest

from labkit import settings
from labkit.outcome import Mistake
from labkit.settings import HOSTS, REMEDIES, ROOT, TOPOLOGIES, kind_text, load, load_running, remember
from nat import kinds, pod, rules


@pytest.fixture(autouse=True)
def dotenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty .env, and an environment that says nothing of the lab."""
    for name in [*settings.DEFAULTS, settings.BOB_HOME, *HOSTS, "NAT_TYPE", "NAT_TYPE_BOB", "LAB_TOPOLOGY",
                 "BASE_IMAGE", "LAB_OVERLAY", "LAB_TRANSPORT", "LAB_BOB_TRANSPORT"]:  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(settings, "DOTENV", tmp_path / ".env")
    return tmp_path / ".env"


def test_the_defaults_are_the_contract() -> None:
    lab = load()
    assert lab.project == "sip-nat-lab"
    assert {name: lab.values[name] for name in HOSTS} == {
        "ALICE_IP": "10.77.1.100", "NAT_LAN_IP": "10.77.1.1", "HOME_GATEWAY": "10.77.1.254",
        "NAT_WAN_IP": "198.51.100.20", "PROXY_IP": "198.51.100.10", "BOB_IP": "198.51.100.200",
        "CORE_IP": "198.51.100.1", "REFLECTOR_IP": "198.51.100.30", "REFLECTOR_IP2": "198.51.100.31",
        "INTERNET_GATEWAY": "198.51.100.254",
        # a second public address, and those that phones have where nothing is translated
        "NAT_WAN_IP2": "198.51.100.21", "ALICE_FACE_IP": "198.51.100.100",
        # Bob in a home of his own, and in hers
        "NAT_BOB_WAN_IP": "198.51.100.40", "NAT_BOB_WAN_IP2": "198.51.100.41", "BOB_FACE_IP": "198.51.100.140",
        "BOB_HOME_GATEWAY": "10.77.2.254", "NAT_BOB_LAN_DOCKER_IP": "10.77.2.1", "BOB_HOME_DOCKER_IP": "10.77.2.100",
        "BOB_HOME_IP": "10.77.1.110", "BOB_HOME_FACE_IP": "198.51.100.110",
    }  # fmt: skip
    assert [lab.values[name] for name in ("LAB_TOPOLOGY", "NAT_TYPE", "NAT_TYPE_BOB")] == ["one-home", "home", "home"]
    assert [path.name for path in lab.files] == ["compose.yaml"]


@pytest.mark.parametrize("name", [*sorted(HOSTS), "HOME_SUBNET", "INTERNET_SUBNET", "BOB_HOME_SUBNET", "NAT_TYPE_BOB"])
def test_what_compose_defaults_to_is_what_is_derived(name: str) -> None:
    files = [ROOT / "compose.yaml", *(ROOT / "topologies").glob("*.yaml")]
    text = "".join(path.read_text(encoding="utf-8") for path in files)
    assert set(re.findall(rf"\$\{{{name}:-([^}}]*)}}", text)) == {load().values[name]}


def test_the_addresses_follow_from_the_subnets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME_SUBNET", "10.90.3.0/24")
    monkeypatch.setenv("INTERNET_SUBNET", "198.18.4.0/24")
    values = load().values
    assert (values["ALICE_IP"], values["NAT_WAN_IP"]) == ("10.90.3.100", "198.18.4.20")
    assert (values["BOB_HOME_SUBNET"], values["BOB_HOME_GATEWAY"]) == ("10.90.4.0/24", "10.90.4.254")


def test_a_lab_beside_takes_no_address_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LAB_PROJECT": "mine", "ALICE_IP": "10.77.1.77", "BOB_HOME_SUBNET": "10.77.9.0/24"}.items():
        monkeypatch.setenv(name, value)
    lab = load(project="other", home_subnet="10.78.1.0/24", internet_subnet="198.18.1.0/24")
    assert (lab.project, lab.values["ALICE_IP"], lab.values["PROXY_IP"]) == ("other", "10.78.1.100", "198.18.1.10")
    assert lab.values["BOB_HOME_SUBNET"] == "10.78.2.0/24"


def test_after_the_last_subnet_comes_the_one_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME_SUBNET", "10.90.255.0/24")
    assert load().values["BOB_HOME_SUBNET"] == "10.90.254.0/24"


def test_bobs_home_may_have_another_subnet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOB_HOME_SUBNET", "172.30.9.0/24")
    assert load(topology="two-homes").values["NAT_BOB_LAN_DOCKER_IP"] == "172.30.9.1"


def test_one_address_can_be_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOB_IP", "198.51.100.77")
    values = load().values
    assert (values["BOB_IP"], values["PROXY_IP"]) == ("198.51.100.77", "198.51.100.10")


def test_dotenv_counts_and_the_environment_counts_more(dotenv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dotenv.write_text("# LAB_PROJECT=no\nLAB_PROJECT=from-file\nBASE_IMAGE=mine\n")
    assert (load().project, load().values["BASE_IMAGE"]) == ("from-file", "mine")
    monkeypatch.setenv("LAB_PROJECT", "from-environment")
    assert load().project == "from-environment"


def test_what_is_remembered_is_found_and_the_rest_stays(dotenv: Path) -> None:
    dotenv.write_text("LAB_PROJECT=mine\nBASE_IMAGE=old\n")
    remember("BASE_IMAGE", "new")
    assert dotenv.read_text() == "LAB_PROJECT=mine\nBASE_IMAGE=new\n"


def test_compose_gets_the_settings_beside_the_environment() -> None:
    environment = load().environment()
    assert environment["PROXY_IP"] == "198.51.100.10"
    assert environment["PATH"] == os.environ["PATH"]


def test_remedies_are_switched_off_by_name() -> None:
    assert load(without="rport, contact").values["WITHOUT"] == "rport,contact"


def test_another_phone_is_one_more_compose_file() -> None:
    assert [path.name for path in load(alice="baresip").files] == ["compose.yaml", "baresip.yaml"]
    assert [path.name for path in load(bob="baresip").files] == ["compose.yaml", "baresip-bob.yaml"]
    assert all(path.is_file() for path in load(alice="baresip", bob="baresip").files)


# ── topologies and kinds of NAT ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("topology", "files", "kind", "routers", "subnets"),
    [
        ("one-home", [], "home", {"alice": "nat"}, 2),
        ("two-homes", ["two-homes.yaml"], "home", {"alice": "nat", "bob": "nat-bob"}, 3),
        ("same-home", ["same-home.yaml"], "home", {"alice": "nat"}, 2),
        ("cgnat", [], "cgnat", {"alice": "nat"}, 2),
        ("no-nat", [], "none", {"alice": "nat"}, 2),
    ],
)
def test_a_topology_is_an_overlay_or_a_kind(
    topology: str, files: list[str], kind: str, routers: dict[str, str], subnets: int
) -> None:
    lab = load(topology=topology, alice="baresip")
    assert [path.name for path in lab.files] == ["compose.yaml", *files, "baresip.yaml"]
    assert all(path.is_file() for path in lab.files)
    assert (lab.values["NAT_TYPE"], lab.routers, len(lab.subnets)) == (kind, routers, subnets)
    assert lab.values["LAB_TOPOLOGY"] == (topology if files else "one-home")


def test_the_topologies_are_all_tried_here() -> None:
    assert set(TOPOLOGIES) == {"one-home", "two-homes", "same-home", "cgnat", "no-nat"}


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ("symmetric", "symmetric"),
        (" cgnat , lifetime=5", "cgnat,lifetime=5"),
        ("mapping=address-dependent,lifetime=45", "mapping=address-dependent,lifetime=45"),
        ("lifetime=30", "home"),
    ],
)
def test_a_kind_is_a_name_or_axes(asked: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(nat=asked).values["NAT_TYPE"] == text
    monkeypatch.setenv("NAT_TYPE", asked)
    assert load().values["NAT_TYPE"] == text
    assert load(nat="full-cone").values["NAT_TYPE"] == "full-cone"  # an option counts more


@pytest.mark.parametrize(
    ("toml", "text"),
    [
        ('what = "mine"\nmapping = "address-dependent"\nlifetime = 45\n', "mapping=address-dependent,lifetime=45"),
        ('mapping = "address-and-port-dependent"\n', "symmetric"),
        ("", "home"),
    ],
)
def test_a_kind_may_be_a_file(toml: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / "customer.toml"
    path.write_text(toml)
    lab = load(nat=str(path))
    assert lab.values["NAT_TYPE"] == text
    assert kinds.parse(text).profile == kinds.from_table(tomllib.loads(toml), "customer").profile


@pytest.mark.parametrize("name", kinds.PRESETS)
def test_the_text_of_a_kind_is_read_as_itself(name: str) -> None:
    assert kind_text(name) == name


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "No such file or directory"),
        (b"mapping = ", "Invalid value"),
        (b"\xff", "codec can't decode"),
        (b"colour = 1", "colour=1: no such axis; known: mapping"),
        (b"lifetime = 0", "no router is lifetime=0 with filtering=address-and-port-dependent"),
    ],
)
def test_a_file_that_says_no_kind_is_answered_in_one_line(
    content: bytes | None, complaint: str, tmp_path: Path
) -> None:
    path = tmp_path / "customer.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Mistake) as mistake:
        load(nat=str(path))
    assert str(mistake.value).startswith(f"--nat {path}: ")
    assert complaint in str(mistake.value)
    assert "\n" not in str(mistake.value)


def test_bob_has_a_router_of_any_kind_where_he_has_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = load(nat="symmetric", bob_nat="cgnat,lifetime=5", topology="two-homes")
    assert (lab.values["NAT_TYPE"], lab.values["NAT_TYPE_BOB"]) == ("symmetric", "cgnat,lifetime=5")
    with pytest.raises(Mistake, match="--bob-nat cgnat: Bob has a router with --topology two-homes only"):
        load(bob_nat="cgnat")
    monkeypatch.setenv("NAT_TYPE_BOB", "full-cone")
    assert load(topology="two-homes").values["NAT_TYPE_BOB"] == "full-cone"
    assert load().values["NAT_TYPE_BOB"] == "home"  # nobody asks for it


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"nat": "symetric"}, "--nat symetric: unknown; nearest: symmetric"),
        ({"nat": "cgnat,alg=yes"}, "--nat cgnat,alg=yes: alg=yes: unknown; alg is one of off, on"),
        ({"nat": "lifetime=0"}, "--nat lifetime=0: no router is lifetime=0 with"),
        ({"nat": "symmetric", "topology": "cgnat"}, "--nat symmetric: the topology cgnat is one home with --nat cgnat"),
        ({"bob_nat": "x", "topology": "two-homes"}, "--bob-nat x: unknown; known: home, none,"),
        ({"topology": "three-homes"}, "--topology three-homes: unknown; the topologies are one-home, two-homes,"),
    ],
)
def test_a_kind_or_a_topology_that_cannot_be_is_a_mistake(options: dict[str, str], complaint: str) -> None:
    with pytest.raises(Mistake) as mistake:
        load(**options)
    assert str(mistake.value).startswith(complaint)


def test_a_topology_that_is_a_kind_outranks_the_environments_kind_when_it_is_an_option(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NAT_TYPE", "symmetric")
    assert load(topology="cgnat").values["NAT_TYPE"] == "cgnat"
    monkeypatch.setenv("LAB_TOPOLOGY", "cgnat")
    with pytest.raises(Mistake, match="NAT_TYPE=symmetric: the topology cgnat is one home with --nat cgnat"):
        load()


def test_a_running_lab_is_as_it_was_started(monkeypatch: pytest.MonkeyPatch) -> None:
    started = {
        "LAB_TOPOLOGY": "two-homes", "NAT_TYPE": "symmetric", "NAT_TYPE_BOB": "cgnat", "LAB_ALICE": "baresip",
        "LAB_TRANSPORT": "tcp", "LAB_BOB": "sipp", "LAB_BOB_TRANSPORT": "udp",
    }  # fmt: skip
    monkeypatch.setenv("LAB_TOPOLOGY", "cgnat")
    monkeypatch.setenv("NAT_TYPE_BOB", "full-cone")
    lab = load_running(started)
    assert {name: lab.values[name] for name in started} == started
    assert [path.name for path in lab.files] == ["compose.yaml", "two-homes.yaml", "baresip.yaml"]


@pytest.mark.parametrize("topology", settings.BOBS)
def test_a_lab_that_was_started_can_be_read_back_from_its_observer(topology: str) -> None:
    """All that `load_running` reads is in the observer's environment, which compose fills from the settings."""
    chosen = {"nat": "symmetric", "topology": topology, "alice": "baresip", "bob": "baresip", "transport": "tcp"}
    lab = load(**chosen, bob_nat="full-cone" if topology == "two-homes" else "")
    given: dict[str, str] = {}
    for file in lab.files:
        section = re.search(r"^  observer:\n((?:    .*\n|\n)+)", file.read_text(encoding="utf-8"), re.MULTILINE)
        if section:
            given |= dict(re.findall(r"^      ([A-Z_]+): \$\{([A-Z_]+):-", section[1], re.MULTILINE))
    given["LAB_TOPOLOGY"] = "LAB_TOPOLOGY"  # one of x-addresses
    running = load_running({name: lab.values[source] for name, source in given.items() if source in lab.values})
    assert running == lab


def spoken(lab: settings.Settings) -> tuple[str, str]:
    """Return what Alice speaks, and what Bob does."""
    return lab.values["LAB_TRANSPORT"], lab.values["LAB_BOB_TRANSPORT"]


def test_both_phones_speak_udp_or_what_is_said_and_bob_may_speak_something_else() -> None:
    assert spoken(load()) == ("udp", "udp")
    assert spoken(load(transport="tcp")) == ("tcp", "tcp")
    assert spoken(load(transport="tcp", bob_transport="udp")) == ("tcp", "udp")


def test_the_transport_may_come_from_the_environment_and_an_option_counts_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_TRANSPORT", "tcp")
    assert spoken(load()) == ("tcp", "tcp")
    assert spoken(load(transport="udp")) == ("udp", "udp")
    monkeypatch.setenv("LAB_BOB_TRANSPORT", "udp")
    assert spoken(load()) == ("tcp", "udp")


@pytest.mark.parametrize(
    ("transport", "bob", "phones", "has_tls"),
    [("udp", "udp", {"sipp"}, False), ("tcp", "tcp", {"sipp"}, False), ("tls", "tls", {"baresip"}, True),
     ("tls", "udp", {"sipp", "baresip"}, True), ("tcp", "tls", {"sipp", "baresip"}, True)],
)  # fmt: skip
def test_who_speaks_tls_has_a_phone_that_can(transport: str, bob: str, phones: set[str], has_tls: bool) -> None:
    lab = load(transport=transport, bob_transport=bob)
    assert (lab.phones, lab.has_tls) == (phones, has_tls)


def test_a_sipp_that_is_to_speak_tls_is_a_mistake() -> None:
    with pytest.raises(Mistake, match="--bob sipp: Debian's SIPp speaks no TLS; baresip does"):
        load(bob="sipp", transport="tls")


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("HOME_SUBNET", "10.77.0.0/16", "must be a /24 IPv4 network"),
        ("HOME_SUBNET", "10.77.1.7/24", "must be a /24 IPv4 network"),
        ("HOME_SUBNET", "home", "must be a /24 IPv4 network"),
        ("INTERNET_SUBNET", "fd00::/24", "must be a /24 IPv4 network"),
        ("INTERNET_SUBNET", "192.168.9.0/24", "must not be private"),
        ("HOME_SUBNET", "198.51.100.0/24", "must differ from INTERNET_SUBNET"),
        ("ALICE_IP", "10.78.1.100", "must be an address in HOME_SUBNET=10.77.1.0/24"),
        ("PROXY_IP", "proxy", "must be an address in INTERNET_SUBNET=198.51.100.0/24"),
        ("LAB_PROJECT", "My Lab", "must be of lower-case letters"),
        ("BOB_HOME_SUBNET", "10.77.0.0/16", "must be a /24 IPv4 network"),
        ("NAT_BOB_LAN_DOCKER_IP", "10.77.1.1", "must be an address in BOB_HOME_SUBNET=10.77.2.0/24"),
        ("ALICE_FACE_IP", "10.77.1.1", "must be an address in INTERNET_SUBNET=198.51.100.0/24"),
        ("BOB_IP", "198.51.100.255", "must be an address in INTERNET_SUBNET=198.51.100.0/24"),
        ("BOB_IP", "198.51.100.10", "is PROXY_IP too; give one of the two another address"),
        ("REFLECTOR_IP2", "198.51.100.30", "is REFLECTOR_IP too; give one of the two another address"),
        ("ALICE_IP", "10.77.1.250", "must be at most 10.77.1.239: a home has 16 from there on"),
        ("ALICE_FACE_IP", "198.51.100.240", "must be at most 198.51.100.239: a home has 16 from there on"),
        ("NAT_LAN_IP", "10.77.1.101", "is one of the 16 that a home has from ALICE_IP=10.77.1.100 on; give one"),
        ("NAT_WAN_IP2", "198.51.100.115", "is one of the 16 that a home has from ALICE_FACE_IP=198.51.100.100 on;"),
        ("NAT_TYPE", "carrier", "unknown; known: home, none,"),
        ("LAB_TOPOLOGY", "ring", "unknown; the topologies are one-home, two-homes, same-home, cgnat, no-nat"),
        ("LAB_OVERLAY", "/nowhere.yaml", "no such file"),
        ("PROXY_PYTHON", "ruby", "unknown; the proxy's image has pypy3, python3"),
        ("LAB_TRANSPORT", "sctp", "unknown; the transports are udp, tcp, tls"),
        ("LAB_BOB_TRANSPORT", "TCP", "unknown; the transports are udp, tcp, tls"),
    ],
)
def test_a_value_that_no_lab_can_have_is_a_mistake(
    name: str, value: str, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(Mistake) as mistake:
        load()
    assert str(mistake.value).startswith(f"{name}={value}: {complaint}")


def test_what_a_home_has_is_what_its_router_and_its_probe_use() -> None:
    assert rules.HOSTS.split() == list(map(str, range(settings.HOSTS_OF_A_HOME)))
    assert range(settings.PROBED) == range(0, max(pod.NEIGHBOURS) + 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [("ALICE_IP", "10.77.1.239"), ("HOME_GATEWAY", "10.77.1.116"), ("BOB_IP", "198.51.100.99"),
     ("BOB_IP", "198.51.100.140")],
)  # fmt: skip
def test_what_touches_nothing_may_be(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next address to a home's, and one that only another topology needs."""
    monkeypatch.setenv("HOME_GATEWAY", "10.77.1.3")  # out of the way of Alice's
    monkeypatch.setenv(name, value)
    assert load().values[name] == value


def complaint(topology: str) -> str:
    """Return what is said of the settings as they are, in a topology; nothing when all is well."""
    try:
        load(topology=topology)
    except Mistake as mistake:
        return str(mistake)
    return ""


@pytest.mark.parametrize("topology", settings.BOBS)
def test_an_address_is_taken_in_the_topologies_that_have_it(topology: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every variable is given the proxy's address, or the gateway's, in turn: exactly those in use are refused."""
    refused = set()
    for name, (subnet, _) in HOSTS.items():
        taken = {"HOME_SUBNET": "HOME_GATEWAY", "INTERNET_SUBNET": "PROXY_IP", settings.BOB_HOME: "BOB_HOME_GATEWAY"}
        if name != taken[subnet]:
            with monkeypatch.context() as patch:
                patch.setenv(name, load().values[taken[subnet]])
                if complaint(topology):
                    refused.add(name)
    known = HOSTS.keys() - {"HOME_GATEWAY", "PROXY_IP", "BOB_HOME_GATEWAY"}
    assert refused == known - {name for other, names in settings.BOBS.items() if other != topology for name in names}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ALICE_IP": "10.77.1.50"},
         "BOB_HOME_IP=10.77.1.110: must be from 10.77.1.53 to 10.77.1.63, of the home of ALICE_IP=10.77.1.50"),
        ({"BOB_HOME_IP": "10.77.1.102"},
         "BOB_HOME_IP=10.77.1.102: must be from 10.77.1.103 to 10.77.1.113, of the home of ALICE_IP=10.77.1.100"),
        ({"BOB_HOME_IP": "10.77.1.113"},
         "BOB_HOME_FACE_IP=198.51.100.110: must be 198.51.100.113, as far from ALICE_FACE_IP=198.51.100.100 as "
         "BOB_HOME_IP=10.77.1.113 is from ALICE_IP=10.77.1.100"),
        ({"BOB_HOME_IP": "10.77.1.113", "BOB_HOME_FACE_IP": "198.51.100.113"}, ""),
    ],
)  # fmt: skip
def test_two_phones_in_one_home_are_two_of_its_hosts(
    given: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert complaint("one-home") == ""  # he is not at home with her
    assert complaint("same-home") == said


@pytest.mark.parametrize("subnet", ["10.77.1.0/24", "198.51.100.0/24"])
def test_two_homes_are_three_networks(subnet: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOB_HOME_SUBNET", subnet)
    assert load().project  # one home asks for no third
    with pytest.raises(Mistake, match=f"BOB_HOME_SUBNET={subnet}: must differ from HOME_SUBNET and INTERNET_SUBNET"):
        load(topology="two-homes")


def test_an_unknown_remedy_or_phone_is_answered_with_the_known_ones() -> None:
    with pytest.raises(Mistake, match=f"--without magic: unknown; the remedies are {', '.join(REMEDIES)}"):
        load(without="rport,magic")
    with pytest.raises(Mistake, match="--alice tin-can: unknown; the phones are sipp, baresip"):
        load(alice="tin-can")


def test_all_mistakes_are_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME_SUBNET", "nonsense")
    monkeypatch.setenv("BOB_IP", "10.1.1.1")
    with pytest.raises(Mistake) as mistake:
        load(without="magic", alice="tin-can", nat="moon", bob_nat="x", topology="ring")
    said = str(mistake.value)
    assert "\n" not in said
    assert all(word in said for word in ("HOME_SUBNET=nonsense", "BOB_IP=10.1.1.1", "--without magic", "tin-can",
                                            "--nat moon", "--bob-nat x", "--topology ring"))
