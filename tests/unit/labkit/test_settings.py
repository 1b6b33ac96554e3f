"""Two subnets and a name make a lab; what no lab can have is said, all of it at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from labkit import settings
from labkit.outcome import Mistake
from labkit.settings import HOSTS, REMEDIES, ROOT, load, remember


@pytest.fixture(autouse=True)
def dotenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty .env, and an environment that says nothing of the lab."""
    for name in [*settings.DEFAULTS, *HOSTS, "NAT_TYPE", "BASE_IMAGE", "LAB_OVERLAY", "LAB_TRANSPORT",
                 "LAB_BOB_TRANSPORT"]:  # fmt: skip
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
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(HOSTS))
def test_what_compose_defaults_to_is_what_is_derived(name: str) -> None:
    assert f"${{{name}:-{load().values[name]}}}" in (ROOT / "compose.yaml").read_text(encoding="utf-8")


def test_the_addresses_follow_from_the_subnets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME_SUBNET", "10.90.3.0/24")
    monkeypatch.setenv("INTERNET_SUBNET", "198.18.4.0/24")
    values = load().values
    assert (values["ALICE_IP"], values["NAT_WAN_IP"]) == ("10.90.3.100", "198.18.4.20")


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
        ("NAT_TYPE", "carrier", "unknown; the kinds are home"),
        ("LAB_OVERLAY", "/nowhere.yaml", "no such file"),
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


def test_an_unknown_remedy_or_phone_is_answered_with_the_known_ones() -> None:
    with pytest.raises(Mistake, match=f"--without magic: unknown; the remedies are {', '.join(REMEDIES)}"):
        load(without="rport,magic")
    with pytest.raises(Mistake, match="--alice tin-can: unknown; the phones are sipp, baresip"):
        load(alice="tin-can")


def test_all_mistakes_are_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME_SUBNET", "nonsense")
    monkeypatch.setenv("BOB_IP", "10.1.1.1")
    with pytest.raises(Mistake) as mistake:
        load(without="magic", alice="tin-can")
    said = str(mistake.value)
    assert "\n" not in said
    assert all(word in said for word in ("HOME_SUBNET=nonsense", "BOB_IP=10.1.1.1", "--without magic", "tin-can"))
