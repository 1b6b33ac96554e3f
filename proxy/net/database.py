"""The journal's file: opened, written, and put aside and read around when it is broken.

A database that cannot be read whole is put aside, and a new one starts with every row that could still be read. The
new one is complete before the old one moves (NAME.tmp, then NAME.new, then NAME), so a kill in between loses nothing.
Two things cannot be found out: a byte that changed within a value, and damage to the -wal file, which SQLite takes for
the end of it.
One process owns the file, by a lock on NAME.lock; SQLite's own exclusive lock keeps everybody else out as well.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, get_type_hints

from proxy.core.effects import Record

VERSION = 1  # PRAGMA user_version; goes up when Record changes
MAX_STRETCHES = 1_000  # that a broken file is read around: some 20 attempts each, well below a millisecond
MAX_ID = (1 << 63) - 1
SUFFIXES = ("-wal", "-shm", "-journal", "")  # of the files of one database; the main one moves last

_HINTS = get_type_hints(Record)
_COLUMN = {bytes: "BLOB", str: "TEXT", float: "REAL", int: "INTEGER", bool: "INTEGER"}
_STORED = tuple(int if hint is bool else hint for hint in _HINTS.values())
_FLAGS = tuple(index for index, hint in enumerate(_HINTS.values()) if hint is bool)
_NAMES = ", ".join(Record._fields)
_COLUMNS = ", ".join(f"{name} {_COLUMN[hint]} NOT NULL" for name, hint in _HINTS.items())
SCHEMA = f"CREATE TABLE bindings ({_COLUMNS}, PRIMARY KEY (id)) STRICT"
INSERT = f"INSERT OR REPLACE INTO bindings ({_NAMES}) VALUES ({', '.join('?' * len(Record._fields))})"
SWEEP = f"SELECT rowid, {_NAMES} FROM bindings WHERE rowid >= ? ORDER BY rowid LIMIT ?"
DELETE = "DELETE FROM bindings WHERE id = ?"

# What one record can be guilty of (a number beyond 64 bits, say), as opposed to the file.
_MISFIT = (
    OverflowError,
    UnicodeError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    sqlite3.DataError,
)

# What SQLite says of content. A plain ERROR too: our statements are right, so it is about a format that is not.
_BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_TOOBIG)

Changes = dict[int, Record | None]  # by id; None: forget it


class BrokenDatabase(Exception):
    """The file is not a whole journal of ours; the text says why."""


class JournalInUse(Exception):
    """Another process has it."""


class Database:
    """The file, locked. Opened by one thread and then used by another, never by two at once."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._connection: sqlite3.Connection | None = None
        self._lock = -1

    def open(self, report: Callable[[str], None]) -> list[Record]:
        """Open or create it and return its records. Raises JournalInUse, OSError, sqlite3.Error, BrokenDatabase."""
        self._lock = os.open(_beside(self.path, ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise JournalInUse from error
            if _beside(self.path, ".new").exists():
                aside = _put_in_place(self.path)
                report(f"journal {self.path}: replaced, as a process that was killed had begun; the old one is {aside}")
            elif not _parts(self.path):
                _replace(self.path, [])
            self._connection, records = self._connect(report)
            return records
        except BaseException:
            self.close()
            raise

    def _connect(self, report: Callable[[str], None]) -> tuple[sqlite3.Connection, list[Record]]:
        try:
            return _open_whole(self.path)
        except (BrokenDatabase, sqlite3.DatabaseError) as error:
            if not _is_broken(error):
                raise
            aside = _replace(self.path, salvage(self.path))
            connection, records = _open_whole(self.path)
            report(
                f"journal {self.path}: {why(error)}; put aside as {aside}, {len(records)} bindings could be read and "
                "are kept: nothing to do, phones that are missing register again; remove what you do not need"
            )
            return connection, records

    def write(self, changes: Changes, report: Callable[[str], None]) -> list[int]:
        """Commit; return the ids of records that no column can hold. Raises as `open` does, and has changed nothing."""
        if self._connection is None:
            self._connection, _ = self._connect(report)
        connection = self._connection
        try:
            return _write(connection, changes)
        except sqlite3.DatabaseError as error:
            with suppress(sqlite3.Error):  # many errors have rolled back already
                _ask(connection, "ROLLBACK")
            if _is_broken(error):  # the next attempt opens it anew, and so puts it aside
                connection.close()
                self._connection = None
            raise

    def close(self) -> None:
        """Close the file, which takes the -wal file into it, and release the lock."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._lock >= 0:
            os.close(self._lock)  # the lock file stays: removing it would let two others in
            self._lock = -1


def salvage(path: Path) -> list[Record]:
    """Return every record of a database that can still be read, from a copy: the file may be broken or read-only."""
    for folder in (None, path.parent):
        try:
            with tempfile.TemporaryDirectory(prefix="journal-", dir=folder) as place:
                copy = Path(place, "copy")
                for suffix in ("-wal", ""):
                    if (source := _beside(path, suffix)).is_file():
                        shutil.copyfile(source, _beside(copy, suffix))
                with closing(_connection(copy)) as connection:
                    _ask(connection, "PRAGMA writable_schema = ON")  # else a file that was cut is refused as a whole
                    return _sweep(connection)
        except (OSError, sqlite3.Error, UnicodeError):
            continue
    return []


def _sweep(connection: sqlite3.Connection) -> list[Record]:
    """Read from the first row to the last, and past every stretch that cannot be read."""
    found: dict[int, Record] = {}
    low = -MAX_ID - 1
    for _ in range(MAX_STRETCHES):
        broken = _read_from(connection, low, found)
        good = None if broken is None else _past_stretch(connection, max(broken, 0))
        if good is None:
            break
        low = good
    return [found[id] for id in sorted(found)]


def _read_from(connection: sqlite3.Connection, low: int, found: dict[int, Record]) -> int | None:
    """Read on from a row number; return the first one that could not be read, None at the end."""
    for limit in (-1, 1):  # the cursor reads a row ahead, and would lose the last one before what is broken
        try:
            with closing(connection.execute(SWEEP, (low, limit))) as rows:
                for row in rows:
                    low = row[0] + 1
                    with suppress(BrokenDatabase):
                        record = _record(row[1:])
                        found[record.id] = record
            if limit == -1:
                return None
        except (sqlite3.Error, UnicodeError, OverflowError):
            continue
    return low


def _past_stretch(connection: sqlite3.Connection, low: int) -> int | None:
    """Return the row number from which reading works again, None if there is none.

    Goes forward by growing steps and then back by halves: what can be read between two broken stretches may be passed
    over if it is shorter than a quarter of the first.
    """

    def works(start: int) -> bool:
        try:
            _ask(connection, SWEEP, (start, 1))
        except (sqlite3.Error, UnicodeError, OverflowError):
            return False
        return True

    bad, step = low - 1, 0
    while not works(low + step):
        bad = low + step
        step += step // 4 + 1
        if low + step > MAX_ID:
            return None
    good = low + step
    while good - bad > 1:
        middle = (bad + good) // 2
        bad, good = (bad, middle) if works(middle) else (middle, good)
    return good


def _record(row: tuple[Any, ...]) -> Record:
    """Make a record of a row. Raises BrokenDatabase where a value has not got its column's type."""
    if tuple(map(type, row)) != _STORED:
        raise BrokenDatabase(f"row {row[0]!r} is not a binding")
    values = list(row)
    for index in _FLAGS:
        values[index] = bool(values[index])
    return Record._make(values)


def _open_whole(path: Path) -> tuple[sqlite3.Connection, list[Record]]:
    """Open a database that is ours, whole and can be written. Raises BrokenDatabase, OSError, sqlite3.Error."""
    try:
        with open(path, "r+b") as file:  # first of all: what the system says is clearer than what SQLite makes of it
            is_empty = not file.read(1)
    except FileNotFoundError:
        raise BrokenDatabase("there is a -wal file without it") from None
    if is_empty:
        raise BrokenDatabase("the file is empty")  # SQLite would call it new, and remove a -wal file that is full
    connection = _connection(path)
    try:
        _ask(connection, "PRAGMA locking_mode = EXCLUSIVE")  # needs no -shm file, which not every file system can map
        version = _ask(connection, "PRAGMA user_version")[0][0]
        schema = _ask(connection, "SELECT sql FROM sqlite_master WHERE name = 'bindings'")
        if version != VERSION:
            raise BrokenDatabase(f"it is of version {version}, this is version {VERSION}")
        if schema != [(SCHEMA,)]:
            raise BrokenDatabase("its table is not ours")
        verdict = _ask(connection, "PRAGMA quick_check(1)")[0][0]
        if verdict != "ok":
            raise BrokenDatabase(" ".join(verdict.split()))
        records = [_record(row) for row in _ask(connection, f"SELECT {_NAMES} FROM bindings ORDER BY id")]
        _ask(connection, "PRAGMA journal_mode = WAL")
        _ask(connection, "PRAGMA synchronous = FULL")
        _ask(connection, f"PRAGMA user_version = {VERSION}")  # a write: what is read-only or full is found out now
    except BaseException as error:
        connection.close()  # no cursor may be alive: it would put the end off, and that removes a -wal file by its name
        if isinstance(error, UnicodeError):  # a broken name in SQLite's own message
            raise BrokenDatabase(f"cannot be read: {error}") from None
        raise
    return connection, records


def _connection(path: Path) -> sqlite3.Connection:
    """Open a file that is there; transactions are ours to begin and end. Raises sqlite3.Error."""
    uri = f"{path.as_uri()}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, timeout=0.5, isolation_level=None, check_same_thread=False)
    _ask(connection, "PRAGMA cell_size_check = ON")  # finds more of what is broken, before it is believed
    return connection


def _write(connection: sqlite3.Connection, changes: Changes) -> list[int]:
    misfits = []
    saved = [record for record in changes.values() if record is not None]
    with closing(connection.cursor()) as cursor:
        cursor.execute("BEGIN IMMEDIATE")
        try:
            cursor.executemany(INSERT, saved)
        except _MISFIT:  # one bad record must not keep the others out: one by one, in the same transaction
            for record in saved:
                try:
                    cursor.execute(INSERT, record)
                except _MISFIT:
                    misfits.append(record.id)
        cursor.executemany(DELETE, [(id,) for id, record in changes.items() if record is None])
        cursor.execute("COMMIT")
    return misfits


def _ask(connection: sqlite3.Connection, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
    """Return what a statement says, and leave no cursor: an open one would be in the way of the next commit."""
    with closing(connection.execute(statement, parameters)) as cursor:
        return cursor.fetchall()


def _replace(path: Path, records: list[Record]) -> str:
    """Put a new database with these records in place; return the name that the old one has now, "" if there was none.

    Raises OSError and sqlite3.Error; then the old one is still there.
    """
    fresh = _beside(path, ".tmp")
    for suffix in SUFFIXES:
        _beside(fresh, suffix).unlink(missing_ok=True)
    os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))  # SQLite's other files take its mode
    with closing(_connection(fresh)) as connection, closing(connection.cursor()) as cursor:
        cursor.execute("BEGIN")
        cursor.execute(SCHEMA)
        cursor.executemany(INSERT, records)
        cursor.execute(f"PRAGMA user_version = {VERSION}")
        cursor.execute("COMMIT")
    fresh.rename(_beside(path, ".new"))  # from now on it is the truth, whatever happens
    return _put_in_place(path)


def _put_in_place(path: Path) -> str:
    """Move what is at `path` aside and NAME.new there; may have been begun before. Return what `_replace` does."""
    number = 1
    while _parts(_beside(path, f".broken-{number}")):
        number += 1
    aside = _beside(path, f".broken-{number}")
    parts = _parts(path)
    for suffix in parts:  # a -wal file that stayed would be taken into the new database
        _beside(path, suffix).rename(_beside(aside, suffix))
    _beside(path, ".new").rename(path)
    return aside.name if parts else ""


def _parts(path: Path) -> list[str]:
    return [suffix for suffix in SUFFIXES if os.path.lexists(_beside(path, suffix))]


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _is_broken(error: Exception) -> bool:
    """Say whether the content is to blame, rather than the disk or a permission."""
    code = getattr(error, "sqlite_errorcode", None)  # Python's own errors have none: text that is not UTF-8
    return isinstance(error, BrokenDatabase) or code is None or code & 0xFF in _BROKEN


def why(error: Exception) -> str:
    """Return what is wrong, in the system's words."""
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
