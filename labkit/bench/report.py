"""What was measured: as data (bench.json), and as the tables that are printed and published."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from labkit.bench import goals
from labkit.bench.rounds import Figures
from labkit.bench.search import NO_HIGHER
from labkit.bench.work import KAMAILIO, NOTE_SIPPY, OTHER, OURS, RTPENGINE, SIPPY, WORKS, Work

MIB = 1 << 20
SYSTEMS = (OURS, OTHER, KAMAILIO, SIPPY, RTPENGINE)
HEAD = ("work", "system", "CPU µs", "spread", "highest /s", "p50 ms", "p95 ms", "p99 ms", "at /s", "memory MiB", "")


def entry(work: Work, figures: Mapping[str, Figures]) -> dict[str, Any]:
    """Return the data of one kind of work: by system, with the ratio of ours to Kamailio's."""
    found: dict[str, Any] = {"what": work.what, "unit": work.unit}
    for name, each in figures.items():
        cpu_us = each.cpu_us
        found[name] = {
            "cpu_us": round(statistics.median(cpu_us), 1) if cpu_us else None,
            "cpu_us_rounds": [round(value, 1) for value in cpu_us],
            "cpu_us_spread": [round(min(cpu_us), 1), round(max(cpu_us), 1)] if cpu_us else None,
            "cpu_us_later": round(each.later_us, 1),
            "idle_us_per_s": round(each.idle_us_per_s),
            "rate": each.rate,
            "latency_rate": each.rate,
            **{part: each.of(part) for part in ("p50_ms", "p95_ms", "p99_ms")},
            "memory": {"before": each.memory_before, "peak": each.memory_peak, "after": each.memory_after},
            "faults": each.faults,
        }
    found |= {name: {"unsupported": why} for name, why in work.unsupported.items()}
    return compared(found)


def compared(found: dict[str, Any]) -> dict[str, Any]:
    """Add the ratios of ours to the peer's, of what was measured of both: Kamailio's, of media rtpengine's."""
    peer = peer_of(found)
    for ratio, key in (("ratio_cpu", "cpu_us"), ("ratio_rate", "max_rate")):
        ours, theirs = (found.get(name, {}).get(key) for name in (OURS, peer))
        has_end = all(found.get(name, {}).get("max_rate_why") != NO_HIGHER for name in (OURS, peer))
        if ours and theirs and (has_end or key == "cpu_us"):
            found[ratio] = round(ours / theirs, 3)
    found |= _beside_the_other(found)
    return found


def _beside_the_other(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return ours to the other image of ours, round by round: a machine that drifts does so in both."""
    ours, other = (found.get(name, {}).get("cpu_us_rounds", []) for name in (OURS, OTHER))
    ratios = [one / two for one, two in zip(ours, other, strict=False)]
    if not ratios:
        return {}
    spread = [round(min(ratios), 3), round(max(ratios), 3)]
    return {"ratio_other": round(statistics.median(ratios), 3), "ratio_other_spread": spread}


def peer_of(found: Mapping[str, Any]) -> str:
    """Return whom a kind of work compares ours with."""
    return RTPENGINE if RTPENGINE in found else KAMAILIO


def table(result: Mapping[str, Any]) -> list[list[str]]:
    """Return the rows of what was measured, the head first."""
    rows = [list(HEAD)]
    for name in (*WORKS, "direct"):
        for system in (*SYSTEMS, "sipp"):
            each = result.get(name, {}).get(system)
            if each is not None:
                rows.append(_row(name, system, each))
    return rows


def _row(name: str, system: str, each: Mapping[str, Any]) -> list[str]:
    if "unsupported" in each:
        return [name, system, *[""] * (len(HEAD) - 3), str(each["unsupported"])]
    memory = each.get("memory")
    spread = each.get("cpu_us_spread")
    remarks = "; ".join(dict.fromkeys(each.get("faults") or []))
    return [
        name, system, _number(each.get("cpu_us")), " – ".join(map(_number, spread)) if spread else "",
        _number(each.get("max_rate")), *(_number(each.get(part)) for part in ("p50_ms", "p95_ms", "p99_ms")),
        _number(each.get("latency_rate")),
        " → ".join(f"{memory[when] / MIB:.0f}" for when in ("before", "peak", "after")) if memory else "", remarks,
    ]  # fmt: skip


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def ratios(result: Mapping[str, Any]) -> list[str]:
    """Return a line for each kind of work that has ratios: of ours to its peer's."""
    lines = []
    for name in WORKS:
        found = result.get(name, {})
        said = [
            f"{words} {found[key]:.2f}×"
            for key, words in (("ratio_cpu", "CPU"), ("ratio_rate", "highest rate"), ("ratio_empty", "CPU of call's"))
            if key in found
        ]
        if "ratio_other" in found:
            least, most = found["ratio_other_spread"]
            spread = f"({least:.2f} to {most:.2f})"
            lines.append(f"{name}: ours to the other image: CPU {found['ratio_other']:.2f}× {spread}")
        if said:
            lines.append(f"{name}: ours to {peer_of(found)}: {', '.join(said)}")
    return lines


def text(result: Mapping[str, Any]) -> str:
    """Return what is printed: the table, the ratios, the goals, and what could not be measured."""
    goal_rows = [("goal", "measured", "wanted", "at least", "")]
    if not result["run"].get("quick"):
        goal_rows += goals.rows(result)
    else:
        goal_rows += [row for row in goals.rows(result) if row[4] != goals.UNKNOWN]
    blocks = [aligned(table(result)), "\n".join(ratios(result))]
    if len(goal_rows) > 1:
        blocks.append(aligned(goal_rows))
    blocks.append("\n".join(notes(result)))
    return "\n\n".join(block for block in blocks if block)


def notes(result: Mapping[str, Any]) -> list[str]:
    """Return what one has to know to read the table, and what was not measured."""
    lines = []
    if SIPPY in result.get("call", {}):
        lines.append(NOTE_SIPPY)
    if "direct" in result:
        lines.append("direct: SIPp calls SIPp without a system; its highest rate bounds what can be seen of others")
    lines += [f"not measured: {why}" for why in result["run"].get("not_measured", [])]
    return lines


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as text, each column as wide as its widest cell."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
