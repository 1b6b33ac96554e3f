"""`reflector`: answer `lab measure` from outside: needs two addresses of this machine, and no Docker."""

from __future__ import annotations

import argparse
import ipaddress

from labkit.outcome import Exit, Mistake
from nat.reflector import PORTS, SIP_PORT, Reflector


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("addresses", nargs=2, metavar="ADDRESS", help="two IPv4 addresses of this machine")


def run(given: argparse.Namespace) -> int:
    """Answer until Ctrl-C; return 0 then. Raises Mistake for an address or a port that cannot be had."""
    for address in given.addresses:
        try:
            ipaddress.IPv4Address(address)
        except ValueError:
            raise Mistake(f"reflector {address}: must be an IPv4 address of this machine") from None
    if given.addresses[0] == given.addresses[1]:
        raise Mistake(f"reflector {given.addresses[0]} twice: a router that tells addresses apart is seen by two only")
    try:
        reflector = Reflector(given.addresses)
    except OSError as error:
        raise Mistake(f"reflector: cannot listen on {error.filename}: {error.strerror}") from None
    ports = ", ".join(map(str, PORTS))
    print(f"reflecting on {' and '.join(given.addresses)}, UDP and TCP ports {ports}, UDP port {SIP_PORT}")
    print(f"Ctrl-C ends it; behind the router: ./lab measure --reflector {','.join(given.addresses)}", flush=True)
    try:
        while True:
            reflector.step()
    except KeyboardInterrupt:
        told = ", ".join(f"{count} {reason}" for reason, count in sorted(reflector.ignored.items()))
        print(f"ended; ignored: {told or 'nothing'}", flush=True)
        return Exit.PASS
    finally:
        reflector.close()
