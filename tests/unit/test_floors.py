"""The house and its floors (docs: the design): who may import what, read from the sources."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# What each room of the proxy may import of ours, by prefix; the longest prefix of a module's name is its room.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "proxy": (),
    "proxy.__main__": ("proxy.cli",),
    "proxy.cli": ("proxy.config", "proxy.ping", "proxy.admin", "proxy.serve"),
    "proxy.ping": ("proxy.config",),
    "proxy.admin": ("proxy.config", "proxy.users", "proxy.build", "proxy.net"),
    "proxy.serve": ("proxy.config", "proxy.log", "proxy.users", "proxy.build", "proxy.net"),
    "proxy.build": ("proxy.config", "proxy.log", "proxy.users", "proxy.net", "proxy.core"),
    "proxy.config": (),
    "proxy.log": (),
    "proxy.metrics": (),
    "proxy.users": ("proxy.sip.digest",),
    "proxy.net": ("proxy.net", "proxy.log", "proxy.metrics", "proxy.core", "proxy.sip"),
    "proxy.core": ("proxy.core", "proxy.sip"),
    "proxy.sip": ("proxy.sip",),
    "observer": ("observer",),
    "labkit": ("labkit", "nat.kinds"),  # the kinds are data; all else of the router is in its container
    "labkit.measure": ("labkit", "nat.kinds", "nat.probe", "nat.prober", "nat.lifetimes"),  # but somebody else's router
    "labkit.reflector": ("labkit", "nat.reflector"),
}  # fmt: skip

# The core is told the time and the key, and asks nobody.
NO_CORE = {"asyncio", "socket", "time", "random", "secrets", "sqlite3", "threading", "os", "datetime"}
STANDARD = sys.stdlib_module_names | {"pypyjit"}  # PyPy's library has a module that CPython's has not
NO_OUTSIDE = {"proxy.core": NO_CORE, "proxy.sip": NO_CORE | {"hmac"}}

# The policies of the core know nothing of each other: the engine knows their order. Its second half, forwarding, knows
# four of them.
ENGINE = "engine"
POLICIES = {
    "nat", "registrar", "auth", "route", "forking", "validate", "admission", "keepalive", "forwarding", "identity",
    "media",
}  # fmt: skip
MAY_KNOW = {"forwarding": {"nat", "route", "forking", "media"}, "identity": {"auth", "admission"}}

# What policies are made of; these know no policy.
MECHANISMS = {
    "flow", "effects", "timers", "transaction", "transactions", "listeners", "location", "target", "signer", "contacts",
    "party", "remedies",
}  # fmt: skip


def imports(source: str, module: str) -> Iterator[str]:
    """Yield the full name of everything that a module imports; `from a import b` yields both a and a.b."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*module.split(".")[: -node.level], *([base] if base else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def is_in(name: str, room: str) -> bool:
    return name == room or name.startswith(room + ".")


def room_of(module: str) -> str:
    return max((room for room in MAY_IMPORT if is_in(module, room)), key=len)


def breaches(source: str, module: str) -> list[str]:
    """Return what a module imports and may not."""
    room = room_of(module)
    found = []
    for name in imports(source, module):
        top = name.partition(".")[0]
        if top in {"proxy", "observer", "labkit", "nat"}:
            allowed = any(is_in(name, other) or is_in(other, name) for other in MAY_IMPORT[room]) or name == "proxy"
        elif top == "__future__":
            allowed = True
        else:
            is_banned = any(is_in(module, floor) and top in banned for floor, banned in NO_OUTSIDE.items())
            allowed = not is_banned and (not is_in(module, "proxy") or top in STANDARD)
        if not allowed or not knows(core_name(module), core_name(name)):
            found.append(f"{module} imports {name}")
    return found


def core_name(module: str) -> str:
    """Return which module of the core this is, or is in; "" for none."""
    return module.removeprefix("proxy.core.").partition(".")[0] if module.startswith("proxy.core.") else ""


def knows(one: str, other: str) -> bool:
    """Say whether one module of the core may know another: the engine all, policies and mechanisms no other policy."""
    if one in {"", ENGINE} or other in {"", one}:
        return True
    return other in MAY_KNOW.get(one, set()) or other not in POLICIES | {ENGINE}


