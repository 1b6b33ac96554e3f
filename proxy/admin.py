"""For whoever runs the proxy: what its settings mean, and who its users are."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path

from proxy import config, users
from proxy.build import CannotServe, journal, ports, tls_files
from proxy.config import Settings
from proxy.net import tls
from proxy.net.key import load_key


def check(settings: Settings, origins: dict[str, str]) -> int:
    """Say what the settings mean. Raises what serving would raise, as far as no socket is needed for it."""
    for key in config.KEYS:
        value = getattr(settings, key.name)
        if key.name in origins or value not in ([], {}, ""):
            print(f"{key.name:<27} {value!r:<30} {origins.get(key.name, 'default')}")
    print()
    for ip in settings.ip:
        for transport, port in ports(settings):
            print(f"listens on {ip}:{port} ({transport}), and is known to others as {settings.public_ip(ip)}:{port}")
    if settings.users:
        table = users.load(Path(settings.users), settings.auth_realm)
        print(f"asks for passwords: {len(table)} users of realm {settings.auth_realm} in {settings.users}")
    else:
        print("asks for no passwords: whoever reaches it can register as anybody and call its users")
    if settings.tls_certificate:
        certificate, key_file, ca, names = tls_files(settings)
        tls.server_context(certificate, key_file, ca, settings.tls_client, names)
        print(f"speaks TLS with {certificate}, which fits its key")
    secret = Path(settings.state) / "key"
    if settings.state and secret.exists():
        load_key(secret)
    where = f"in {journal(settings)}, at most {settings.flush:g} s late" if settings.state else "in memory only"
    print(f"keeps bindings {where}")
    reach = ", ".join(settings.allow) if settings.allow else "nobody"
    print(f"lets these send to anywhere without a password: {reach}")
    if settings.without:
        print(f"goes without these NAT remedies: {', '.join(settings.without)}")
    return 0


def user(settings: Settings, action: str, name: str) -> int:
    """Add or remove a user. Raises BadUsers or CannotServe."""
    if not settings.users:
        raise CannotServe("SIP_PROXY_USERS is not set: name the users file there, or in --config FILE")
    path = Path(settings.users)
    if action == "remove":
        users.remove(path, name, settings.auth_realm)
        print(f"{name} is no longer in {path}; send the proxy SIGHUP")
        return 0
    if sys.stdin.isatty():
        password = getpass.getpass(f"password of {name}@{settings.auth_realm}: ")
    else:
        password = sys.stdin.readline().rstrip("\n")
    if not password:
        raise CannotServe(f"no password was given for {name}: type it, or write it to standard input")
    users.add(path, name, settings.auth_realm, password, settings.algorithms)
    print(f"{name} is in {path}, realm {settings.auth_realm}; send the proxy SIGHUP if it runs")
    return 0
