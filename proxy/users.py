"""The users and their passwords: a text file, one line per user and algorithm.

    # comment
    alice:example.org:SHA-256:<HA1, 64 hex digits>
    alice:example.org:MD5:<HA1, 32 hex digits>
    bob:example.org:password:the plain password, as it stands, to the end of the line

HA1 is H(user:realm:password) (RFC 7616 §3.4.2): for this realm it is worth as much as the password, so the file is
nobody else's to read. No message of this module repeats a password or an HA1.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from proxy.sip import digest

PASSWORD = "password"
_FORM = f"USER:REALM:ALGORITHM:HA1 with one of {', '.join(digest.ALGORITHMS)}, or USER:REALM:{PASSWORD}:THE PASSWORD"
_NAME = "a name without colon, control characters, spaces at its ends, or # as its first character"
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")  # and what is no character at all
_COMPUTED = digest.available()
_HEX = re.compile("[0-9A-Fa-f]+")


class BadUsers(Exception):
    """One line per mistake."""


class _Entry(NamedTuple):
    """One line: `kind` is an algorithm in upper case, or PASSWORD."""

    user: str
    realm: str
    kind: str
    secret: str


def load(path: Path, realm: str) -> dict[bytes, dict[str, bytes]]:
    """Return user -> algorithm -> HA1 (lower-case hex) of one realm. Raises BadUsers with every mistake of the file.

    A plain password counts for every algorithm that this Python can compute.
    """
    mistakes: list[str] = []
    users: dict[bytes, dict[str, bytes]] = {}
    seen: dict[tuple[str, str, str], int] = {}
    for number, line in enumerate(_lines(path), 1):
        if not _is_entry(line):
            continue
        try:
            entry = _parse(line)
            for kind in digest.ALGORITHMS if entry.kind == PASSWORD else (entry.kind,):
                before = seen.setdefault((entry.user, entry.realm, kind), number)
                if before != number:
                    raise BadUsers(f"{entry.user}: has {kind} in line {before} already; allowed is once")
        except BadUsers as error:
            mistakes.append(f"{path}:{number}: {error}")
            continue
        if entry.realm == realm:
            users.setdefault(entry.user.encode(), {}).update(_hashes(entry))
    if mistakes:
        raise BadUsers("\n".join(mistakes))
    return users


def exposure(path: Path) -> str | None:
    """Return one line that says so when others than its owner can read or change the file, else None."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return None  # `load` says what is wrong
    return f"{path}: mode {mode:o} lets others at the passwords; do: chmod 600 {path}" if mode & 0o077 else None


def add(path: Path, user: str, realm: str, password: str, algorithms: Iterable[str] = _COMPUTED) -> None:
    """Give a user a password, one HA1 line per algorithm, in the place of all lines that he had in this realm.

    The file is made if it is not there; every other line stays as it is. Raises BadUsers.
    """
    _check_name("user", user)
    _check_name("realm", realm)
    _check_password(user, password)
    try:
        entries = [
            f"{user}:{realm}:{name}:{digest.ha1(name, user.encode(), realm.encode(), password.encode()).decode()}"
            for name in dict.fromkeys(algorithms)
        ]
    except digest.NoAlgorithm as error:
        raise BadUsers(str(error)) from None
    if not entries:
        raise BadUsers(f"{user}: no algorithm is named; known are {', '.join(digest.ALGORITHMS)}")
    lines = _lines(path) if path.exists() else []
    places = [index for index, line in enumerate(lines) if _is_of(line, user, realm)]
    rest = [line for line in lines if not _is_of(line, user, realm)]
    at = places[0] if places else len(rest)
    _write(path, [*rest[:at], *entries, *rest[at:]])


def remove(path: Path, user: str, realm: str) -> None:
    """Remove all lines of a user in a realm. Raises BadUsers, too when there are none."""
    lines = _lines(path)
    rest = [line for line in lines if not _is_of(line, user, realm)]
    if rest == lines:
        raise BadUsers(f"{path}: {user}: is no user of {realm}")
    _write(path, rest)


def _parse(line: str) -> _Entry:
    """Return a line's entry. Raises BadUsers without the name of the file."""
    user, *others = line.split(":", 3)
    if len(others) != 3:
        raise BadUsers(f"is no user; allowed is {_FORM}")
    realm, kind, secret = others
    _check_name("user", user)
    _check_name("realm", realm)
    if kind == PASSWORD:
        _check_password(user, secret)
        return _Entry(user, realm, kind, secret)
    algorithm = kind.upper()
    if algorithm not in digest.ALGORITHMS:
        raise BadUsers(f"{user}: names no algorithm; allowed is {_FORM}")
    if len(secret) != digest.hex_digits(algorithm) or _HEX.fullmatch(secret) is None:
        raise BadUsers(f"{user}: the HA1 is not {digest.hex_digits(algorithm)} hex digits, which {algorithm} has")
    return _Entry(user, realm, algorithm, secret)


def _hashes(entry: _Entry) -> dict[str, bytes]:
    if entry.kind != PASSWORD:
        return {entry.kind: entry.secret.lower().encode()}
    parts = (entry.user.encode(), entry.realm.encode(), entry.secret.encode())
    return {name: digest.ha1(name, *parts) for name in _COMPUTED}


def _check_name(what: str, name: str) -> None:
    if not name or ":" in name or name != name.strip() or name.startswith("#") or _CONTROL.search(name):
        raise BadUsers(f"{name!r} is no {what}; allowed is {_NAME}")


def _check_password(user: str, password: str) -> None:
    if not password or _CONTROL.search(password):
        raise BadUsers(f"{user}: the password is empty or has control characters; allowed is any other text")


def _is_entry(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _is_of(line: str, user: str, realm: str) -> bool:
    return _is_entry(line) and line.split(":", 2)[:2] == [user, realm]


def _lines(path: Path) -> list[str]:
    """Return the lines without their ends. Raises BadUsers."""
    try:
        if not path.is_file() and path.exists():
            raise BadUsers(f"{path}: is not a file: name one that holds a line for each user")
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise BadUsers(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadUsers(f"{path}: is not UTF-8 text") from None
    lines = [line.removesuffix("\r") for line in text.split("\n")]  # splitlines would also split within a password
    return lines[:-1] if lines[-1] == "" else lines


def _write(path: Path, lines: list[str]) -> None:
    """Put a new file, which only its owner can read, in the place of the old one: whoever reads sees one or the other.

    Of two who write at the same time the later wins. Raises BadUsers.
    """
    path = path.resolve()  # a symbolic link stays, and what it points at is replaced
    name = ""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 600
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            if path.exists():
                owner = path.stat()
                with suppress(PermissionError):  # when root edits it, the file stays its owner's
                    os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            file.writelines(f"{line}\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except OSError as error:
        if name:
            with suppress(FileNotFoundError):
                os.unlink(name)
        raise BadUsers(f"{path}: cannot be written: {error.strerror}") from None
