"""The settings: one table, read from the environment and from a TOML file; the environment wins.

`--help`, `proxy check` and the commented example file are made of the same table. All mistakes are reported at once,
each with the key, the value and what is allowed.
"""

from __future__ import annotations

import ipaddress
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REMEDIES = ("received", "rport", "contact", "record_route", "flow", "keepalive", "relay")
LOG_LEVELS = ("debug", "info", "warning")
ALGORITHMS = ("SHA-512-256", "SHA-256", "MD5")


class BadSettings(Exception):
    """One line per mistake."""


@dataclass(slots=True)
class Settings:
    """What the proxy is told. Keys of the TOML file are the names of the fields; these are the defaults."""

    ip: list[str] = field(default_factory=lambda: ["127.0.0.1"])
    port: int = 5060
    transports: list[str] = field(default_factory=lambda: ["udp", "tcp"])
    advertise: list[str] = field(default_factory=list)
    domains: list[str] = field(default_factory=list)
    ua_mapping: dict[str, dict[str, Any]] = field(default_factory=dict)
    allow: list[str] = field(default_factory=list)
    without: list[str] = field(default_factory=list)
    users: str = ""
    realm: str = ""
    algorithms: list[str] = field(default_factory=lambda: list(ALGORITHMS))
    state: str = ""
    flush: float = 0.0
    expires_min: int = 60
    expires_default: int = 3600
    expires_max: int = 7200
    service_route: list[str] = field(default_factory=list)
    keepalive: int = 25
    keepalive_misses: int = 3
    relay: str = "off"
    relay_ports: str = "30000-30999"
    relay_timeout: int = 60
    t1: float = 0.5
    t2: float = 4.0
    t4: float = 5.0
    timer_c: float = 181.0
    max_transactions: int = 50_000
    tls_port: int = 5061
    tls_certificate: str = ""
    tls_key: str = ""
    tls_ca: str = ""
    tls_client: str = "none"
    tls_names: dict[str, list[str]] = field(default_factory=dict)
    max_connections: int = 10_000
    max_connections_per_source: int = 1000
    idle: int = 900
    max_message: int = 65_535
    message_time: int = 30
    dns: list[str] = field(default_factory=list)
    failures: int = 5
    refused_rate: int = 100
    http_ip: str = "127.0.0.1"
    http_port: int = 8060
    hep: str = ""
    drain: int = 5
    workers: int = 1
    log: str = "info"
    log_format: str = "human"

    def public_ip(self, ip: str) -> str:
        """Return what is written into Via and Record-Route for a bound address: the advertised one of its family."""
        family = ipaddress.ip_address(ip).version
        return next((each for each in self.advertise if ipaddress.ip_address(each).version == family), ip)

    def bound_ip(self, public: str) -> str:
        """Return the address of this machine that stands behind an advertised one."""
        return next((ip for ip in self.ip if self.public_ip(ip) == public), public)

    @property
    def collector(self) -> tuple[str, int]:
        """Address and port of `hep`, where it is set."""
        host, _, port = self.hep.rpartition(":")
        return host.removeprefix("[").removesuffix("]"), int(port)

    @property
    def relay_pairs(self) -> list[int]:
        """The even ports of `relay_ports`, each with the odd one above it in the range."""
        first, last = map(int, self.relay_ports.split("-"))
        return list(range(first + first % 2, last, 2))

    @property
    def auth_realm(self) -> str:
        """The realm of passwords: as set, else the first domain, else the first address."""
        return self.realm or next(iter(self.domains), self.public_ip(self.ip[0]))


@dataclass(slots=True, frozen=True)
class Key:
    """One setting: its names, what it is for, what is allowed, and how a value is read."""

    name: str
    variable: str
    what: str
    allowed: str  # with the unit
    read: Callable[[Any], Any]  # raises ValueError, TypeError or KeyError on a value that is not allowed


