"""A test that measures times has the machine to itself, while the others run side by side.

`./lab test` runs whole files side by side (pytest-xdist, --dist loadfile), each process with a lab for its files.
"""

from __future__ import annotations

import fcntl
import gc
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from xdist.workermanage import NodeManager  # type: ignore[import-untyped]

# How long an example takes says something of the machine: Hypothesis would fail one of 0.2 s.
hypothesis.settings.register_profile("lab", deadline=None)
hypothesis.settings.load_profile("lab")

ALONE = "alone"
WAITING = {"test_workers.py", "test_style.py"}  # of the unit tests
TIDY_UP_S = 60  # that an interrupted process has to take its labs away; pytest-xdist kills it after 10 otherwise


class Machine:
    """The machine, which tests of several processes share: many at a time, or one alone.

    Two locked files: a door, which each passes, and in which one who wants to be alone stays; and the room behind it.
    """

    def __init__(self, folder: Path) -> None:
        """Lock files of this folder."""
        self._door = (folder / "door").open("w")
        self._room = (folder / "room").open("w")
        self.is_alone = False

    def enter(self, alone: bool) -> None:
        """Come in, when nobody is there who is or wants to be alone; for `alone`, when nobody is there at all."""
        fcntl.flock(self._door, fcntl.LOCK_EX)
        fcntl.flock(self._room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        self.is_alone = alone
        if not alone:
            fcntl.flock(self._door, fcntl.LOCK_UN)

    def leave(self) -> None:
        """Let others in."""
        self.is_alone = False
        for file in (self._room, self._door):
            fcntl.flock(file, fcntl.LOCK_UN)


machine = pytest.StashKey[Machine]()
locks = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{ALONE}: times are measured: no other test runs at the same time")
    NodeManager.EXIT_TIMEOUT = TIDY_UP_S
    given = getattr(config, "workerinput", None)  # of a process beside which others run
    if given is not None:
        folder = Path(tempfile.gettempdir()) / f"labtest-{given['testrunuid']}"
        folder.mkdir(exist_ok=True)
        config.stash[machine] = Machine(folder)
        config.stash[locks] = folder


def pytest_unconfigure(config: pytest.Config) -> None:
    if locks in config.stash:
        shutil.rmtree(config.stash[locks], ignore_errors=True)  # the others have theirs open


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order whole files. First those that want the machine alone: where all processes begin with theirs, none waits for
    long ones; of these, first what needs no lab, while the others start theirs. Then all that need a lab, and beside
    them what waits more than it works. What is left for the end keeps the machine busy.
    """
    alone = {item.path for item in items if is_alone(item)}
    needs_lab = {item.path for item in items if item.get_closest_marker("e2e")}
    files = {path: number for number, path in enumerate(dict.fromkeys(item.path for item in items))}

    def place(item: pytest.Item) -> tuple[bool | int, ...]:
        path = item.path
        if path in alone:
            return 0, path in needs_lab, files[path], not is_alone(item)
        return 1, path not in needs_lab, path.name not in WAITING, files[path]

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """Have the garbage collector leave out what stays until the end: thousands of tests, which it would go through."""
    gc.collect()
    gc.freeze()


def is_alone(item: pytest.Item) -> bool:
    """Say whether no other test may run at the same time."""
    return item.get_closest_marker(ALONE) is not None


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Share the machine while a test has its fixtures made, runs and is tidied up after."""
    shared = item.config.stash.get(machine, None)
    if shared is None:
        yield
        return
    if not shared.is_alone:
        shared.enter(alone=False)
    yield
    if not (shared.is_alone and nextitem and is_alone(nextitem)):  # else the next one has it to itself already
        shared.leave()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Do not share it any more when a test begins that measures times; its fixtures were made beside others."""
    shared = item.config.stash.get(machine, None)
    if shared is not None and is_alone(item) and not shared.is_alone:
        shared.leave()
        shared.enter(alone=True)
