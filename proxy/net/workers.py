"""Several processes that are one proxy: they part here, and end together.

The first is the one that was started: it has the journal and the pages, and gets the signals. When it ends, however
that comes, the others end, because a pipe that only it holds open is closed; when another one ends, the first stops.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from proxy.net.mesh import Mesh


@dataclass(slots=True)
class Worker:
    """One of the processes, seen from within."""

    mesh: Mesh
    lifeline: int  # a file descriptor: at the first worker's the end that it holds open, else the one to watch
    others: dict[int, int]  # the first worker's: of each other process the id, and a pipe that it holds open

    @property
    def is_first(self) -> bool:
        """Say whether this is the process that was started."""
        return self.mesh.number == 0

    def watch(self, ended: Callable[[int], None]) -> None:
        """Have `ended(process)` called when another process ends before `end_others`; for the first, on its loop."""
        for process, pipe in self.others.items():
            self._when_ended(pipe, partial(self._tell, ended, process))

    async def end_others(self) -> None:
        """Have the others end, and wait until they have."""
        os.close(self.lifeline)
        self.lifeline = -1
        for pipe in self.others.values():
            gone = asyncio.Event()
            self._when_ended(pipe, gone.set)
            await gone.wait()

    def _tell(self, ended: Callable[[int], None], process: int) -> None:
        if self.lifeline >= 0:
            ended(process)

    def _when_ended(self, pipe: int, action: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()

        def act() -> None:
            loop.remove_reader(pipe)
            action()

        loop.add_reader(pipe, act)  # in the place of who was told before


def part(count: int, work: Callable[[Worker], int]) -> int:
    """Have so many processes do the work; return what this one's came to. To be called before anything else runs."""
    mesh = Mesh(count)
    watched, held = os.pipe()
    others: dict[int, int] = {}
    for number in range(1, count):
        told, life = os.pipe()  # closed when the process ends, however that comes
        process = os.fork()
        if process == 0:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, which means the first
            os.close(held)
            mesh.become(number)
            return work(Worker(mesh, watched, {}))
        os.close(life)
        others[process] = told
    os.close(watched)
    mesh.become(0)
    worker = Worker(mesh, held, others)
    try:
        return work(worker)
    finally:
        if worker.lifeline >= 0:
            os.close(held)
        for process in others:
            os.waitpid(process, 0)