def modules() -> list[tuple[str, Path]]:
    found = []
    for house in ("proxy", "observer", "labkit"):
        for path in sorted((ROOT / house).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found.append((".".join(parts).removesuffix(".__init__"), path))
    return found


@pytest.mark.parametrize(("module", "path"), [pytest.param(*each, id=each[0]) for each in modules()])
def test_a_module_imports_only_what_its_floor_allows(module: str, path: Path) -> None:
    assert breaches(path.read_text(encoding="utf-8"), module) == []


def test_the_walk_finds_the_houses() -> None:
    names = {name for name, _ in modules()}
    assert {"proxy", "proxy.__main__", "proxy.core.engine", "proxy.sip.parse", "observer", "labkit"} <= names


def test_every_module_of_the_core_is_the_engine_a_policy_or_a_mechanism() -> None:
    assert not POLICIES & MECHANISMS
    assert {core_name(name) for name, _ in modules()} - {""} == POLICIES | MECHANISMS | {ENGINE}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("proxy.sip.parse", "from proxy.core import flow"),
        ("proxy.sip.parse", "def f():\n    import proxy.core.engine"),
        ("proxy.sip.parse", "from ..core.flow import Flow"),
        ("proxy.sip.parse", "import time"),
        ("proxy.core.engine", "from proxy.net import udp"),
        ("proxy.core.engine", "from proxy.config import Settings"),
        ("proxy.core.engine", "from proxy import log"),
        ("proxy.core.engine", "from time import monotonic"),
        ("proxy.core.engine", "import asyncio.events"),
        ("proxy.core.engine", "import socket as s"),
        ("proxy.core.engine", "if True:\n    from secrets import token_bytes"),
        ("proxy.core.engine", "import random, sqlite3"),
        ("proxy.core.nat", "from proxy.core import route"),
        ("proxy.core.route", "from proxy.core import nat"),
        ("proxy.core.nat", "from proxy.core.registrar import register"),
        ("proxy.core.registrar", "from . import nat"),
        ("proxy.core.validate", "from .route import Router"),
        ("proxy.core.auth", "from proxy.core import admission"),
        ("proxy.core.keepalive", "from proxy.core import registrar"),
        ("proxy.core.forking", "from proxy.core.forwarding import Forwarding"),
        ("proxy.core.forwarding", "from proxy.core import registrar"),
        ("proxy.core.forwarding", "from proxy.core import nat, auth"),
        ("proxy.core.forwarding", "from proxy.core.engine import Engine"),
        ("proxy.core.transactions", "from proxy.core.forking import ResponseContext"),
        ("proxy.core.location", "from proxy.core.registrar import Terms"),
        ("proxy.core.target", "from . import engine"),
        ("proxy.net.shell", "from proxy import cli"),
        ("proxy.net.shell", "from proxy.config import Settings"),
        ("proxy.config", "from proxy.core.remedies import NAMES"),
        ("proxy.log", "from proxy import config"),
        ("proxy.metrics", "from proxy.core.effects import Note"),
        ("proxy.metrics", "from proxy import log"),
        ("proxy.users", "from proxy.sip import parse"),
        ("proxy.users", "from proxy.sip.errors import SipError"),
        ("proxy.users", "from proxy import config"),
        ("proxy.net.store", "from proxy import users"),
        ("proxy.core.auth", "from proxy.users import read"),
        ("proxy.cli", "import requests"),
        ("proxy.cli", "from proxy.core.engine import Engine"),
        ("proxy.ping", "from proxy.net import tls"),
        ("proxy.ping", "def ping():\n    from proxy import serve"),
        ("proxy.serve", "from proxy import cli"),
        ("proxy.serve", "from proxy.admin import check"),
        ("proxy.serve", "from proxy.core.engine import Engine"),
        ("proxy.build", "from proxy.serve import serve"),
        ("proxy.cli", "from observer import story"),
        ("observer.story", "from proxy.sip.parse import parse"),
        ("observer.story", "import labkit"),
        ("labkit.up", "from proxy import config"),
        ("labkit.up", "import observer.story"),
        ("labkit.nats", "from nat import rules"),
        ("labkit.nats", "from nat.kinds import PRESETS\nimport nat.impair"),
        ("proxy.core.nat", "from nat import kinds"),
        ("observer.checks", "import nat.probe"),
    ],
)
def test_the_detector_detects(module: str, source: str) -> None:
    assert breaches(source, module)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("proxy.core.engine", "from proxy.core import nat, registrar, route\nfrom hmac import compare_digest"),
        ("proxy.core.route", "from proxy.core.flow import Flow\nfrom proxy.core.location import Location"),
        ("proxy.core.forwarding", "from proxy.core import nat, route\nfrom proxy.core.forking import Branch"),
        ("proxy.core.keepalive", "from proxy.core import listeners, location, signer, timers"),
        ("proxy.users", "import os\nfrom proxy.sip import digest"),
        ("proxy.users", "from proxy.sip.digest import ha1"),
        ("proxy.cli", "from proxy import config\ndef main():\n    from proxy.serve import serve"),
        ("proxy.serve", "import asyncio\nfrom proxy import build, config, users\nfrom proxy.net import tls"),
        ("proxy.net.http", "from proxy.metrics import text"),
        ("proxy.net.shell", "import asyncio, time\nfrom proxy.log import Log"),
        ("proxy.sip.parse", "from __future__ import annotations\nfrom proxy.sip import grammar"),
        ("labkit.nats", "from nat import kinds\nfrom nat.kinds import PRESETS\nfrom labkit import nat"),
    ],
)
def test_the_detector_lets_the_innocent_pass(module: str, source: str) -> None:
    assert breaches(source, module) == []
