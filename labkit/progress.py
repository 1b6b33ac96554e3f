"""Running a command that takes long: the user sees that it lives, and its output when it fails."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from labkit.outcome import say

TICK_S = 10.0


def run(
    command: Sequence[str], what: str, environment: dict[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, saying every few seconds that it still works. Output and errors come back as one."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace", env=environment, cwd=cwd,
    )  # fmt: skip
    started = time.monotonic()
    try:
        while True:
            try:
                output, _ = process.communicate(timeout=TICK_S)
                return subprocess.CompletedProcess(list(command), process.returncode, output, "")
            except subprocess.TimeoutExpired:
                say(f"{what}: {time.monotonic() - started:.0f} s")
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise


def last_lines(text: str, count: int = 3) -> str:
    """Return the last lines that say something, joined."""
    return " / ".join([line.strip() for line in text.splitlines() if line.strip()][-count:])
