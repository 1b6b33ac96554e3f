"""Kinds of NAT are data: every point that can be has a text, every text that cannot be has an answer of one line."""

from __future__ import annotations

import itertools
import re
import tomllib

import pytest

from labkit.settings import ROOT
from nat import kinds
from nat.kinds import AXES, BASE, PRESETS, UnknownKind, as_text, cannot, combine, from_table, parse

TABLES = tomllib.loads((ROOT / "nat" / "kinds.toml").read_text(encoding="utf-8"))
FEW: dict[str, tuple[str | int, ...]] = {"block": (2, kinds.ALL_PORTS), "lifetime": (0, 5, 30), "layers": (1, 2)}


def refusal(text: str) -> str:
    """Return the one line with which a text is refused."""
    with pytest.raises(UnknownKind) as unknown:
        parse(text)
    assert "\n" not in str(unknown.value)
    return str(unknown.value)


def test_the_kinds_are_those_that_one_meets() -> None:
    assert list(PRESETS) == [
        "home", "none", "port-preserving", "naive-linux", "full-cone", "address-restricted", "symmetric",
        "address-dependent", "cgnat", "one-to-one", "hairpin", "no-hairpin", "short-lifetime", "outbound-refresh",
        "sip-alg", "fragment-hostile", "udp-blocked", "port-starved",
    ]  # fmt: skip


@pytest.mark.parametrize("name", PRESETS)
def test_a_kind_says_what_it_is_where_one_meets_it_and_every_axis(name: str) -> None:
    kind = PRESETS[name]
    assert kind.name == name
    assert kind.what
    assert kind.where
    assert list(kind.profile) == list(AXES)
    assert combine(kind.profile, {}) == kind.profile  # and it can be
    assert set(TABLES[name]) <= {*AXES, *kinds.WORDS}


def test_home_says_every_axis_itself() -> None:
    assert set(TABLES[BASE]) == {*AXES, *kinds.WORDS}


def test_only_no_hairpin_is_another_word_for_home() -> None:
    same = [(one, other) for one, other in itertools.combinations(PRESETS, 2)
            if PRESETS[one].profile == PRESETS[other].profile]  # fmt: skip
    assert same == [("home", "no-hairpin")]


@pytest.mark.parametrize("name", PRESETS)
def test_a_name_is_read_as_its_kind(name: str) -> None:
    assert parse(name) == PRESETS[name]
    assert parse(f" {name} ,") == PRESETS[name]


def test_nothing_is_home() -> None:
    assert parse("") == PRESETS[BASE]


@pytest.mark.parametrize("text", [",", " , ,"])
def test_commas_alone_name_no_kind(text: str) -> None:
    with pytest.raises(UnknownKind, match="names no kind; known: home, none, "):
        parse(text)


def test_an_axis_is_said_once() -> None:
    with pytest.raises(UnknownKind, match="symmetric,lifetime=5,lifetime=9: lifetime is said 2 times"):
        parse("symmetric,lifetime=5,lifetime=9")


@pytest.mark.parametrize("verb", ["rebind", "change-ip", "lifetime"])
def test_what_cannot_happen_to_a_router_that_translates_no_ports(verb: str) -> None:
    refusing = {name for name, kind in PRESETS.items() if cannot(verb, kind)}
    assert refusing == {"none", "one-to-one"}
    assert cannot("reboot", PRESETS["none"]) == cannot("flush", PRESETS["none"]) == ""


def test_axes_change_home_or_the_kind_that_is_named() -> None:
    mine = parse("fragments=dropped, lifetime=30,mapping=address-dependent")
    assert mine.profile == PRESETS[BASE].profile | {"mapping": "address-dependent", "fragments": "dropped"}
    assert mine.name == "mapping=address-dependent,fragments=dropped"
    assert parse("cgnat,layers=2") == PRESETS["cgnat"]
    short = parse("lifetime=5,cgnat")
    assert short.profile == PRESETS["cgnat"].profile | {"lifetime": 5}
    assert short.name == "cgnat,lifetime=5"


def test_a_mapping_for_each_peer_changes_ports_unless_that_is_said() -> None:
    assert parse("port-preserving,mapping=address-dependent").profile["ports"] == "changed"
    assert "ports=preserved" in refusal("mapping=address-dependent,ports=preserved")


@pytest.mark.parametrize("name", [*PRESETS, "cgnat,lifetime=5", "block=7,hairpin=internal"])
def test_the_name_of_a_kind_is_read_as_that_kind(name: str) -> None:
    """So the router may be told it, and tell it."""
    kind = parse(name)
    assert parse(kind.name) == kind


