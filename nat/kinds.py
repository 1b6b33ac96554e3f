"""The kinds of NAT as data: presets and profiles on the axes of RFC 4787, and which of their combinations can be.

A profile is `{axis: value}` with every axis in it. Standard library only: `lab` reads this on the host, the router and
the probe in their containers.
"""

from __future__ import annotations

import difflib
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

BASE = "home"  # the kind that says every axis
WORDS = ("what", "where")  # what a kind says of itself besides its axes
DEPENDENCE = ("endpoint-independent", "address-dependent", "address-and-port-dependent")
# What an axis can be: one of these words, or a whole number in a range (from, to).
AXES: dict[str, tuple[str, ...] | tuple[int, int]] = {
    "mapping": ("none", *DEPENDENCE),
    "filtering": ("none", *DEPENDENCE),
    "ports": ("preserved", "changed"),
    "block": (1, 1000),
    "peer-first": ("kept", "lost"),
    "hairpin": ("none", "external", "internal"),
    "lifetime": (0, 86_400),
    "refresh": ("both", "outbound"),
    "alg": ("off", "on"),
    "fragments": ("passed", "dropped"),
    "udp": ("passed", "blocked"),
    "layers": (1, 2),
}
MOST_IN_BLOCK = 60  # with blocks, the ports are shared out among 16 hosts
LEAST_OF_A_HOME = 8  # behind a provider's router all hosts of a home share a block: the phones, and those that measure
ALL_PORTS = 1000  # of a block: no phone uses so many, and no probe counts so far

Value = str | int
Profile = dict[str, Value]


class UnknownKind(Exception):
    """One line: what is not known or cannot be, and the nearest that is."""


@dataclass(slots=True, frozen=True)
class Kind:
    """A preset: its name, what it is, where one meets it, and its profile."""

    name: str
    what: str
    where: str
    profile: Profile


def _read() -> dict[str, Kind]:
    tables = tomllib.loads(Path(__file__).with_name("kinds.toml").read_text(encoding="utf-8"))
    base = {axis: value for axis, value in tables[BASE].items() if axis not in WORDS}
    return {
        name: Kind(name, table["what"], table["where"], {axis: table.get(axis, base[axis]) for axis in AXES})
        for name, table in tables.items()
    }


PRESETS = _read()


