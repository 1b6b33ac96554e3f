"""`down`: remove every trace of the lab: containers, networks, volumes, certificates."""

from __future__ import annotations

import argparse

from labkit import certificates, engine, settings, stack
from labkit.outcome import Exit, say


def configure(_: argparse.ArgumentParser) -> None:
    """There are no options."""


def run(_: argparse.Namespace) -> int:
    """Return 0, whether there was a lab or not."""
    lab = settings.load()
    if not engine.is_running():
        say("nothing is up: no Docker engine runs here")
    elif stack.remove(lab):
        say(f"{lab.project} is gone: containers, networks and volumes")
    else:
        say("nothing is up")
    certificates.forget(lab)
    return Exit.PASS
