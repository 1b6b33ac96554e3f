"""`measure`: what kind of NAT is between this machine and a reflector, as `--nat` reads it: needs no Docker."""

from __future__ import annotations

import argparse
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from labkit.outcome import Exit, Mistake, say
from nat import kinds, lifetimes, probe
from nat.prober import Silence

LIMIT_S = 40.0  # a home router's usual half a minute, and a little more
MARK = "# Written by `lab measure`"

# What a value of an axis means for SIP.
MEANING: dict[tuple[str, kinds.Value], str] = {
    ("udp", "passed"): "SIP by UDP and audio come through",
    ("udp", "blocked"): "no audio; SIP by TCP or TLS only",
    ("mapping", "none"): "no translation: what a phone says of itself is true",
    ("mapping", "endpoint-independent"): "one public port for all peers: what STUN learns is good for calls",
    ("mapping", "address-dependent"): "another public port for every address: STUN learns nothing of use",
    ("mapping", "address-and-port-dependent"): "another public port for every peer: STUN learns nothing of use",
    ("filtering", "none"): "anybody reaches any port of the phone",
    ("filtering", "endpoint-independent"): "anybody reaches a port that the phone has sent from",
    ("filtering", "address-dependent"): "who was sent to may answer from any port",
    ("filtering", "address-and-port-dependent"): "only who was sent to may answer, and from that port only",
    ("ports", "preserved"): "a phone keeps its port where that is free",
    ("ports", "changed"): "the Via's port is not the packet's: answers need rport",
    ("peer-first", "kept"): "who speaks first from outside does no harm",
    ("peer-first", "lost"): "audio that comes before the phone's own costs it the port in its SDP: one-way audio",
    ("hairpin", "none"): "two phones behind it do not reach each other by their public ports",
    ("hairpin", "external"): "two phones behind it reach each other by their public ports",
    ("hairpin", "internal"): "two phones behind it reach each other, but see a private address",
    ("refresh", "both"): "what the proxy sends keeps the phone reachable",
    ("refresh", "outbound"): "only what the phone itself sends keeps it reachable",
    ("alg", "off"): "it leaves SIP alone",
    ("alg", "on"): "it rewrites SIP itself",
    ("fragments", "passed"): "SIP messages larger than a packet come through by UDP",
    ("fragments", "dropped"): "SIP messages larger than a packet disappear by UDP: TCP is needed",
    ("layers", 1): "no second NAT was seen behind it",
    ("layers", 2): "the provider translates once more",
}  # fmt: skip


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--reflector", required=True, metavar="ADDRESS,ADDRESS", help="where `lab reflector` runs")
    parser.add_argument("--write", type=Path, metavar="FILE.toml", help="write what `lab up --nat FILE.toml` reads")
    parser.add_argument("--force", action="store_true", help="write over a file that is not from here")
    parser.add_argument(
        "--lifetime-limit", type=float, default=LIMIT_S, metavar="SECONDS",
        help=f"the longest silence to try (default {LIMIT_S:g}; 0: do not measure the lifetime)",
    )  # fmt: skip
    parser.add_argument(
        "--source", default="", metavar="ADDRESS[,ADDRESS]", help="send from these of this machine, as from two hosts"
    )


def run(given: argparse.Namespace) -> int:
    """Print the axes, and write them; return 0. Raises Mistake, also for a reflector that does not answer."""
    reflectors = _reflectors(given.reflector)
    sources = [word.strip() for word in given.source.split(",") if word.strip()]
    least, most = lifetimes.LIMITS
    if not least <= given.lifetime_limit <= most:
        raise Mistake(f"--lifetime-limit {given.lifetime_limit:g}: must be from {least} to {most} seconds")
    if len(sources) > 2:
        raise Mistake(f"--source {given.source}: one address or two")
    if given.write:
        _check_file(given.write, given.force)
    silences = lifetimes.silences(given.lifetime_limit)
    if silences:
        say(f"measuring; the router's lifetime takes as long as it is, at most {silences[-1]:g} s")
    try:
        found = probe.measure(probe.sockets_of(reflectors), sources, silences)
    except Silence as silence:
        raise Mistake(f"{silence}: does `lab reflector` run there, and do firewalls let it answer?") from None
    except OSError as error:
        raise Mistake(f"--source {given.source}: {error.strerror}") from None
    print("\n".join(report(found)))
    if given.write:
        write(given.write, found)
        refusal = unlike(found)
        use = f"but `--nat` refuses it: {refusal}" if refusal else f"`./lab up --nat {given.write}` is a lab with it"
        say(f"{given.write} is written; {use}")
    return Exit.PASS


