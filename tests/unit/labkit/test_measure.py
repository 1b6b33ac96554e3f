"""`lab measure` and `lab reflector`: what they print and write, and what they refuse. The measuring is nat/probe.py."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from argparse import ArgumentParser, Namespace
from pathlib import Path

import pytest

from labkit import measure, reflector
from labkit.outcome import Exit, Mistake
from labkit.settings import ROOT
from nat import kinds, lifetimes
from nat.probe import Measurement

HERE, THERE = (f"127.{os.getpid() // 250 % 250 + 1}.{os.getpid() % 250}.{last}" for last in (21, 22))


# `./lab`, typed by a user for whom permissions count: by nobody, where root runs the tests.
AS_ANYBODY = """
import encodings.idna, os, sys  # the former is needed late, when this Python may be out of reach
from labkit import measure
from labkit.__main__ import main

def as_anybody(given, run=measure.run):  # not before: the checkout may be out of reach too
    os.getuid() or os.setuid(65534)
    return run(given)

measure.run = as_anybody
sys.argv[:] = sys.argv[1:]
sys.exit(main())
"""


def found(**axes: kinds.Value) -> Measurement:
    """Return a measurement of a home router, with some axes different."""
    profile = {**kinds.PRESETS["home"].profile, **{name.replace("_", "-"): value for name, value in axes.items()}}
    return Measurement(measured=profile, public="198.51.100.20")


def parsed(module: object, *arguments: str) -> Namespace:
    """Return what a verb would be given."""
    parser = ArgumentParser()
    module.configure(parser)  # type: ignore[attr-defined]
    return parser.parse_args(arguments)


@pytest.mark.parametrize("kind", kinds.PRESETS)
def test_what_is_written_is_read_back_as_the_same_kind(kind: str) -> None:
    profile = kinds.PRESETS[kind].profile
    text = measure.toml(Measurement(measured=dict(profile), public="198.51.100.20"))
    assert kinds.from_table(tomllib.loads(text), kind).profile == profile


def test_what_a_router_says_cannot_break_the_file() -> None:
    one = found()
    one.public = 'x"\nmapping = "none'
    one.notes = ["the router changed 'a' to 'b'\nudp = \"blocked\""]
    one.unmeasured = {"refresh": "no\nalg = 1"}
    del one.measured["refresh"]
    table = tomllib.loads(measure.toml(one))
    assert kinds.from_table(table, "x").profile == kinds.PRESETS["home"].profile
    assert table["where"] == one.public


@pytest.mark.parametrize("axis", kinds.AXES)
def test_every_value_of_an_axis_has_a_meaning(axis: str) -> None:
    allowed = kinds.AXES[axis]
    values = allowed if isinstance(allowed[0], str) else (*allowed, 5)
    for value in values:
        if (axis, value) not in {("layers", 5)}:
            assert measure._meaning(axis, {**kinds.PRESETS["home"].profile, axis: value})


def test_what_was_not_measured_is_said_with_its_reason() -> None:
    one = found()
    del one.measured["alg"]
    one.unmeasured = {"alg": "nothing arrives"}
    assert "  alg         not measured: nothing arrives" in measure.report(one)
    assert measure.report(one)[-1] == "as an option: --nat home"


def test_a_router_that_the_lab_cannot_be_is_said_to_be_none() -> None:
    assert "no router of the lab is like that: " in measure.report(found(mapping="none"))[-1]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--reflector", "127.0.0.1"], "two different addresses"),
        (["--reflector", "127.0.0.1,127.0.0.1"], "two different addresses"),
        (["--reflector", "127.0.0.1,nowhere.invalid"], "nowhere.invalid"),
        (["--reflector", "127.0.0.1,127.0.0.2", "--lifetime-limit", "601"], "from 0 to 600 seconds"),
        (["--reflector", "127.0.0.1,127.0.0.2", "--lifetime-limit", "nan"], "from 0 to 600 seconds"),
        (["--reflector", "127.0.0.1,127.0.0.2", "--source", "a,b,c"], "one address or two"),
        (["--reflector", "127.0.0.1,127.0.0.2", "--write", "x.txt"], "must end in .toml"),
        (["--reflector", "127.0.0.1,127.0.0.2", "--write", "/nowhere/x.toml"], "there is no folder"),
        (["--reflector", f"{HERE},{THERE}", "--source", "198.51.100.99"], "--source 198.51.100.99: "),
    ],
)
def test_what_cannot_be_is_one_line(arguments: list[str], complaint: str) -> None:
    with pytest.raises(Mistake) as mistake:
        measure.run(parsed(measure, *arguments))
    assert complaint in str(mistake.value)
    assert "\n" not in str(mistake.value)


def test_a_file_of_somebody_elses_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "notes.toml"
    path.write_text("mine = 1\n")
    with pytest.raises(Mistake, match="--force writes over it"):
        measure.run(parsed(measure, "--reflector", f"{HERE},{THERE}", "--write", str(path)))
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(Mistake, match="is not from here"):
        measure.run(parsed(measure, "--reflector", f"{HERE},{THERE}", "--write", str(path)))
    assert path.read_bytes() == b"\xff\xfe"


def test_a_folder_is_no_file_to_write(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.mkdir()
    with pytest.raises(Mistake, match=r"x\.toml: is a folder; name a file in it$"):
        measure.run(parsed(measure, "--reflector", f"{HERE},{THERE}", "--write", str(path), "--force"))


@pytest.mark.parametrize("is_there", [True, False], ids=["a file", "its folder"])
def test_a_file_that_this_user_may_not_write_is_refused_before_anything_is_measured(
    is_there: bool,
) -> None:
    """Nobody answers at the reflector: whoever asks there says so."""
    folder = Path(tempfile.mkdtemp())  # unlike pytest's own, others may look into it
    try:
        if is_there:
            (folder / "x.toml").write_text(measure.MARK)
            (folder / "x.toml").chmod(0o444)
        folder.chmod(0o555)
        done = subprocess.run(
            [sys.executable, "-c", AS_ANYBODY, "labkit", "measure", "--reflector", f"{HERE},{THERE}",
             "--lifetime-limit", "0", "--write", str(folder / "x.toml")],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=30,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (
            Exit.USAGE, f"lab: --write {folder / 'x.toml'}: this user may not write there\n"
        )  # fmt: skip
    finally:
        shutil.rmtree(folder)


def test_a_file_that_can_no_more_be_written_when_all_is_measured_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "x.toml"
    with pytest.raises(Mistake, match=r"^--write .*x\.toml: No such file or directory$"):
        measure.write(path, found())


def test_nobody_there_is_one_line() -> None:
    with pytest.raises(Mistake, match="does `lab reflector` run there"):
        measure.run(parsed(measure, "--reflector", f"{HERE},{THERE}", "--lifetime-limit", "0"))


@pytest.mark.parametrize(
    ("addresses", "complaint"),
    [
        ((HERE, "198.51.100.99"), "cannot listen on 198.51.100.99:3478: "),
        ((HERE, HERE), "twice"),
        ((HERE, "localhost"), "must be an IPv4 address"),
        ((HERE, "::1"), "must be an IPv4 address"),
    ],
)
def test_a_reflector_that_cannot_listen_is_one_line(addresses: tuple[str, str], complaint: str) -> None:
    with pytest.raises(Mistake) as mistake:
        reflector.run(parsed(reflector, *addresses))
    assert complaint in str(mistake.value)


def test_both_as_they_are_typed(tmp_path: Path) -> None:
    """No router between: `none`. The file is written, written anew, and the reflector ends with Ctrl-C."""
    path = tmp_path / "customer.toml"
    typed = [sys.executable, "-m", "labkit"]
    with subprocess.Popen(
        [*typed, "reflector", HERE, THERE], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as answering:
        assert answering.stdout is not None
        line = answering.stdout.readline()
        assert line == f"reflecting on {HERE} and {THERE}, UDP and TCP ports 3478, 3479, UDP port 5060\n"
        for _ in range(2):
            done = subprocess.run(
                [*typed, "measure", "--reflector", f"{HERE},{THERE}", "--write", str(path)], cwd=ROOT,
                capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=30,
            )  # fmt: skip
            assert done.returncode == Exit.PASS, done.stderr
            assert done.stdout.endswith("as an option: --nat none\n")
        answering.send_signal(signal.SIGINT)
        said, complaints = answering.communicate(timeout=10)
    assert answering.returncode == Exit.PASS, complaints
    assert said.endswith("ended; ignored: nothing\n")
    assert kinds.from_table(tomllib.loads(path.read_text()), "x").profile == kinds.PRESETS["none"].profile


def test_the_default_limit_covers_the_everyday_router() -> None:
    silences = lifetimes.silences(measure.LIMIT_S)
    assert len([silence for silence in silences if silence > 30]) >= 2  # one may be a packet that was lost
