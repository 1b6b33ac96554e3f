"""Which kinds of NAT this machine's kernel can do, and what can be done to a router that runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from labkit import nat, nats
from labkit.outcome import Mistake, Unsupported
from labkit.settings import ROOT, Settings
from nat.kinds import AXES, PRESETS

# A `docker run` that runs the command on this machine, with the programs of its PATH.
DOCKER = '[ "$1" = run ] || exit 1\nwhile [ "$1" != image ]; do shift; done\nshift\nexec "$@"'

# `./lab nats` on a machine whose kernel cannot do what it is asked for.
REFUSING = """\
import sys
from labkit import nats
from labkit.__main__ import main
from labkit.outcome import Unsupported

def refuse(given):
    raise Unsupported("--nat sip-alg: unsupported: no SIP helper")

nats.run = refuse
sys.exit(main())
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose kernel can do everything: the tools say so."""
    for name, script in {"docker": DOCKER, "iptables": "", "nft": "", "ip": "", "grep": "", "tc": ""}.items():
        put(tmp_path, name, script)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path


def put(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def unsupported(failed: dict[int, str]) -> set[str]:
    """Return the kinds that are not supported then."""
    return {name for name, kind in PRESETS.items() if nats.here(kind.profile, failed) != "supported"}


def test_a_kernel_that_fails_no_trial_can_do_every_kind(programs: Path) -> None:
    assert nats.ask("image") == {}
    assert unsupported({}) == set()


def test_a_kernel_without_the_helper_cannot_do_the_alg_and_says_what_it_said(programs: Path) -> None:
    put(programs, "iptables", "case $* in *helper*) echo 'No such file' >&2; exit 1;; esac")
    failed = nats.ask("image")
    assert unsupported(failed) == {"sip-alg"}
    said = nats.here(PRESETS["sip-alg"].profile, failed)
    assert said == "unsupported: no SIP helper in this kernel (on the host: `modprobe nf_nat_sip`): No such file"


def test_a_helper_that_does_not_translate_is_none(programs: Path) -> None:
    put(programs, "grep", "exit 1")
    assert unsupported(nats.ask("image")) == {"sip-alg"}


@pytest.mark.parametrize(
    ("program", "condition", "kinds"),
    [
        ("ip", "*veth*", {"cgnat"}),
        ("iptables", "*zone*", {"cgnat"}),
        ("nft", "*set*", {"full-cone", "address-restricted", "hairpin", "outbound-refresh"}),
        ("nft", "*timeout*policy*", set(PRESETS) - {"none", "one-to-one"}),
    ],
)
def test_what_a_kernel_lacks_costs_the_kinds_that_need_it(
    programs: Path, program: str, condition: str, kinds: set[str]
) -> None:
    put(programs, program, f"case $* in {condition}) exit 1;; esac")
    assert unsupported(nats.ask("image")) == kinds


def test_what_makes_a_bad_line_is_told_in_the_order_in_which_it_is_taken(programs: Path) -> None:
    everything = "netem (delay, loss); NFQUEUE (delay, loss, drop-next); nft (loss)"
    assert nats.impairments(nats.ask("image")) == f"`./lab nat` makes a bad line by the first that can: {everything}."
    put(programs, "tc", "echo 'Specified qdisc kind is unknown.' >&2; exit 2")
    assert "by the first that can: netem (delay, loss): unsupported: Specified qdisc kind is unknown.; NFQUEUE" in (
        nats.impairments(nats.ask("image"))
    )


def test_a_container_that_does_not_run_is_no_answer(programs: Path) -> None:
    put(programs, "docker", "echo 'no such image' >&2; exit 125")
    with pytest.raises(Mistake, match="this kernel could not be asked: no such image"):
        nats.ask("image")


def test_who_was_not_asked_is_not_said_to_be_able() -> None:
    assert nats.here(PRESETS["home"].profile, None) == "not asked"


@pytest.mark.usefixtures("programs")
def test_up_refuses_a_kind_that_the_kernel_cannot_do(programs: Path) -> None:
    values = {"LAB_TOPOLOGY": "two-homes", "NAT_TYPE": "home", "NAT_TYPE_BOB": "sip-alg,lifetime=5", "LAB_TAG": "t"}
    put(programs, "docker", DOCKER.replace("image", "sip-nat-lab/nat:t"))
    nats.check(Settings(values, []))
    put(programs, "grep", "exit 1")
    with pytest.raises(Unsupported, match=r"--bob-nat sip-alg,lifetime=5: unsupported: no SIP helper"):
        nats.check(Settings(values, []))
    nats.check(Settings(values | {"NAT_TYPE_BOB": "home"}, []))


def test_what_the_kernel_cannot_do_has_an_exit_code_of_its_own() -> None:
    command = [sys.executable, "-c", REFUSING, "nats"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (127, "lab: --nat sip-alg: unsupported: no SIP helper\n")


def test_every_axis_has_its_meaning_and_its_source() -> None:
    assert list(nats.MEANING) == list(AXES)
    assert all(re.search(r"RFC [0-9]{4}", source) for _, source in nats.MEANING.values())


@pytest.mark.parametrize("name", PRESETS)
def test_a_row_says_all_axes_that_are_not_as_home_has_them(name: str) -> None:
    kind = PRESETS[name]
    line, what, where = nats.row(kind, "supported").lstrip("\n").splitlines()
    assert line.startswith(f"{name} ")
    assert line.endswith(" supported")
    assert (what.strip(), where.strip()) == (kind.what, f"met in: {kind.where}")
    for axis, value in nats.differing(kind.profile).items():
        assert f" {nats.SHORT.get(str(value), value)} " in line if axis in nats.COLUMNS else f"{axis} {value}" in line


def test_the_verbs_are_those_of_natctl() -> None:
    text = (ROOT / "nat" / "natctl").read_text(encoding="utf-8")
    there = re.findall(r"^natctl ([a-z-]+)((?: [][A-Za-z|]+)*) ", text, re.MULTILINE)
    assert {verb: arguments.strip() for verb, arguments in there} == {
        verb: arguments for verb, (arguments, _) in nat.VERBS.items()
    }
