"""What is published: a page in Markdown, and three plots."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from labkit import progress
from labkit.bench import goals, report
from labkit.bench.containers import HARDENED, SCENARIOS
from labkit.bench.work import KAMAILIO, OURS, WORKS
from labkit.outcome import LabBroken

NAMES = {KAMAILIO: "Kamailio"}  # as they are written in a sentence
MOST_SAID = 150  # of what SIPp said
PLOTS = {"bench-cpu.svg": "CPU per call over rate", "bench-latency.svg": "latency over rate",
         "bench-memory.svg": "memory over registrations"}  # fmt: skip


def markdown(result: Mapping[str, Any]) -> str:
    """Return the page."""
    run = result["run"]
    machine = run["machine"]
    blocks = [
        "# How fast it is",
        f"<!-- Written by `{run['command']}`: edit labkit/bench/page.py, not this. -->",
        f"Measured by `{run['command']}` at {run['began']} in {run['seconds']} s: {run['rounds']} rounds of "
        f"{run['seconds_a_round']} s, the systems in turn. {machine['processors']} processors, {machine['processor']} "
        f"({machine['architecture']}), {machine['memory_bytes'] / (1 << 30):.0f} GiB, Linux {machine['kernel']}, "
        f"Docker {machine['docker']}; load before the first call: {run['load_average']:.2f}. "
        + ", ".join(f"{name} {version}" for name, version in run["versions"].items()) + ".",
        "CPU is user and system time of all a system's processes by the kernel's accounts, of a unit of work, with one "
        "worker on a core of its own; what a unit costs after it has ended (timers, a journal written behind) is "
        "shared out over all. Spread: least and most of the rounds. Highest: the highest rate without a failed call or "
        "a retransmission in 20 s, on two cores that the system shares with SIPp. Latency is that at half of the "
        "highest rate, INVITE to 180, REGISTER to 200. Memory before, at the most, and after.",
        "## The goals", _table([("goal", "measured", "wanted", "at least", ""), *goals.rows(result)]),
        "## Where we win, and where we do not", "\n".join(_standing(result)),
        "## All of it", _table(report.table(result)),
        "\n".join(f"- `{name}`: {work.what}." for name, work in WORKS.items() if name in result),
        "\n".join(f"- {note}" for note in report.notes(result)),
        "## What ended the search for the highest rate", "\n".join(_limits(result)),
        "## Pictures", "\n\n".join(f"![{what}]({name})" for name, what in PLOTS.items()),
    ]  # fmt: skip
    return "\n\n".join(block for block in blocks if block) + "\n"


def _standing(result: Mapping[str, Any]) -> list[str]:
    """Return a line for each comparison: below 1 the CPU is ours to win, above 1 the rate."""
    lines = []
    for name in WORKS:
        found = result.get(name, {})
        peer = NAMES.get(report.peer_of(found), report.peer_of(found))
        for key, what, sign in (("ratio_cpu", "CPU", 1), ("ratio_rate", "highest rate", -1)):
            if key in found:
                won = "we win" if sign * found[key] <= sign else f"{peer} wins"
                lines.append(f"- `{name}`, {what}: {won} ({found[key]:.2f} of {peer}'s)")
    return lines or ["Nothing was compared."]


def _limits(result: Mapping[str, Any]) -> list[str]:
    """Return why each highest rate is not higher: two answers that changed places end a search as calls lost do."""
    return [
        f"- `{name}`, {system}: above {each['max_rate']}/s {each['max_rate_why'].splitlines()[0][:MOST_SAID].strip()}"
        for name in (*WORKS, "direct") for system, each in result.get(name, {}).items()
        if isinstance(each, Mapping) and each.get("max_rate_why")
    ]  # fmt: skip


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])


def plots(result: Mapping[str, Any], image: str) -> dict[str, str]:
    """Return the plots, SVG by the name of the file; empty where nothing was measured. Raises LabBroken."""
    done = subprocess.run(
        ["docker", "run", "--rm", "--interactive", "--network", "none", *HARDENED,
         "--volume", f"{SCENARIOS}:/bench:ro", image, "python3", "/bench/plots.py"],
        input=json.dumps(series(result)), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise LabBroken(f"no plot could be drawn: {progress.last_lines(done.stderr)}")
    drawn: dict[str, str] = json.loads(done.stdout)
    return drawn


def series(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what the plots show: each with its file, title, axes, and lines of points."""
    call = {name: each["curve"] for name, each in result.get("call", {}).items()
            if isinstance(each, Mapping) and each.get("curve")}  # fmt: skip
    growth = {name: each["memory_over_bindings"] for name, each in result.get("call-loaded", {}).items()
              if isinstance(each, Mapping) and each.get("memory_over_bindings")}  # fmt: skip
    lines: dict[str, dict[str, list[tuple[float, float]]]] = {
        "bench-cpu.svg": {name: [(point["rate"], point["cpu_us"]) for point in curve] for name, curve in call.items()},
        "bench-latency.svg": {
            f"{name} p{part}": [(point["rate"], point[f"p{part}_ms"]) for point in curve if point[f"p{part}_ms"]]
            for name, curve in call.items() for part in (50, 95, 99)
        },
        "bench-memory.svg": {
            name: [(count, size / report.MIB) for count, size in points] for name, points in growth.items()
        },
    }  # fmt: skip
    axes = {"bench-cpu.svg": ("calls a second", "µs of CPU a call"), "bench-latency.svg": ("calls a second", "ms"),
            "bench-memory.svg": ("bindings", "MiB resident")}  # fmt: skip
    return [
        {"file": file, "title": title, "x": axes[file][0], "y": axes[file][1], "first": OURS, "lines": lines[file],
         "is_logarithmic": file == "bench-latency.svg"}
        for file, title in PLOTS.items()
    ]  # fmt: skip