def parse(text: str) -> Kind:
    """Return what `--nat` or NAT_TYPE names: a preset, axes (`mapping=address-dependent,lifetime=30`), or both.

    Axes that are not named are those of the preset, or of `home`. Raises UnknownKind.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if text.strip() and not words:
        raise UnknownKind(f"{text}: names no kind; known: {', '.join(PRESETS)}")
    names = [word for word in words if "=" not in word]
    if len(names) > 1:
        raise UnknownKind(f"{text}: more than one kind: {', '.join(names)}")
    preset = PRESETS.get(names[0] if names else BASE)
    if preset is None:
        raise UnknownKind(f"{names[0]}: unknown; {nearest(names[0], PRESETS)}")
    axes = [word.split("=", 1) for word in words if "=" in word]
    for axis, times in Counter(axis for axis, _ in axes).items():
        if times > 1:
            raise UnknownKind(f"{text}: {axis} is said {times} times; once is enough")
    profile = combine(preset.profile, dict(axes))
    if profile == preset.profile:
        return preset
    changed = [f"{axis}={value}" for axis, value in profile.items() if value != preset.profile[axis]]
    return Kind(",".join([*names, *changed]), "a profile of one's own", "here", profile)


def cannot(verb: str, kind: Kind) -> str:
    """Return why nothing like this can happen to a router of this kind ("rebind", "change-ip", "lifetime"), or ""."""
    if kind.profile["filtering"] != "none":
        return ""
    why = {
        "rebind": "gives no ports, and remembers nothing",
        "lifetime": "remembers nothing",
        "change-ip": "leaves each phone a public address of its own, and only that of the router itself would change",
    }.get(verb)
    return f"a router of kind {kind.name} {why}" if why else ""


def from_table(table: Mapping[str, object], name: str) -> Kind:
    """Return the kind that a TOML file says, as `lab measure` writes it. Raises UnknownKind."""
    given = {axis: str(value) for axis, value in table.items() if axis not in WORDS}
    what, where = (str(table.get(word, name)) for word in WORDS)
    return Kind(name, what, where, combine(PRESETS[BASE].profile, given))


def as_text(profile: Profile) -> str:
    """Return what `parse` understands: the axes by which a profile differs from `home`, or `home`."""
    base = PRESETS[BASE].profile
    return ",".join(f"{axis}={value}" for axis, value in profile.items() if value != base[axis]) or BASE


def combine(base: Profile, given: Mapping[str, str]) -> Profile:
    """Return a profile with these axes changed. Raises UnknownKind for what no router can be."""
    profile = dict(base)
    for axis, text in given.items():
        profile[axis] = _value(axis, text)
    if "ports" not in given and profile["mapping"] in DEPENDENCE[1:]:
        profile["ports"] = "changed"
    impossible = _impossible(profile)
    if impossible:
        raise UnknownKind(f"no router is {impossible}")
    return profile


def _value(axis: str, text: str) -> Value:
    allowed = AXES.get(axis)
    if allowed is None:
        raise UnknownKind(f"{axis}={text}: no such axis; {nearest(axis, AXES)}")
    if isinstance(allowed[0], str):
        if text not in allowed:
            raise UnknownKind(f"{axis}={text}: unknown; {axis} is one of {', '.join(map(str, allowed))}")
        return text
    low, high = allowed
    if not text.isascii() or not text.isdigit() or not int(low) <= int(text) <= int(high):
        raise UnknownKind(f"{axis}={text}: must be a whole number from {low} to {high}")
    return int(text)


def _impossible(profile: Profile) -> str:
    """Return which of its axes exclude each other, with the nearest that do not; nothing where all is well."""
    mapping, filtering = profile["mapping"], profile["filtering"]
    translates = mapping != "none"
    rules = (
        (not translates and filtering != "none",
         "mapping=none with filtering: what translates nothing remembers nothing; nearest: --nat none"),
        (filtering == "none" and mapping not in ("none", "endpoint-independent"),
         f"mapping={mapping} with filtering=none; nearest: filtering=endpoint-independent"),
        (filtering == "none" and profile["ports"] != "preserved",
         "filtering=none with ports=changed: it passes every port as it is; nearest: --nat one-to-one"),
        (mapping in DEPENDENCE[1:] and profile["ports"] == "preserved",
         f"mapping={mapping} with ports=preserved: one port is not kept for several mappings; nearest: ports=changed"),
        (filtering == "none" and any((profile["layers"] != 1, profile["block"] != ALL_PORTS, profile["lifetime"],
                                      profile["refresh"] != "both", profile["hairpin"] != "none",
                                      profile["alg"] != "off")),
         "filtering=none with layers, block, lifetime, refresh, hairpin or alg: it remembers nothing; "
         "nearest: --nat one-to-one"),
        (filtering != "none" and not profile["lifetime"],
         f"lifetime=0 with filtering={filtering}: every mapping is forgotten some day; nearest: lifetime=86400"),
        (profile["peer-first"] == "lost" and filtering != "address-and-port-dependent",
         f"peer-first=lost with filtering={filtering}: what is let in costs nobody a mapping; "
         "nearest: filtering=address-and-port-dependent"),
        (profile["block"] != ALL_PORTS and profile["ports"] == "preserved",
         f"block={profile['block']} with ports=preserved; nearest: ports=changed"),
        (MOST_IN_BLOCK < int(profile["block"]) < ALL_PORTS,
         f"block={profile['block']}; nearest: block={MOST_IN_BLOCK}, or block={ALL_PORTS}, which is all there are"),
        (profile["block"] != ALL_PORTS and mapping == "address-dependent",
         f"block={profile['block']} with mapping=address-dependent: that has a range for every address; "
         "nearest: mapping=endpoint-independent"),
        (profile["layers"] == 2 and (filtering != "address-and-port-dependent" or profile["ports"] == "preserved"),
         "layers=2 with another filtering than address-and-port-dependent, or with ports=preserved: the home's own "
         "router is the stricter; nearest: --nat cgnat"),
        (profile["layers"] == 2 and int(profile["block"]) < LEAST_OF_A_HOME,
         f"block={profile['block']} with layers=2: a provider's block is one for all hosts of the home; "
         f"nearest: block={LEAST_OF_A_HOME}"),
        (profile["hairpin"] != "none" and profile["layers"] == 2,
         "hairpin with layers=2: behind the provider's router there is one home; nearest: layers=1"),
        (profile["hairpin"] != "none" and mapping != "endpoint-independent",
         f"hairpin with mapping={mapping}: a port that is one peer's is nobody else's; "
         "nearest: mapping=endpoint-independent"),
    )  # fmt: skip
    return next((text for holds, text in rules if holds), "")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the nearest known words, or all of them."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.5)
    return f"nearest: {', '.join(close)}" if close else f"known: {', '.join(known)}"
