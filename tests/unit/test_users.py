"""The users file: what is read, what is refused in one line each, and that it is rewritten whole or not at all."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.users import BadUsers, add, exposure, load, remove

REALM = "example.org"
MD5, SHA256 = "0123456789abcdef" * 2, "0123456789abcdef" * 4


def users_file(folder: Path, text: str | bytes) -> Path:
    path = folder / "users"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(0o600)
    return path


def mistakes(path: Path) -> list[str]:
    with pytest.raises(BadUsers) as caught:
        load(path, REALM)
    return str(caught.value).splitlines()


def hashes(user: str, password: str, realm: str = REALM) -> dict[str, bytes]:
    text = f"{user}:{realm}:{password}".encode()
    names = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}
    return {name: hashlib.new(python, text).hexdigest().encode() for name, python in names.items()}


def test_hashes_are_read_and_passwords_count_for_every_algorithm(tmp_path: Path) -> None:
    path = users_file(
        tmp_path,
        f"# the house\n\nalice:{REALM}:SHA-256:{SHA256.upper()}\nalice:{REALM}:md5:{MD5}\r\n"
        f"bob:{REALM}:password: a:b#c \n  # indented\ncarol:example.com:MD5:{MD5}\n"
        f"J\u00e4s\u00f8n Doe:{REALM}:password:\u00fc",
    )
    assert load(path, REALM) == {
        b"alice": {"SHA-256": SHA256.encode(), "MD5": MD5.encode()},
        b"bob": hashes("bob", " a:b#c "),
        "J\u00e4s\u00f8n Doe".encode(): hashes("J\u00e4s\u00f8n Doe", "\u00fc"),
    }
    assert load(path, "example.com") == {b"carol": {"MD5": MD5.encode()}}
    assert load(path, "example.net") == {}


@pytest.mark.parametrize("text", ["", "\n", "# nobody\n"])
def test_a_file_without_users_has_none(tmp_path: Path, text: str) -> None:
    assert load(users_file(tmp_path, text), REALM) == {}


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("alice", "is no user; allowed is USER:REALM:ALGORITHM:HA1"),
        ("alice:r:MD5", "is no user; allowed is"),
        (f"alice:r:SHA-1:{MD5}", "alice: names no algorithm; allowed is"),
        (f"alice:r:PASSWORD:{MD5}", "alice: names no algorithm; allowed is"),
        (f"alice:r:MD5:{MD5}0", "alice: the HA1 is not 32 hex digits, which MD5 has"),
        (f"alice:r:MD5:{MD5[1:]}g", "alice: the HA1 is not 32 hex digits"),
        (f"alice:r:MD5:{MD5} ", "alice: the HA1 is not 32 hex digits"),
        (f"alice:r:SHA-256:{MD5}", "alice: the HA1 is not 64 hex digits, which SHA-256 has"),
        (f"alice:r:SHA-512-256:{MD5}", "alice: the HA1 is not 64 hex digits, which SHA-512-256 has"),
        ("alice:r:password:", "alice: the password is empty or has control characters"),
        ("alice:r:password:a\tb", "alice: the password is empty or has control characters"),
        (":r:password:x", "'' is no user; allowed is a name without colon"),
        (" alice:r:password:x", "' alice' is no user"),
        ("al\x7fice:r:password:x", "'al\\x7fice' is no user"),
        ("alice::password:x", "'' is no realm; allowed is a name"),
        ("alice:r :password:x", "'r ' is no realm"),
    ],
)
def test_a_wrong_line_is_told_with_its_number_and_what_is_allowed(tmp_path: Path, line: str, what: str) -> None:
    path = users_file(tmp_path, f"# first\n{line}\n")
    (told,) = mistakes(path)
    assert told.startswith(f"{path}:2: {what}")


def test_all_mistakes_are_told_at_once_and_no_secret_among_them(tmp_path: Path) -> None:
    secret = "swordfish"
    path = users_file(
        tmp_path,
        f"{secret}\na:{REALM}:MD5:{secret}\nb:{REALM}:{secret}:x\n"
        f"c:{REALM}:password:{secret}\x00\nd:{REALM}:password:{secret}\nd:{REALM}:SHA-256:{SHA256}\n",
    )
    told = mistakes(path)
    assert [line.removeprefix(f"{path}:").partition(":")[0] for line in told] == ["1", "2", "3", "4", "6"]
    assert told[-1] == f"{path}:6: d: has SHA-256 in line 5 already; allowed is once"
    assert secret not in "\n".join(told)
    assert SHA256 not in "\n".join(told)


def test_one_name_in_two_realms_is_two_users(tmp_path: Path) -> None:
    path = users_file(tmp_path, f"a:{REALM}:password:x\na:example.com:password:y\n")
    assert load(path, "example.com")[b"a"] == hashes("a", "y", "example.com")


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    assert mistakes(tmp_path / "none") == [f"{tmp_path / 'none'}: cannot be read: No such file or directory"]
    assert mistakes(users_file(tmp_path, b"\xff\xfe")) == [f"{tmp_path / 'users'}: is not UTF-8 text"]


@pytest.mark.parametrize(("mode", "is_exposed"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True)])
def test_a_file_that_others_may_read_is_told(tmp_path: Path, mode: int, is_exposed: bool) -> None:
    path = users_file(tmp_path, "")
    path.chmod(mode)
    line = exposure(path)
    assert (line is not None) == is_exposed
    if line is not None:
        assert line == f"{path}: mode {mode:o} lets others at the passwords; do: chmod 600 {path}"


def test_no_file_is_exposed_to_nobody(tmp_path: Path) -> None:
    assert exposure(tmp_path / "none") is None


def test_who_is_added_to_no_file_is_in_a_new_one_that_only_its_owner_reads(tmp_path: Path) -> None:
    path = tmp_path / "users"
    add(path, "alice", REALM, "open: sesame")
    assert load(path, REALM) == {b"alice": hashes("alice", "open: sesame")}
    assert path.stat().st_mode & 0o777 == 0o600
    assert "sesame" not in path.read_text(encoding="utf-8")
    assert [each.name for each in tmp_path.iterdir()] == ["users"]


def test_adding_replaces_the_users_lines_and_keeps_every_other(tmp_path: Path) -> None:
    kept = f"# alice:{REALM}:MD5:x", f"alicia:{REALM}:MD5:{MD5}", f"alice:example.com:MD5:{MD5}", "broken", ""
    path = users_file(
        tmp_path,
        f"{kept[0]}\nalice:{REALM}:password:old\n{kept[1]}\nalice:{REALM}:MD5:{MD5}\n{kept[2]}\n{kept[3]}\n{kept[4]}\n",
    )
    path.chmod(0o644)
    add(path, "alice", REALM, "new", ["SHA-256"])
    line = f"alice:{REALM}:SHA-256:{hashes('alice', 'new')['SHA-256'].decode()}"
    assert path.read_text(encoding="utf-8") == "\n".join((kept[0], line, *kept[1:], ""))
    assert exposure(path) is None


def test_adding_in_order_asks_each_algorithm_once(tmp_path: Path) -> None:
    path = users_file(tmp_path, "# no newline at the end")
    add(path, "bob", REALM, "x", ["SHA-256", "MD5", "SHA-256"])
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [line.split(":")[:3] for line in lines[1:]] == [["bob", REALM, "SHA-256"], ["bob", REALM, "MD5"]]


@pytest.mark.parametrize(
    ("user", "realm", "password", "algorithms", "what"),
    [
        ("a:b", REALM, "x", ["MD5"], "'a:b' is no user"),
        ("#a", REALM, "x", ["MD5"], "'#a' is no user"),
        ("a\n", REALM, "x", ["MD5"], "is no user"),
        ("a\udc80", REALM, "x", ["MD5"], "is no user"),
        ("a", "", "x", ["MD5"], "'' is no realm"),
        ("a", REALM, "", ["MD5"], "a: the password is empty"),
        ("a", REALM, "x\ny", ["MD5"], "a: the password is empty or has control characters"),
        ("a", REALM, "x\udc80", ["MD5"], "a: the password is empty or has control characters"),
        ("a", REALM, "x", ["SHA-1"], "SHA-1: unknown digest algorithm; known are MD5"),
        ("a", REALM, "x", [], "a: no algorithm is named"),
    ],
)
def test_what_can_not_be_added_leaves_the_file_alone(
    tmp_path: Path, user: str, realm: str, password: str, algorithms: list[str], what: str
) -> None:
    path = tmp_path / "users"
    with pytest.raises(BadUsers) as caught:
        add(path, user, realm, password, algorithms)
    assert what in str(caught.value)
    assert not path.exists()


def test_removing_takes_the_users_lines_of_this_realm_alone(tmp_path: Path) -> None:
    kept = f"# c\nb:{REALM}:MD5:{MD5}\na:example.com:MD5:{MD5}\n"
    path = users_file(tmp_path, f"a:{REALM}:MD5:{MD5}\n{kept}a:{REALM}:password:x\n")
    remove(path, "a", REALM)
    assert path.read_text(encoding="utf-8") == kept
    with pytest.raises(BadUsers, match=r"users: a: is no user of example\.org"):
        remove(path, "a", REALM)


def test_a_link_to_the_file_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "users", tmp_path / "users"
    link.symlink_to(target)
    add(link, "a", REALM, "x")
    add(link, "b", REALM, "x")
    assert link.is_symlink()
    assert sorted(load(target, REALM)) == [b"a", b"b"]


def test_a_file_that_cannot_be_written_is_one_line_and_leaves_no_rubbish(tmp_path: Path) -> None:
    with pytest.raises(BadUsers, match="cannot be written: No such file or directory"):
        add(tmp_path / "none" / "users", "a", REALM, "x")
    folder = tmp_path / "users"
    folder.mkdir()
    with pytest.raises(BadUsers, match="is not a file"):
        add(folder, "a", REALM, "x")
    assert [each.name for each in tmp_path.iterdir()] == ["users"]


def test_a_full_disk_leaves_the_old_file_and_no_rubbish(tmp_path: Path) -> None:
    old = f"a:{REALM}:MD5:{MD5}\n"
    path = users_file(tmp_path, old)
    code = (
        "import resource, sys, pathlib; from proxy.users import add, BadUsers\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8, 8))\n"
        "try: add(pathlib.Path(sys.argv[1]), 'b', 'example.org', 'x')\n"
        "except BadUsers as error: sys.exit(str(error))\n"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=root, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, f"{path}: cannot be written: File too large\n")
    assert path.read_text(encoding="utf-8") == old
    assert [each.name for each in tmp_path.iterdir()] == ["users"]


def test_a_reader_sees_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    """The old file, once open, stays what it was: the new one is another file that took its name."""
    path = users_file(tmp_path, f"a:{REALM}:MD5:{MD5}\n")
    with path.open(encoding="utf-8") as before:
        add(path, "b", REALM, "x")
        assert before.read() == f"a:{REALM}:MD5:{MD5}\n"
    assert sorted(load(path, REALM)) == [b"a", b"b"]
