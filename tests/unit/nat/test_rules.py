"""Which rules make a profile; that the kernel does what they say is measured by the probe, in tests/e2e."""

from __future__ import annotations

from pathlib import Path

import pytest

from nat import kinds, rules

KINDS = sorted(kinds.PRESETS)


def loaded(text: str) -> list[str]:
    return rules.files(kinds.parse(text).profile)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_loaded_from_files_that_are_there(kind: str) -> None:
    for name in loaded(kind):
        assert (rules.FILES / f"{name}.sh").is_file()
    assert len(set(loaded(kind))) == len(loaded(kind))


def test_every_rule_file_belongs_to_some_profile() -> None:
    used = {name for kind in KINDS for name in loaded(kind)}
    used |= set(loaded("hairpin=internal"))
    known = {path.stem for path in rules.FILES.glob("*.sh")}
    assert known == used | {"base-load", "base-unload"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_rules_of_a_kind_are_one_script_whose_variables_are_all_set(kind: str) -> None:
    profile = kinds.PRESETS[kind].profile
    script = rules.text(rules.files(profile), rules.variables(profile, 50_000))
    assert script.startswith("set -eu\n")
    for name in ("PORTS", "BLOCK", "LIFETIME", "REFRESH"):
        assert f"\n{name}='" in script


def test_home_is_masquerade_with_a_guard() -> None:
    script = rules.text(loaded("home"), {})
    assert "MASQUERADE" in script
    assert "LAB_INPUT -j DROP" in script
    assert "peer-first-kept" not in loaded("naive-linux")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("full-cone", {"learn", "filtering-endpoint-independent"}),
        ("hairpin", {"learn", "hairpin-external"}),
        ("cgnat", {"layers-2"}),
        ("cgnat,block=8", {"layers-2", "block"}),
        ("outbound-refresh", {"refresh-outbound"}),
        ("port-starved", {"block"}),
        ("none", {"mapping-none"}),
        ("one-to-one", {"mapping-one-to-one"}),
        ("mapping=address-dependent,alg=off,fragments=dropped", {"mapping-address-dependent", "fragments-dropped"}),
    ],
)
def test_an_axis_brings_its_file(text: str, names: set[str]) -> None:
    assert names <= set(loaded(text))


@pytest.mark.parametrize(
    ("text", "learns"),
    [("home", False), ("symmetric", False), ("full-cone", True), ("address-restricted", True), ("hairpin", True),
     ("none", False), ("one-to-one", False)],
)  # fmt: skip
def test_where_a_port_leads_to_its_socket_by_itself_the_router_learns_which(text: str, learns: bool) -> None:
    assert rules.learns(kinds.parse(text).profile) is learns


def test_who_is_given_other_ports_is_given_all_others() -> None:
    profile = kinds.PRESETS["home"].profile
    before, after = (rules.variables(profile, first)["PORTS"] for first in (50_000, 52_000))
    assert (before, after) == ("50000-50999", "52000-52999")
    assert rules.variables(kinds.PRESETS["port-preserving"].profile, 50_000)["PORTS"] == ""


def test_what_the_kernel_refuses_is_unsupported_with_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "FILES", tmp_path)
    (tmp_path / "alg-on.sh").write_text('echo "no helper $NAME here" >&2; exit 2\n')
    with pytest.raises(rules.Unsupported, match=r"^this kernel does not load the rules of alg-on: no helper sip here$"):
        rules.load(["alg-on"], {"NAME": "sip"})
