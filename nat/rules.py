"""Which rules make a profile: files of `rules/`, in the order in which they are loaded. Each is short, and says why."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from nat.kinds import ALL_PORTS, Profile

FILES = Path(__file__).with_name("rules")
HOSTS = " ".join(map(str, range(16)))  # the phone's number and the next 15: whoever has ports or a face of his own
OURS = "77"  # what our routes and policy rules are marked with, to be found again

FUNCTIONS = """\
ip_plus() { echo "${1%.*}.$((${1##*.} + $2))"; } # ip_plus ADDRESS NUMBER
"""


class Unsupported(Exception):
    """One line: what this kernel cannot do."""


def files(profile: Profile) -> list[str]:
    """Return the names of the rule files for this profile, in order."""
    if profile["mapping"] == "none":
        chosen = ["mapping-none"]
    elif profile["filtering"] == "none":
        chosen = ["mapping-one-to-one"]
    else:
        chosen = _translation(profile)
    chosen += [f"{axis}-{profile[axis]}" for axis in ("fragments", "udp")]
    return [name for name in chosen if (FILES / f"{name}.sh").exists()]


def _translation(profile: Profile) -> list[str]:
    return [
        f"alg-{profile['alg']}",  # before the zones: a packet is given to connection tracking once
        f"layers-{profile['layers']}",
        *(["block"] if profile["block"] != ALL_PORTS else [f"mapping-{profile['mapping']}"]),
        *(["learn"] if learns(profile) else []),
        f"peer-first-{profile['peer-first']}",
        f"filtering-{profile['filtering']}",
        f"hairpin-{profile['hairpin']}",
        "lifetime",
        f"refresh-{profile['refresh']}",
    ]


def learns(profile: Profile) -> bool:
    """Say whether a public port by itself leads to the socket that has it, whoever sends."""
    is_remembered = profile["mapping"] != "none" and profile["filtering"] != "none"
    return is_remembered and (profile["filtering"] != "address-and-port-dependent" or profile["hairpin"] != "none")


def variables(profile: Profile, first_port: int) -> dict[str, str]:
    """Return what the rule files read besides the router's interfaces and addresses. Ports begin at `first_port`."""
    changed = profile["ports"] == "changed"
    return {
        "PORTS": f"{first_port}-{first_port + ALL_PORTS - 1}" if changed else "",
        "BLOCK": str(profile["block"]),
        "LOT": "--random-fully" if profile["mapping"] == "address-and-port-dependent" else "",
        "LIFETIME": str(profile["lifetime"]),
        "REFRESH": str(profile["refresh"]),
        "ZONE": "1" if profile["layers"] == 2 else "",
        "HOSTS": HOSTS,
        "OURS": OURS,
    }


def text(names: list[str], given: Mapping[str, str]) -> str:
    """Return the shell script that loads these files with these variables: what `natctl rules` prints."""
    settings = "".join(f"{name}='{value}'\n" for name, value in given.items())
    parts = [f"# ── {name} ──\n{(FILES / f'{name}.sh').read_text(encoding='utf-8')}" for name in names]
    return "\n".join(["set -eu\n" + settings + FUNCTIONS, *parts])


def load(names: list[str], given: Mapping[str, str]) -> None:
    """Load them. Raises Unsupported with what the kernel's tools say."""
    for name in names:
        done = subprocess.run(
            ["sh", "-c", text([name], given)], env=dict(os.environ), capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            said = " ".join(done.stderr.split()) or f"exit {done.returncode}"
            raise Unsupported(f"this kernel does not load the rules of {name}: {said}")
