"""The benchmark, as short as it can be: it measures something, and leaves nothing behind but its figures."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit.bench.containers import LABEL
from labkit.settings import OUT
from tests.e2e.lab import ROOT, RUN, docker

pytestmark = [pytest.mark.e2e, pytest.mark.long]  # it builds an image, and wants both processors
PROJECT = f"labtest-{RUN}-bench"
TAKES_S = 900.0  # with the image of the peers
TINY = ("--rounds", "2", "--seconds", "2", "--rate", "20")


@pytest.fixture
def kept() -> Iterator[Path]:
    """Where the figures come to lie; a user's own are put back."""
    data = OUT / "bench.json"
    before = data.read_bytes() if data.exists() else None
    yield data
    if before is None:
        data.unlink(missing_ok=True)
    else:
        data.write_bytes(before)


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / "lab"), "bench", *arguments], env={**os.environ, "LAB_PROJECT": PROJECT}, cwd=ROOT,
        capture_output=True, text=True, check=False, timeout=TAKES_S, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def traces() -> str:
    return docker("ps", "--all", "--quiet", "--filter", f"label={LABEL}={PROJECT}")


def test_a_tiny_benchmark_has_figures_of_both_and_leaves_no_container(kept: Path) -> None:
    done = bench("--quick", *TINY)
    assert done.returncode == 0, done.stderr
    assert "call: ours to kamailio: CPU" in done.stdout
    found = json.loads(kept.read_text(encoding="utf-8"))
    for system in ("ours", "kamailio"):
        figures = found["call"][system]
        assert figures["faults"] == [], figures
        assert len(figures["cpu_us_rounds"]) == 2
        assert min(figures["cpu_us_rounds"]) > 0
        assert 0 < figures["p50_ms"] <= figures["p95_ms"] <= figures["p99_ms"]
        assert figures["memory"]["before"] > 0
    assert found["call"]["ratio_cpu"] > 0
    assert found["run"]["versions"]["Kamailio"]
    assert traces() == ""


def test_media_is_measured_beside_rtpengine_and_none_is_lost(kept: Path) -> None:
    done = bench("--quick", "--work", "relay", "--rounds", "2", "--seconds", "2", "--rate", "1000")
    assert done.returncode == 0, done.stderr
    assert "relay: ours to rtpengine: CPU" in done.stdout
    found = json.loads(kept.read_text(encoding="utf-8"))["relay"]
    for system in ("ours", "rtpengine"):
        assert found[system]["faults"] == [], found
        assert min(found[system]["cpu_us_rounds"]) > 0
        assert 0 < found[system]["p50_ms"] <= found[system]["p99_ms"]
    assert traces() == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--accept"], "--accept: goes with --check"),
        (["--quick", "--against", "sip-nat-lab/proxy:none"], "--against sip-nat-lab/proxy:none: no such image here"),
        (["--work", "cal"], "--work cal: unknown; nearest: call"),
        (["--quick", "--work", "call,relay"], "of one kind of work; name one"),
        (["--rounds", "0"], "give numbers above 0"),
    ],
)
def test_what_cannot_be_meant_is_answered_in_one_line(arguments: list[str], words: str) -> None:
    done = bench(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
