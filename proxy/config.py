"""The settings: one table, read from the environment and from a TOML file; the environment wins.

All mistakes are reported at once, each with the key, the value and what is allowed.
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

REMEDIES = ("received", "rport", "contact", "record_route", "flow")
LOG_LEVELS = ("debug", "info", "warning")


class BadSettings(Exception):
    """One line per mistake."""


@dataclass(slots=True)
class Settings:
    """What the proxy is told. Keys of the TOML file are the names of the fields."""

    ip: str = "127.0.0.1"
    port: int = 5060
    advertise: str = ""
    domains: list[str] = field(default_factory=list)
    ua_mapping: dict[str, dict[str, Any]] = field(default_factory=dict)
    without: list[str] = field(default_factory=list)
    log: str = "info"

    @property
    def public_ip(self) -> str:
        """The address that is written into Via and Record-Route."""
        return self.advertise or self.ip


@dataclass(slots=True, frozen=True)
class Key:
    """One setting: its names, what is allowed, how a value is read, and whether it counts."""

    name: str
    variable: str
    allowed: str
    read: Callable[[Any], Any]  # raises ValueError, TypeError or KeyError on a value that is not allowed


def _address(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return str(ipaddress.IPv4Address(value))


def _port(value: Any) -> int:
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,5}", str(value)) or not 0 < int(value) < 65536:
        raise ValueError
    return int(value)


def _names(value: Any) -> list[str]:
    names = value.replace(",", " ").split() if isinstance(value, str) else list(value)
    if not all(isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in names):
        raise ValueError
    return names


def _remedies(value: Any) -> list[str]:
    names = _names(value)
    if not set(names) <= set(REMEDIES):
        raise ValueError
    return names


def _level(value: Any) -> str:
    if value not in LOG_LEVELS:
        raise ValueError
    return str(value)


def _mapping(value: Any) -> dict[str, dict[str, Any]]:
    table = json.loads(value) if isinstance(value, str) else value
    users: dict[str, dict[str, Any]] = {}
    for user, given in dict(table).items():
        if not set(given) <= {"ip", "port", "nat_ip", "nat_port"} or ("nat_port" in given and "nat_ip" not in given):
            raise ValueError
        users[user] = {"ip": _address(given["ip"]), "port": _port(given.get("port", 5060))}
        if "nat_ip" in given:
            users[user] |= {"nat_ip": _address(given["nat_ip"]), "nat_port": _port(given.get("nat_port", 5060))}
    return users


KEYS = (
    Key("ip", "SIP_PROXY_IP", "an IPv4 address of this machine (default 127.0.0.1); 0.0.0.0 needs advertise", _address),
    Key("port", "SIP_PROXY_PORT", "a UDP port from 1 to 65535 (default 5060)", _port),
    Key("advertise", "SIP_PROXY_ADVERTISE", "the IPv4 address that others reach us at (default: ip)", _address),
    Key("domains", "SIP_PROXY_DOMAINS", "host names that are ours beside our address, separated by commas", _names),
    Key(
        "ua_mapping",
        "UA_MAPPING",
        'users without registration: {"bob": {"ip": ADDRESS, "port": PORT}}, and nat_ip, nat_port behind a NAT',
        _mapping,
    ),
    Key("without", "SIP_PROXY_WITHOUT", f"NAT remedies to switch off, of: {', '.join(REMEDIES)}", _remedies),
    Key("log", "SIP_PROXY_LOG", f"one of {', '.join(LOG_LEVELS)} (default info)", _level),
)


def load(environment: Mapping[str, str], path: Path | None) -> Settings:
    """Return the settings. Raises BadSettings with every mistake."""
    mistakes: list[str] = []
    table = _read(path, mistakes) if path else {}
    settings = Settings()
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
            setattr(settings, key.name, key.read(value))
        except (ValueError, TypeError, KeyError, AttributeError):
            mistakes.append(f"{where}={value!r}: allowed is {key.allowed}")
    if settings.public_ip == "0.0.0.0":
        mistakes.append("SIP_PROXY_ADVERTISE is not set: SIP_PROXY_IP=0.0.0.0 needs the address that others use")
    if mistakes:
        raise BadSettings("\n".join(mistakes))
    return settings


def _read(path: Path, mistakes: list[str]) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        mistakes.append(f"{path}: cannot be read: {error.strerror}")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        mistakes.append(f"{path}: is not TOML: {error}")
    return {}
