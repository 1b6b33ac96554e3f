"""The settings: environment and TOML file, all mistakes at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy import config
from proxy.config import KEYS, REMEDIES, BadSettings, Settings
from proxy.core.remedies import NAMES


def load(environment: dict[str, str], path: Path | None) -> Settings:
    return config.load(environment, path)[0]


def mistakes(environment: dict[str, str], path: Path | None = None) -> list[str]:
    with pytest.raises(BadSettings) as caught:
        load(environment, path)
    return str(caught.value).splitlines()


def toml(folder: Path, text: str) -> Path:
    path = folder / "proxy.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_without_settings_the_proxy_lives_on_loopback() -> None:
    settings = load({}, None)
    assert settings == Settings()
    assert (settings.ip, settings.port, settings.public_ip("127.0.0.1")) == (["127.0.0.1"], 5060, "127.0.0.1")


def test_an_empty_variable_is_an_unset_one() -> None:
    assert load({"SIP_PROXY_IP": "", "UA_MAPPING": "", "SIP_PROXY_WITHOUT": ""}, None) == Settings()


def test_every_setting_is_read_from_the_environment() -> None:
    settings = load(
        {
            "SIP_PROXY_IP": "0.0.0.0",
            "SIP_PROXY_PORT": "5070",
            "SIP_PROXY_ADVERTISE": "198.51.100.10",
            "SIP_PROXY_DOMAINS": "example.org, example.com",
            "SIP_PROXY_WITHOUT": "rport,contact",
            "SIP_PROXY_LOG": "debug",
            "UA_MAPPING": '{"alice": {"ip": "10.0.0.10", "nat_ip": "198.51.100.20"}, '
            '"bob": {"ip": "198.51.100.200", "port": 5062}}',
        },
        None,
    )
    assert (settings.ip, settings.port, settings.public_ip("0.0.0.0")) == (["0.0.0.0"], 5070, "198.51.100.10")
    assert (settings.domains, settings.without) == (["example.org", "example.com"], ["rport", "contact"])
    assert settings.ua_mapping == {
        "alice": {"ip": "10.0.0.10", "port": 5060, "nat_ip": "198.51.100.20", "nat_port": 5060},
        "bob": {"ip": "198.51.100.200", "port": 5062},
    }


def test_every_setting_is_read_from_a_file_and_the_environment_wins(tmp_path: Path) -> None:
    path = toml(
        tmp_path,
        'ip = "198.51.100.10"\nport = 5070\ndomains = ["example.org"]\nwithout = ["flow"]\n'
        '[ua_mapping.alice]\nip = "10.0.0.10"\nport = 5061\nnat_ip = "198.51.100.20"\nnat_port = 40000\n',
    )
    settings = load({"SIP_PROXY_PORT": "5080"}, path)
    assert (settings.ip, settings.port, settings.domains) == (["198.51.100.10"], 5080, ["example.org"])
    assert settings.ua_mapping["alice"]["nat_port"] == 40000


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SIP_PROXY_IP", "localhost"),
        ("SIP_PROXY_IP", "127.0.0.1,::1::"),
        ("SIP_PROXY_IP", ","),
        ("SIP_PROXY_TRANSPORTS", "udp,sctp"),
        ("SIP_PROXY_TRANSPORTS", ","),
        ("SIP_PROXY_ALLOW", "198.51.100.0/33"),
        ("SIP_PROXY_ALLOW", "198.51.100.1/24"),
        ("SIP_PROXY_ALGORITHMS", "SHA-1"),
        ("SIP_PROXY_FLUSH", "-1"),
        ("SIP_PROXY_FLUSH", "61"),
        ("SIP_PROXY_T1", "0"),
        ("SIP_PROXY_T1", "nan"),
        ("SIP_PROXY_MAX_TRANSACTIONS", "1e9"),
        ("SIP_PROXY_KEEPALIVE", "2.5"),
        ("SIP_PROXY_TLS_CLIENT", "maybe"),
        ("SIP_PROXY_TLS_NAMES", '{"a": ["only one"]}'),
        ("SIP_PROXY_DNS", "ns.example.org"),
        ("SIP_PROXY_DNS", "198.51.100.53#0"),
        ("SIP_PROXY_SERVICE_ROUTE", "sip:here;lr"),
        ("SIP_PROXY_SERVICE_ROUTE", "<sip:here>"),
        ("SIP_PROXY_HTTP_IP", "localhost"),
        ("SIP_PROXY_LOG_FORMAT", "xml"),
        ("SIP_PROXY_PORT", "0"),
        ("SIP_PROXY_PORT", "65536"),
        ("SIP_PROXY_PORT", "-5060"),
        ("SIP_PROXY_PORT", "5060\n"),
        ("SIP_PROXY_ADVERTISE", "example.org"),
        ("SIP_PROXY_DOMAINS", "exa mple.org,b@d"),
        ("SIP_PROXY_WITHOUT", "rport,magic"),
        ("SIP_PROXY_LOG", "verbose"),
        ("UA_MAPPING", "{"),
        ("UA_MAPPING", "[]x"),
        ("UA_MAPPING", '["bob"]'),
        ("UA_MAPPING", '{"bob": "198.51.100.200"}'),
        ("UA_MAPPING", '{"bob": {}}'),
        ("UA_MAPPING", '{"bob": {"ip": "bob"}}'),
        ("UA_MAPPING", '{"bob": {"ip": 7}}'),
        ("UA_MAPPING", '{"bob": {"ip": "10.0.0.1", "port": true}}'),
        ("UA_MAPPING", '{"bob": {"ip": "10.0.0.1", "prot": 5060}}'),
        ("UA_MAPPING", '{"bob": {"ip": "10.0.0.1", "nat_port": 5060}}'),
    ],
)
def test_a_wrong_value_is_one_line_with_key_value_and_what_is_allowed(variable: str, value: str) -> None:
    (line,) = mistakes({variable: value})
    assert line.startswith(f"{variable}={value!r}: allowed is ")


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    path = toml(tmp_path, 'port = "x"\nlog = 7\nzzz = 1\naaa = 2\n')
    lines = mistakes({"SIP_PROXY_IP": "x", "UA_MAPPING": "x"}, path)
    keys = [line.partition("=")[0] for line in lines[2:]]
    assert keys == ["SIP_PROXY_IP", f"{path}: port", "UA_MAPPING", f"{path}: log"]
    assert lines[0].startswith(f"{path}: aaa: unknown key; known are ")
    assert lines[1].startswith(f"{path}: zzz: unknown key")


def test_all_interfaces_demand_an_address_to_advertise() -> None:
    (line,) = mistakes({"SIP_PROXY_IP": "0.0.0.0"})
    assert "SIP_PROXY_ADVERTISE" in line
    (line,) = mistakes({"SIP_PROXY_IP": "0.0.0.0,::", "SIP_PROXY_ADVERTISE": "198.51.100.10"})
    assert "SIP_PROXY_IP=::" in line
    settings = load({"SIP_PROXY_IP": "0.0.0.0,::", "SIP_PROXY_ADVERTISE": "198.51.100.10,2001:db8::10"}, None)
    assert [settings.public_ip(ip) for ip in settings.ip] == ["198.51.100.10", "2001:db8::10"]


def test_each_setting_has_a_default_and_is_explained_once() -> None:
    assert {key.name for key in KEYS} == set(Settings.__dataclass_fields__)
    for key in KEYS:
        assert config.help_text().count(key.variable + "\n") == 1
        assert config.example().count(f"({key.variable})") == 1


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_each_default_is_a_value_that_is_allowed(key: config.Key) -> None:
    default = getattr(Settings(), key.name)
    if default not in ("", []):
        assert key.read(default) == default


def test_the_realm_is_what_was_set_or_the_domain_or_the_address() -> None:
    assert load({"SIP_PROXY_REALM": "here", "SIP_PROXY_DOMAINS": "example.org"}, None).auth_realm == "here"
    assert load({"SIP_PROXY_DOMAINS": "example.org"}, None).auth_realm == "example.org"
    assert load({}, None).auth_realm == "127.0.0.1"


@pytest.mark.parametrize("text", ["port =", "\x00", "port = 1\nport = 2"])
def test_a_file_that_is_no_toml_is_one_line(tmp_path: Path, text: str) -> None:
    (line,) = mistakes({}, toml(tmp_path, text))
    assert "is not TOML" in line


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    (line,) = mistakes({}, tmp_path / "none.toml")
    assert line.endswith("cannot be read: No such file or directory")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    assert len(mistakes({}, binary)) == 1


def test_the_remedies_have_the_same_names_on_both_floors() -> None:
    assert REMEDIES == NAMES
