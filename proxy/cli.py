"""The command line: `python -m proxy` serves, `python -m proxy ping` asks a running one whether it answers."""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import socket
import sys
import time
from pathlib import Path

from proxy.config import KEYS, BadSettings, Settings, load
from proxy.core.engine import Engine
from proxy.core.location import Location
from proxy.core.remedies import NAMES, Remedies
from proxy.core.route import MappedUser, Router
from proxy.core.signer import Signer
from proxy.log import Log
from proxy.net.shell import Shell
from proxy.net.udp import UdpSocket

PING_S = 2.0
KEY_BYTES = 32


def main(arguments: list[str] | None = None) -> int:
    """Return the exit status: 0 stopped cleanly or ping answered, 1 ping not answered, 2 the user's mistake."""
    table = "\n".join(f"  {key.variable:<20} {key.name:<11} {key.allowed}" for key in KEYS)
    parser = argparse.ArgumentParser(
        prog="python -m proxy",
        description=__doc__,
        epilog=f"settings (environment, key in the TOML file, what is allowed):\n{table}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("verb", nargs="?", choices=("serve", "ping"), default="serve")
    parser.add_argument("--config", type=Path, metavar="FILE", help="a TOML file; the environment wins over it")
    given = parser.parse_args(arguments)
    try:
        settings = load(os.environ, given.config)
    except BadSettings as mistakes:
        for line in str(mistakes).splitlines():
            print(f"proxy: {line}", file=sys.stderr)
        return 2
    return ping(settings) if given.verb == "ping" else serve(settings)


def serve(settings: Settings) -> int:
    """Serve until a signal comes."""
    here = (settings.public_ip, settings.port)
    try:
        udp = UdpSocket((settings.ip, settings.port))
    except OSError as error:
        print(
            f"proxy: cannot listen on {settings.ip}:{settings.port} (udp): {error.strerror}; "
            "set SIP_PROXY_IP to an address of this machine, SIP_PROXY_PORT to a free port",
            file=sys.stderr,
        )
        return 2
    log = Log(settings.log, time.monotonic)
    greeting = [f"SIP proxy listening on {settings.ip}:{settings.port} (udp)"]
    if settings.without:
        greeting.append(f"SIP proxy without {', '.join(settings.without)}")
    asyncio.run(Shell(build_engine(settings, secrets.token_bytes(KEY_BYTES)), udp, here, log).run(greeting))
    return 0


def build_engine(settings: Settings, key: bytes) -> Engine:
    """Return an engine for these settings: plain values go in, the core never sees the settings."""
    here = (settings.public_ip, settings.port)
    remedies = Remedies(**{name: name not in settings.without for name in NAMES})
    location = Location()
    mapping = {user: MappedUser(**given) for user, given in settings.ua_mapping.items()}
    router = Router(here, settings.domains, mapping, location, remedies, Signer(key))
    return Engine(here, router, location, remedies, key)


def ping(settings: Settings) -> int:
    """Send an OPTIONS to the proxy that runs with these settings; it is healthy when a 200 comes back."""
    host = settings.public_ip
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(PING_S)
        try:
            asker.connect((host, settings.port))
            own = "%s:%d" % asker.getsockname()
            token = secrets.token_hex(8)
            asker.send(
                f"OPTIONS sip:{host}:{settings.port} SIP/2.0\r\n"
                f"Via: SIP/2.0/UDP {own};branch=z9hG4bK{token}\r\n"
                f"From: <sip:ping@{own}>;tag={token}\r\nTo: <sip:{host}:{settings.port}>\r\n"
                f"Call-ID: {token}\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n".encode()
            )
            return 0 if asker.recv(4096).startswith(b"SIP/2.0 200 ") else 1
        except OSError:
            return 1
