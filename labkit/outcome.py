"""How a verb ends: the exit codes that every command of the lab keeps, and the errors that lead to them."""

from __future__ import annotations

import sys
from enum import IntEnum


class Exit(IntEnum):
    """Exit status of every verb."""

    PASS = 0
    FAIL = 1  # the call failed
    USAGE = 2  # the user's mistake, or a missing prerequisite
    BROKEN = 3  # the lab is not what it claims to be: neither pass nor failure
    UNSUPPORTED = 127  # this kernel cannot do it


class Mistake(Exception):
    """Something the user has to mend: one line that says what is wrong, where, and what to do. Exit 2."""

    code = Exit.USAGE


class Unsupported(Mistake):
    """This kernel cannot do it: one line that says what it lacks. Exit 127."""

    code = Exit.UNSUPPORTED


class LabBroken(Exception):
    """The lab could not be brought to a state in which a verdict means something. Exit 3."""


def say(line: str) -> None:
    """Tell the user what happens now, on standard error: standard output belongs to the ladder and the verdict."""
    print(f"lab: {line}", file=sys.stderr, flush=True)
