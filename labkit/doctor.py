"""`doctor`: what this machine has and lacks for the lab, with the remedy for each lack."""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import shutil
from dataclasses import dataclass

from labkit import engine, images, settings, subnets
from labkit.outcome import Exit, Mistake

DISK_GIB = 3


@dataclass(slots=True)
class Finding:
    """One fact: is it as the lab needs it, what was found, and the remedy if not."""

    fine: bool
    what: str
    remedy: str = ""


def configure(_: argparse.ArgumentParser) -> None:
    """There are no options."""


def run(_: argparse.Namespace) -> int:
    """Print the findings; return 0 when nothing is lacking, 2 otherwise."""
    findings = examine()
    for finding in findings:
        print(f"  {'✓' if finding.fine else '✗'} {finding.what}")
        if finding.remedy:
            print(f"      {finding.remedy}")
    return Exit.PASS if all(finding.fine for finding in findings) else Exit.USAGE


def examine() -> list[Finding]:
    """Return what was found, in the order in which one would mend it."""
    machine = engine.examine()
    obstacle = engine.can_install()
    install = "`./lab up` installs it" if obstacle is None else f"install it by hand ({obstacle})"
    identity, codename = engine.distribution()
    free = shutil.disk_usage("/").free / 2**30
    findings = [
        Finding(True, f"Python {platform.python_version()}, {identity or platform.system()} {codename}"),
        Finding(free > DISK_GIB, f"{free:.0f} GiB of disk free", "" if free > DISK_GIB else f"it needs {DISK_GIB} GiB"),
    ]
    if machine.engine is not None:
        recent = machine.engine >= engine.ENGINE_AT_LEAST
        findings.append(
            Finding(recent, f"Docker Engine {engine.dotted(machine.engine)}",
                    "" if recent else f"the lab needs {engine.dotted(engine.ENGINE_AT_LEAST)} or later")
        )  # fmt: skip
    elif machine.client and (engine.has_daemon() or engine.unreachable(machine)):
        start = "`./lab up` starts it" if os.geteuid() == 0 else "`sudo systemctl start docker`"
        remedy = engine.unreachable(machine) or start
        findings.append(Finding(False, f"the Docker daemon is silent: {machine.complaint}", remedy))
    else:
        findings.append(Finding(False, "no Docker engine", install))
    recent = machine.compose is not None and machine.compose >= engine.COMPOSE_AT_LEAST
    compose = f"Docker Compose {engine.dotted(machine.compose)}" if machine.compose else "no Docker Compose v2"
    needs = f"the lab needs {engine.dotted(engine.COMPOSE_AT_LEAST)} or later: {install}"
    findings.append(Finding(recent, compose, "" if recent else needs))
    findings.append(Finding(machine.buildx, "docker buildx" if machine.buildx else "no docker buildx",
                            "" if machine.buildx else install))  # fmt: skip
    if machine.engine is not None:
        findings += [_base(), _subnets()]
    venv = importlib.util.find_spec("ensurepip") is not None
    findings.append(Finding(venv, "Python can make virtual environments (for `./lab test`)" if venv else "no ensurepip",
                            "" if venv else "apt-get install python3-venv"))  # fmt: skip
    return findings


def _base() -> Finding:
    lab = settings.load()
    name = lab.values.get("BASE_IMAGE") or images.PUBLIC_BASE
    here = images.is_here(name)
    return Finding(True, f"base image {name}" + ("" if here else " is not here: `./lab up` pulls or makes it"))


def _subnets() -> Finding:
    lab = settings.load()
    try:
        subnets.check(lab)
    except Mistake as mistake:
        return Finding(False, "subnets", str(mistake))
    return Finding(True, f"subnets {lab.values['HOME_SUBNET']} and {lab.values['INTERNET_SUBNET']} are free")
