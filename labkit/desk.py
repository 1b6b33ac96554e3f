"""Where the live page is: a port of this machine's loopback that nobody else has."""

from __future__ import annotations

import socket

from labkit import stack
from labkit.outcome import Mistake, say
from labkit.settings import PAGE_PORT, Settings

PORTS = range(8080, 8090)
NONE = "0"


def choose(lab: Settings) -> None:
    """Put the page's port into a lab's settings: the one that is wanted, that it has already, or a free one; or none.

    Raises Mistake for a wanted one that cannot be had.
    """
    wanted, has = lab.values[PAGE_PORT], stack.started_with(lab).get(PAGE_PORT, "")
    if wanted and wanted != NONE and not (wanted.isdecimal() and 0 < int(wanted) < 65536):
        raise Mistake(f"{PAGE_PORT}={wanted}: must be a port, or 0 for no page")
    if wanted not in ("", NONE, has) and not is_free(int(wanted)):
        raise Mistake(f"{PAGE_PORT}={wanted}: somebody listens there: set another one, or 0 for no page")
    if not wanted:
        wanted = has or next((str(port) for port in PORTS if is_free(port)), NONE)
        if wanted not in (has, str(PORTS[0])):
            where = f"{wanted} is the page's" if wanted != NONE else "there is no page"
            say(f"port {PORTS[0]} is taken: {where} ({PAGE_PORT} sets one)")
    lab.values[PAGE_PORT] = wanted


def is_free(port: int) -> bool:
    """Say whether nobody listens at this port of the loopback."""
    with socket.socket() as asker:
        asker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what was closed a moment ago is free
        try:
            asker.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def address(lab: Settings) -> str:
    """Return where the page is; nothing where there is none."""
    port = lab.values[PAGE_PORT]
    return "" if port == NONE else f"http://localhost:{port}"
