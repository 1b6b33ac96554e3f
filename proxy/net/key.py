"""The proxy's secret: 32 bytes in a file beside the journal, so that what it signed is believed after a restart too.

The file appears whole or not at all, and nobody but its owner can read it: who has the key can route calls through us.
"""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from pathlib import Path

KEY_BYTES = 32


class KeyFileError(Exception):
    """One line for the operator: what is wrong with the file, where it is, and what to do."""


def load_key(path: Path) -> bytes:
    """Return the 32 bytes of the file, which is made with mode 600 where there is none. Raises KeyFileError.

    Of several processes that start at once all return the same key.
    """
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise KeyFileError(f"{path}: the key cannot be read: {error.strerror}; let this user read it") from error
    try:
        _create(path)
        return _read(path)
    except OSError as error:
        raise KeyFileError(
            f"{path}: the key cannot be created: {error.strerror}; make its folder one that this user can write to"
        ) from error


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO must not keep us waiting
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise KeyFileError(f"{path}: is not a file: give the key another name")
        if status.st_mode & 0o077:
            mode = stat.S_IMODE(status.st_mode)
            raise KeyFileError(
                f"{path}: others can read or change the key (mode {mode:o}): remove it for a new one, or chmod 600"
            )
        key = os.read(descriptor, KEY_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(key) != KEY_BYTES:
        raise KeyFileError(f"{path}: is not a key of {KEY_BYTES} bytes: remove it, and a new one is made")
    return key


def _create(path: Path) -> None:
    """Make the file, unless somebody else was faster. Raises OSError."""
    descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)  # mode 600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(name, path)  # unlike a rename it never takes the place of a key that is in use
        except FileExistsError:
            return
    finally:
        os.unlink(name)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