def _address(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return str(ipaddress.ip_address(value))


def _addresses(value: Any) -> list[str]:
    addresses = [_address(each) for each in _split(value)]
    if not addresses:
        raise ValueError
    return addresses


def _split(value: Any) -> list[Any]:
    return value.replace(",", " ").split() if isinstance(value, str) else list(value)


def _number(least: float, most: float, kind: type = int) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", str(value)):
            raise ValueError
        number = kind(value)
        if not least <= number <= most:
            raise ValueError
        return number

    return read


def _names(value: Any) -> list[str]:
    names = _split(value)
    if not all(isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in names):
        raise ValueError
    return names


def _of(*known: str) -> Callable[[Any], list[str]]:
    """Read a list of known names."""

    def read(value: Any) -> list[str]:
        names = _names(value)
        if not set(names) <= set(known):
            raise ValueError
        return names

    return read


def _some_of(*known: str) -> Callable[[Any], list[str]]:
    def read(value: Any) -> list[str]:
        names = _of(*known)(value)
        if not names:
            raise ValueError
        return names

    return read


def _one_of(*known: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in known:
            raise ValueError
        return str(value)

    return read


def _networks(value: Any) -> list[str]:
    return [str(ipaddress.ip_network(each)) for each in _split(value)]


def _collector(value: Any) -> str:
    if value == "":
        return ""
    host, _, port = str(value).rpartition(":")
    _address(host.removeprefix("[").removesuffix("]"))
    _number(1, 65535)(port)
    return str(value)


def _servers(value: Any) -> list[str]:
    for each in _split(value):
        host, _, port = each.rpartition("#")
        _address(host or each)
        if host:
            _number(1, 65535)(port)
    return _split(value)


def _path(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise TypeError
    return value


def _uris(value: Any) -> list[str]:
    uris = [str(each) for each in _split(value)]
    if not all(re.fullmatch(r"<sips?:[^<>\s,]+;lr[^<>\s,]*>", each) for each in uris):
        raise ValueError
    return uris


def _pairs(value: Any) -> dict[str, list[str]]:
    table = json.loads(value) if isinstance(value, str) else value
    pairs = {str(name): [_path(each) for each in paths] for name, paths in dict(table).items()}
    if not all(len(paths) == 2 for paths in pairs.values()):
        raise ValueError
    return pairs


def _mapping(value: Any) -> dict[str, dict[str, Any]]:
    table = json.loads(value) if isinstance(value, str) else value
    users: dict[str, dict[str, Any]] = {}
    port = _number(1, 65535)
    for user, given in dict(table).items():
        if not set(given) <= {"ip", "port", "nat_ip", "nat_port"} or ("nat_port" in given and "nat_ip" not in given):
            raise ValueError
        users[user] = {"ip": _address(given["ip"]), "port": port(given.get("port", 5060))}
        if "nat_ip" in given:
            users[user] |= {"nat_ip": _address(given["nat_ip"]), "nat_port": port(given.get("nat_port", 5060))}
    return users


def _range(value: Any) -> str:
    first, last = (_number(1024, 65535)(part) for part in str(value).split("-"))
    if last - first < 3:
        raise ValueError
    return f"{first}-{last}"


_port = _number(1, 65535)

KEYS = (
    Key("ip", "SIP_PROXY_IP", "where it listens",
        "addresses of this machine, IPv4 or IPv6, separated by commas; 0.0.0.0 and :: need advertise", _addresses),
    Key("port", "SIP_PROXY_PORT", "the port for UDP and TCP", "a port from 1 to 65535", _port),
    Key("transports", "SIP_PROXY_TRANSPORTS", "what is spoken on it; TLS follows from tls_certificate",
        "one or both of udp, tcp", _some_of("udp", "tcp")),
    Key("advertise", "SIP_PROXY_ADVERTISE", "the addresses that others reach us at, written into Via and Record-Route",
        "an IPv4 and/or an IPv6 address (default: ip)", _addresses),
    Key("domains", "SIP_PROXY_DOMAINS", "host names that are ours beside our addresses",
        "names separated by commas", _names),
    Key("ua_mapping", "UA_MAPPING", "users without registration, asked when they have no binding",
        '{"bob": {"ip": ADDRESS, "port": PORT}}, and nat_ip, nat_port for a phone behind a NAT', _mapping),
    Key("allow", "SIP_PROXY_ALLOW", "who may send through us to anywhere without a password: your own trunks",
        "addresses or networks separated by commas", _networks),
    Key("without", "SIP_PROXY_WITHOUT", "NAT remedies to switch off", f"some of {', '.join(REMEDIES)}", _of(*REMEDIES)),
    Key("users", "SIP_PROXY_USERS", "passwords are asked for exactly when this is set: see `proxy user add`",
        "a file", _path),
    Key("realm", "SIP_PROXY_REALM", "what phones show when they ask for the password, and part of every HA1",
        "a name (default: the first domain, else the address)", _path),
    Key("algorithms", "SIP_PROXY_ALGORITHMS", "digests that are offered, the best first",
        f"some of {', '.join(ALGORITHMS)}", _some_of(*ALGORITHMS)),
    Key("state", "SIP_PROXY_STATE", "where bindings and the key that signs routes are kept over a restart",
        "a folder (default: nowhere)", _path),
    Key("flush", "SIP_PROXY_FLUSH", "how long a confirmed binding may be in memory only; 0: on disk before the 200",
        "seconds from 0 to 60", _number(0, 60, float)),
    Key("expires_min", "SIP_PROXY_EXPIRES_MIN", "a shorter registration is refused with 423",
        "seconds from 1 to 3600", _number(1, 3600)),
    Key("expires_default", "SIP_PROXY_EXPIRES_DEFAULT", "how long a registration lasts when the phone does not say",
        "seconds from 1 to 604800", _number(1, 604800)),
    Key("expires_max", "SIP_PROXY_EXPIRES_MAX", "a longer registration is shortened to this",
        "seconds from 1 to 604800", _number(1, 604800)),
    Key("service_route", "SIP_PROXY_SERVICE_ROUTE", "Service-Route values given to registered phones (RFC 3608)",
        "<sip:host;lr> values separated by commas", _uris),
    Key("keepalive", "SIP_PROXY_KEEPALIVE", "how often a registered phone behind a NAT is asked (OPTIONS); 0: never",
        "seconds from 0 to 3600", _number(0, 3600)),
    Key("keepalive_misses", "SIP_PROXY_KEEPALIVE_MISSES", "so many unanswered in a row end its binding",
        "a number from 1 to 100", _number(1, 100)),
    Key("relay", "SIP_PROXY_RELAY", "whose media comes through us: of nobody, of phones behind NATs, of all",
        "one of off, auto, always", _one_of("off", "auto", "always")),
    Key("relay_ports", "SIP_PROXY_RELAY_PORTS", "UDP ports for that, four a call: two for each side",
        "FIRST-LAST, ports from 1024 to 65535, at least four", _range),
    Key("relay_timeout", "SIP_PROXY_RELAY_TIMEOUT", "media that is silent for so long has ended",
        "seconds from 5 to 86400", _number(5, 86400)),
    Key("t1", "SIP_PROXY_T1", "RFC 3261's T1: the round-trip time", "seconds from 0.01 to 10",
        _number(0.01, 10, float)),
    Key("t2", "SIP_PROXY_T2", "T2: the longest interval between retransmissions", "seconds from 0.01 to 60",
        _number(0.01, 60, float)),
    Key("t4", "SIP_PROXY_T4", "T4: how long a message stays in the network", "seconds from 0.01 to 60",
        _number(0.01, 60, float)),
    Key("timer_c", "SIP_PROXY_TIMER_C", "Timer C: how long an INVITE may ring", "seconds from 1 to 3600",
        _number(1, 3600, float)),
    Key("max_transactions", "SIP_PROXY_MAX_TRANSACTIONS", "live transactions above which new requests get 503",
        "a number from 1 to 10000000", _number(1, 10_000_000)),
    Key("tls_port", "SIP_PROXY_TLS_PORT", "the port for TLS", "a port from 1 to 65535", _port),
    Key("tls_certificate", "SIP_PROXY_TLS_CERTIFICATE", "the certificate chain; TLS is spoken exactly when it is set",
        "a PEM file", _path),
    Key("tls_key", "SIP_PROXY_TLS_KEY", "its private key", "a PEM file", _path),
    Key("tls_ca", "SIP_PROXY_TLS_CA", "whom we trust when we connect, and whose phones when tls_client asks",
        "a PEM file (default: the system's)", _path),
    Key("tls_client", "SIP_PROXY_TLS_CLIENT", "whether phones must have a certificate of tls_ca's",
        "one of none, optional, required", _one_of("none", "optional", "required")),
    Key("tls_names", "SIP_PROXY_TLS_NAMES", "more certificates, chosen by the name that a client asks for (SNI)",
        '{"example.org": [CERTIFICATE, KEY]}', _pairs),
    Key("max_connections", "SIP_PROXY_MAX_CONNECTIONS", "TCP and TLS connections at a time",
        "a number from 1 to 1000000", _number(1, 1_000_000)),
    Key("max_connections_per_source", "SIP_PROXY_MAX_CONNECTIONS_PER_SOURCE", "of them, from one address",
        "a number from 1 to 1000000", _number(1, 1_000_000)),
    Key("idle", "SIP_PROXY_IDLE", "a connection without a byte for so long is closed", "seconds from 1 to 86400",
        _number(1, 86400)),
    Key("max_message", "SIP_PROXY_MAX_MESSAGE", "a longer message on a connection closes it",
        "bytes from 1000 to 65535", _number(1000, 65535)),
    Key("message_time", "SIP_PROXY_MESSAGE_TIME", "a connection whose message is not whole after so long is closed",
        "seconds from 1 to 600", _number(1, 600)),
    Key("dns", "SIP_PROXY_DNS", "name servers", "addresses, as 198.51.100.53 or 198.51.100.53#5353 "
        "(default: those of /etc/resolv.conf)", _servers),
    Key("failures", "SIP_PROXY_FAILURES", "wrong passwords of one user from one source before they cost time",
        "a number from 1 to 1000000", _number(1, 1_000_000)),
    Key("refused_rate", "SIP_PROXY_REFUSED_RATE", "refused or challenged requests a source may send, on the average",
        "requests a second from 1 to 1000000", _number(1, 1_000_000)),
    Key("http_ip", "SIP_PROXY_HTTP_IP", "where /metrics, /healthz and /registrations are served", "an address of this "
        "machine", _address),
    Key("http_port", "SIP_PROXY_HTTP_PORT", "and at which port; 0: nowhere", "a port from 0 to 65535",
        _number(0, 65535)),
    Key("hep", "SIP_PROXY_HEP", "a collector to which every message is mirrored as HEP3, credentials and all",
        "an address and a port, as 198.51.100.60:9060 or [2001:db8::60]:9060", _collector),
    Key("drain", "SIP_PROXY_DRAIN", "how long SIGTERM waits for calls that are being set up", "seconds from 0 to 600",
        _number(0, 600)),
    Key("workers", "SIP_PROXY_WORKERS", "processes that share the work: as many as processors; limits hold for each",
        "a number from 1 to 64", _number(1, 64)),
    Key("log", "SIP_PROXY_LOG", "how much is logged", f"one of {', '.join(LOG_LEVELS)}", _one_of(*LOG_LEVELS)),
    Key("log_format", "SIP_PROXY_LOG_FORMAT", "for people or for programs", "one of human, json",
        _one_of("human", "json")),
)  # fmt: skip


def load(environment: Mapping[str, str], path: Path | None) -> tuple[Settings, dict[str, str]]:
    """Return the settings, and where each that is not a default came from. Raises BadSettings with every mistake."""
    mistakes: list[str] = []
    table = _read(path, mistakes) if path else {}
    settings, origins = Settings(), {}
    known = {key.name for key in KEYS}
    unknown = sorted(set(table) - known)
    mistakes += [f"{path}: {name}: unknown key; known are {', '.join(sorted(known))}" for name in unknown]
    for key in KEYS:
        given = environment.get(key.variable) or None  # compose passes an unset variable as an empty one
        where = key.variable if given is not None else f"{path}: {key.name}"
        value = given if given is not None else table.get(key.name)
        if value is None:
            continue
        try:
            setattr(settings, key.name, value if value == getattr(settings, key.name) else key.read(value))
            origins[key.name] = where
        except (ValueError, TypeError, KeyError, AttributeError):
            mistakes.append(f"{where}={value!r}: allowed is {key.allowed}")
    mistakes += _contradictions(settings)
    if mistakes:
        raise BadSettings("\n".join(mistakes))
    return settings, origins


def _contradictions(settings: Settings) -> list[str]:
    """Return what each value allows and all together do not."""
    found = [
        f"SIP_PROXY_ADVERTISE is not set: SIP_PROXY_IP={ip} needs the address that others use"
        for ip in settings.ip
        if settings.public_ip(ip) in {"0.0.0.0", "::"}
    ]
    public = [settings.public_ip(ip) for ip in settings.ip]
    if len(set(public)) < len(public):
        found.append(f"SIP_PROXY_IP={','.join(settings.ip)}: each needs an address of its own that others use")
    if bool(settings.tls_certificate) != bool(settings.tls_key):
        found.append("SIP_PROXY_TLS_CERTIFICATE and SIP_PROXY_TLS_KEY: set both or none")
    if settings.tls_client != "none" and not settings.tls_ca:
        found.append(f"SIP_PROXY_TLS_CLIENT={settings.tls_client}: needs SIP_PROXY_TLS_CA, whose certificates count")
    if not settings.expires_min <= settings.expires_default <= settings.expires_max:
        found.append("SIP_PROXY_EXPIRES_MIN, _DEFAULT and _MAX: must not fall in this order")
    if settings.tls_certificate and settings.tls_port == settings.port and "tcp" in settings.transports:
        found.append(f"SIP_PROXY_TLS_PORT={settings.tls_port}: must differ from SIP_PROXY_PORT")
    return found


def default_of(key: Key) -> str:
    """Return a default as it would be written into the TOML file."""
    return json.dumps(getattr(Settings(), key.name), ensure_ascii=False)


def help_text() -> str:
    """Return every setting with its names, default, unit and what it is for."""
    blocks = [
        f"  {key.name:<27} {key.variable}\n      {key.what}\n      {key.allowed}; default {default_of(key)}"
        for key in KEYS
    ]
    return "\n".join(blocks)


def example() -> str:
    """Return a commented TOML file with every setting at its default."""
    head = "# Settings of the SIP proxy: `python -m proxy --config FILE`. Every line shows the default.\n"
    blocks = []
    for key in KEYS:
        value = default_of(key)
        name = f"[{key.name}]" if value == "{}" else f"{key.name} = {value}"
        blocks.append(f"# {key.what} ({key.variable})\n# {key.allowed}\n#{name}\n")
    tables = [block for block in blocks if block.splitlines()[2].startswith("#[")]  # a table ends what is above it
    return "\n".join([head, *(block for block in blocks if block not in tables), *tables])


def _read(path: Path, mistakes: list[str]) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        mistakes.append(f"{path}: cannot be read: {error.strerror}")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        mistakes.append(f"{path}: is not TOML: {error}")
    return {}