def report(found: probe.Measurement) -> list[str]:
    """Return the lines that say what was measured, what it means, and what was not measured."""
    lines = [f"seen from outside: {found.public}"] if found.public else []
    lines += [
        f"  {axis:<11} {found.measured[axis]!s:<27} {_meaning(axis, found.measured)}"
        for axis in kinds.AXES
        if axis in found.measured
    ]
    lines += [f"  {axis:<11} not measured: {found.unmeasured[axis]}" for axis in kinds.AXES if axis in found.unmeasured]
    lines += [f"  ! {fault}" for fault in found.faults] + [f"  · {note}" for note in found.notes]
    refusal = unlike(found)
    if refusal:
        return [*lines, f"no router of the lab is like that: {refusal}"]
    profile = _profile(found)
    names = [name for name, kind in kinds.PRESETS.items() if kind.profile == profile]
    return [*lines, f"as an option: --nat {names[0] if names else kinds.as_text(profile)}"]


def unlike(found: probe.Measurement) -> str:
    """Return why no router of the lab is like the one that was measured; nothing when one is."""
    try:
        _profile(found)
    except kinds.UnknownKind as error:
        return str(error)
    return ""


def _meaning(axis: str, measured: Mapping[str, kinds.Value]) -> str:
    """Return what the value of an axis means for SIP."""
    value = measured[axis]
    if axis == "hairpin" and measured["mapping"] == "none":
        return "and none is needed"
    if axis == "lifetime":
        return f"a phone must be heard from more often than every {value} s" if value else "nothing is forgotten"
    if axis == "block":
        starved = f"{value} UDP ports for a host: calls fail that need one more"
        return "a port for every socket that was tried" if value == kinds.ALL_PORTS else starved
    return MEANING[axis, value]


def _profile(found: probe.Measurement) -> kinds.Profile:
    """Return the whole profile: an axis that was not measured is as in `home`. Raises UnknownKind."""
    return kinds.from_table(found.measured, "measured").profile


def toml(found: probe.Measurement) -> str:
    """Return the file that `--nat` reads."""
    lines = [MARK, 'what = "a router that was measured"', f"where = {json.dumps(found.public or 'unknown')}"]
    lines += [f"{axis} = {json.dumps(found.measured[axis])}" for axis in kinds.AXES if axis in found.measured]
    lines += [f"# {axis}: not measured: {found.unmeasured[axis]}" for axis in kinds.AXES if axis in found.unmeasured]
    lines += [f"# {note}" for note in (*found.faults, *found.notes)]
    return "\n".join(line.replace("\n", " ") for line in lines) + "\n"


def write(path: Path, found: probe.Measurement) -> None:
    """Write the file that `--nat` reads. Raises Mistake."""
    try:
        path.write_text(toml(found), encoding="utf-8")
    except OSError as error:
        raise Mistake(f"--write {path}: {error.strerror}") from None


def _check_file(path: Path, is_forced: bool) -> None:
    """Raise Mistake for a file that cannot be written, before anything takes its time."""
    if path.suffix != ".toml":
        raise Mistake(f"--write {path}: must end in .toml, by which --nat knows it")
    try:
        if path.is_dir():
            raise Mistake(f"--write {path}: is a folder; name a file in it")
        if path.exists() and not is_forced and not path.read_text(encoding="utf-8").startswith(MARK):
            raise Mistake(f"--write {path}: is there already, and is not from here; --force writes over it")
        if not path.parent.is_dir():
            raise Mistake(f"--write {path}: there is no folder {path.parent}")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise Mistake(f"--write {path}: this user may not write there")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is there already, and is not from here"
        raise Mistake(f"--write {path}: {reason}") from None


def _reflectors(text: str) -> list[str]:
    """Return the two addresses of the reflector. Raises Mistake."""
    names = [word.strip() for word in text.split(",") if word.strip()]
    try:
        addresses = [socket.gethostbyname(name) for name in names]
    except OSError as error:
        raise Mistake(f"--reflector {text}: {error.strerror}") from None
    if len(set(addresses)) != 2:
        raise Mistake(f"--reflector {text}: needs the two different addresses that `lab reflector` was given")
    return addresses
