"""All captures of a folder as one pcapng, with a comment on each packet that has SIP in it, and the keys of TLS."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from observer.decode import KEYS, captures
from observer.view import schema
from observer.view.rows import clean

MOST_COMMENTS = 4000  # a command line has its limit
MOST_CHARACTERS = 900


def write(folder: Path, view: schema.View, target: Path) -> None:
    """Write the merged captures with comments. Raises CalledProcessError."""
    files = captures(folder)
    merged = target.with_suffix(".merged")
    _run("mergecap", "-I", "none", "-w", str(merged), *map(str, files))
    try:
        told = comments(view)
        command = ["editcap"]
        numbered = _frames(merged, [path.stem for path in files])
        for place, text in list(told.items())[:MOST_COMMENTS]:
            if place in numbered:
                command += ["-a", f"{numbered[place]}:{text}"]
        if (folder / KEYS).exists():
            command += ["--inject-secrets", f"tls,{folder / KEYS}"]
        _run(*command, str(merged), str(target))
    finally:
        merged.unlink(missing_ok=True)


def comments(view: schema.View) -> dict[tuple[str, str], str]:
    """Return what to say of the packets, by tap and time; what was changed or went wrong first."""
    found = [
        ((sight["tap"], f"{sight['time']:.6f}"), comment(arrow), bool(arrow["changes"]))
        for call in view["calls"]
        for arrow in call["arrows"]
        for sight in arrow["sights"]
    ]
    return {place: text for place, text, _ in sorted(found, key=lambda each: not each[2])}


def comment(arrow: schema.Arrow) -> str:
    """Return what to say of a packet."""
    lines = [f"{arrow['origin']['lane']} → {arrow['target']['lane']}: {arrow['label']}"]
    if arrow["copy"]:
        lines[0] += f" (sent again: {arrow['copy'] + 1})"
    lines += [f"lost: {arrow['lost']}"] if arrow["lost"] else []
    lines += [f"failed {each['check']}: {each['text']}" for each in arrow["failed"]]
    for change in arrow["changes"]:
        what = {"added": "+", "removed": "-"}.get(change["kind"], "~")
        lines.append(f"{change['by']}: {what} {change['name']}: {change['why']} {change['rfc']}".rstrip())
    return clean("; ".join(lines))[:MOST_CHARACTERS]


def _frames(merged: Path, taps: Sequence[str]) -> dict[tuple[str, str], int]:
    fields = ("frame.number", "frame.interface_id", "frame.time_epoch")
    command = ["tshark", "-n", "-r", str(merged), "-T", "fields", *(word for name in fields for word in ("-e", name))]
    found = {}
    for line in _run(*command).splitlines():
        number, interface, time = line.split("\t")
        found[taps[int(interface)], f"{float(time):.6f}"] = int(number)
    return found


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, errors="backslashreplace").stdout