def test_every_profile_that_can_be_has_a_text_that_is_read_as_itself() -> None:
    possible = 0
    for values in itertools.product(*(FEW.get(axis, allowed) for axis, allowed in AXES.items())):
        wanted = dict(zip(AXES, map(str, values), strict=True))
        try:
            profile = combine(PRESETS[BASE].profile, wanted)
        except UnknownKind:
            continue
        possible += 1
        assert {axis: str(value) for axis, value in profile.items()} == wanted
        assert parse(as_text(profile)).profile == profile
    assert possible > len(PRESETS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("carrier", "carrier: unknown; known: home, none,"),
        ("symetric", "symetric: unknown; nearest: symmetric"),
        ("Home", "Home: unknown; nearest: home"),
        ("home,symmetric", "home,symmetric: more than one kind: home, symmetric"),
        ("maping=none", "maping=none: no such axis; nearest: mapping"),
        ("colour=red", "colour=red: no such axis; known: mapping, filtering,"),
        ("what=mine", "what=mine: no such axis"),
        ("=", "=: no such axis"),
        ("mapping=symmetric", "mapping=symmetric: unknown; mapping is one of none, endpoint-independent,"),
        ("alg=", "alg=: unknown; alg is one of off, on"),
        ("alg=on=off", "alg=on=off: unknown; alg is one of off, on"),
        ("lifetime=long", "lifetime=long: must be a whole number from 0 to 86400"),
        ("lifetime=5.5", "lifetime=5.5: must be a whole number"),
        ("lifetime=-1", "lifetime=-1: must be a whole number"),
        ("lifetime=86401", "lifetime=86401: must be a whole number"),
        ("lifetime=٣٠", "lifetime=٣٠: must be a whole number"),
        ("block=0", "block=0: must be a whole number from 1 to 1000"),
        ("layers=3", "layers=3: must be a whole number from 1 to 2"),
    ],
)
def test_what_is_unknown_is_answered_in_one_line_with_the_nearest(text: str, words: str) -> None:
    assert refusal(text).startswith(words)


@pytest.mark.parametrize(
    "text",
    [
        "mapping=none,filtering=address-dependent",
        "mapping=address-dependent,filtering=none",
        "filtering=none",
        "mapping=address-and-port-dependent,ports=preserved",
        "one-to-one,layers=2",
        "one-to-one,block=2",
        "one-to-one,lifetime=30",
        "one-to-one,refresh=outbound",
        "one-to-one,hairpin=external",
        "one-to-one,alg=on",
        "lifetime=0",
        "naive-linux,filtering=address-dependent",
        "block=2,ports=preserved",
        "block=2,mapping=address-dependent",
        "cgnat,hairpin=external",
        "symmetric,hairpin=external",
        "cgnat,filtering=endpoint-independent",
        "block=500",
    ],
)
def test_what_no_router_is_is_answered_with_the_nearest_that_is_one(text: str) -> None:
    said = refusal(text)
    assert said.startswith("no router is ")
    nearest = re.search(r"; nearest: (?:--nat )?([^\s,]+)", said)
    assert nearest
    others = [word for word in text.split(",") if word.partition("=")[0] != nearest[1].partition("=")[0]]
    parse(nearest[1] if "--nat" in said else ",".join([*others, nearest[1]]))  # is no UnknownKind


def test_a_file_says_axes_as_toml_has_them() -> None:
    table = tomllib.loads('what = "a customer\'s"\nmapping = "address-dependent"\nlifetime = 45\nlayers = 1\n')
    kind = from_table(table, "customer")
    assert (kind.name, kind.what, kind.where) == ("customer", "a customer's", "customer")
    assert kind.profile == PRESETS[BASE].profile | {"mapping": "address-dependent", "lifetime": 45}


@pytest.mark.parametrize("name", PRESETS)
def test_a_kind_of_ours_written_down_is_that_kind(name: str) -> None:
    """What `lab measure` writes, `--nat` reads."""
    assert from_table(dict(PRESETS[name].profile), name).profile == PRESETS[name].profile


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("colour = 1", "colour=1: no such axis"),
        ("lifetime = 1.5", "lifetime=1.5: must be a whole number"),
        ("lifetime = true", "lifetime=True: must be a whole number"),
        ("alg = true", "alg=True: unknown; alg is one of off, on"),
        ("[mapping]\na = 1", "mapping={'a': 1}: unknown"),
        ("lifetime = 0", "no router is lifetime=0"),
    ],
)
def test_a_file_that_says_what_cannot_be_is_refused(toml: str, words: str) -> None:
    with pytest.raises(UnknownKind) as unknown:
        from_table(tomllib.loads(toml), "customer")
    assert str(unknown.value).startswith(words)
