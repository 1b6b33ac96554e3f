"""The journal of bindings, as the event loop sees it: written behind by a thread of its own, so that nobody waits.

What is promised, of everything that was enqueued before `when_durable` was asked and has called back: it is in the file
after a kill -9, and after a loss of power too, as far as the disk keeps what fsync was told (WAL, synchronous=FULL).
Of what has not called back, a kill or a loss of power takes at most the last `flush_s` seconds and one commit.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from proxy.core.effects import Record
from proxy.net.database import BrokenDatabase, Changes, Database, JournalInUse, salvage, why

MAX_BATCH_ROWS = 10_000  # pending rows that are not kept waiting for `flush_s`: some 3 MB, some 120 ms of writing
COMMIT_EVERY_S = 0.02  # at the most: changes that come meanwhile go into the next, all for the price of one
RETRY_S = 1.0  # after a commit that failed


@dataclass(slots=True)
class Batch:
    """What goes into one transaction: the last word on each id, and who waits for it."""

    changes: Changes = field(default_factory=dict)
    callbacks: list[Callable[[], None]] = field(default_factory=list)
    since: float = 0.0  # when the first change came, on the monotonic clock


class Store:
    """The journal as the event loop sees it: everything but `open` and `close` only takes note.

    `report` gets one line for the operator; it must not raise, and is called from the thread that writes or, during
    `open`, from the caller's. Without a usable file the store takes no notes, `is_durable` is False, and nobody waits.
    """

    def __init__(self, path: Path, flush_s: float, report: Callable[[str], None]) -> None:
        """`flush_s`: seconds that a change may wait for others; 0: no longer than COMMIT_EVERY_S wants.

        `hand_over`, which may be set, is given by the thread that writes what waited for a commit, all at once. Else
        that thread calls back itself.
        """
        self.commits = 0
        self.rows = 0  # changes that were committed
        self.failures = 0  # commits that failed
        self.misfits = 0  # records that no column can hold, and that are therefore not kept
        self.is_durable = False  # False as well while the disk refuses; pending changes are then kept, and tried again
        self._database = Database(path)
        self._flush_s = flush_s
        self._report = report
        self._changed = threading.Condition()  # guards what follows
        self._next = Batch()
        self._is_writing = False
        self._is_closing = False
        self._not_before = 0.0  # the next commit, on the monotonic clock
        self._thread: threading.Thread | None = None
        self.hand_over: Callable[[list[Callable[[], None]]], None] = self._call_back

    def open(self) -> list[Record]:
        """Return what the journal holds, and start the thread. Reports what is wrong, and never raises for it."""
        database = self._database
        try:
            records = database.open(self._report)
        except JournalInUse:
            self._report(
                f"journal {database.path}: another process uses it; serving without a journal and with no binding: "
                "stop that process, or give this one a journal of its own, and start again"
            )
            return []
        except (OSError, sqlite3.Error, BrokenDatabase) as error:
            records = salvage(database.path)
            self._report(
                f"journal {database.path}: {why(error)}; serving without a journal, with the {len(records)} bindings "
                "that could be read: let this user write to the file and its folder, and start again"
            )
            return records
        self.is_durable = True
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()
        return records

    def save(self, record: Record) -> None:
        """Take note of a binding, in the place of the one with the same id."""
        self._note(record.id, record)

    def forget(self, id: int, expires_at: float = 0.0) -> None:
        """Take note that a binding is gone, whatever it was."""
        self._note(id, None)

    def _note(self, id: int, record: Record | None) -> None:
        if self._thread is None:
            return
        with self._changed:
            changes = self._next.changes
            if not changes:
                self._next.since = time.monotonic()
                self._changed.notify()
            changes[id] = record
            if len(changes) == MAX_BATCH_ROWS:
                self._changed.notify()

    def when_durable(self, callback: Callable[[], None]) -> None:
        """Call back when everything that was enqueued before is in the file: from the writing thread, or at once.

        At once means before this returns, because nothing is pending. While the disk refuses, callbacks wait until a
        commit succeeds: whoever would rather answer than wait looks at `is_durable`. Those that still wait when `close`
        has to give up are never called.
        """
        with self._changed:
            if self._is_writing or self._next.changes or self._next.callbacks:
                self._next.callbacks.append(callback)  # whoever writes has been told of the change already
                return
        callback()

    def close(self) -> None:
        """Commit what is pending, end the thread, and let go of the file. What cannot be written now is reported."""
        if self._thread is None:
            return
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join()
        self._thread = None
        self._next, self._is_writing = Batch(), False

    def _run(self) -> None:
        """Write batch after batch; nothing but this touches the database between `open` and `close`."""
        while (batch := self._take()) is not None:
            if self._commit(batch.changes):
                self._tell(batch.callbacks)
            elif not self._put_back(batch):
                count = len(batch.changes)
                self._report(f"journal {self._database.path}: closed, and {count} changes could not be written")
                break
        self._database.close()
        self.is_durable = False

    def _take(self) -> Batch | None:
        """Return the next batch when it is due, None at the end."""
        with self._changed:
            self._is_writing = False
            while not self._is_closing:
                batch = self._next
                if not batch.changes:
                    if batch.callbacks:  # asked while the last batch, which they wait for, was being written
                        break
                    self._changed.wait()
                    continue
                delay = max(batch.since + self._flush_s, self._not_before) - time.monotonic()
                if delay <= 0 or len(batch.changes) >= MAX_BATCH_ROWS:
                    break
                self._changed.wait(delay)
            batch, self._next = self._next, Batch()
            self._is_writing = bool(batch.changes or batch.callbacks)
            return batch if self._is_writing else None

    def _commit(self, changes: Changes) -> bool:
        """Write one batch; say whether it is in the file."""
        if not changes:
            return True
        self._not_before = time.monotonic() + COMMIT_EVERY_S
        try:
            misfits = self._database.write(changes, self._report)
        except (OSError, sqlite3.Error, BrokenDatabase) as error:
            self.failures += 1
            if self.is_durable:
                self.is_durable = False
                self._report(
                    f"journal {self._database.path}: {why(error)}; bindings are kept in memory, and writing is tried "
                    f"again every {RETRY_S:g} s: make room on the disk, or let this user write there"
                )
            return False
        self.commits += 1
        self.rows += len(changes) - len(misfits)
        if not self.is_durable:
            self.is_durable = True
            self._report(f"journal {self._database.path}: can be written again")
        if misfits and not self.misfits:
            self._report(f"journal {self._database.path}: binding {misfits[0]} does not fit and is not kept; told once")
        self.misfits += len(misfits)
        return True

    def _put_back(self, batch: Batch) -> bool:
        """Merge a batch that failed with what came since, and wait a while; say whether to try again."""
        with self._changed:
            if self._is_closing:
                return False
            batch.changes.update(self._next.changes)  # later ones win: never more than there are bindings
            batch.callbacks += self._next.callbacks
            self._next = batch
            self._changed.wait_for(lambda: self._is_closing, RETRY_S)
        return True

    def _tell(self, callbacks: list[Callable[[], None]]) -> None:
        if callbacks:
            try:
                self.hand_over(callbacks)
            except Exception as error:  # a loop that is closed, say: the journal goes on
                self._report_failure(error)

    def _call_back(self, callbacks: list[Callable[[], None]]) -> None:
        for callback in callbacks:
            try:
                callback()
            except Exception as error:  # the others are called all the same
                self._report_failure(error)

    def _report_failure(self, error: Exception) -> None:
        self._report(f"journal {self._database.path}: a callback failed: {error!r}")
