"""The lab's certificates: strict verifiers accept them, and they are made again only when they have to be."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from labkit import certificates
from labkit.outcome import Mistake
from labkit.settings import Settings

NAMES = ["proxy.example.com", "example.com"]
ADDRESSES = ["198.51.100.10", "fd00::10"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "tls"
    certificates.ensure(folder, NAMES, ADDRESSES)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A folder of certificates that may be spoilt."""
    return shutil.copytree(made, tmp_path / "tls")


def openssl(*arguments: str, cwd: Path) -> str:
    return subprocess.run(["openssl", *arguments], cwd=cwd, capture_output=True, text=True, check=True).stdout


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def shake_hands(folder: Path, name: str, ca: str = "ca.pem") -> None:
    """Let both sides check each other strictly. Raises ssl.SSLError."""
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for context, who in ((server, "server"), (client, "client")):
        context.load_cert_chain(folder / f"{who}.pem", folder / f"{who}.key")
        context.load_verify_locations(folder / ca)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.verify_mode = ssl.CERT_REQUIRED
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    caller = client.wrap_bio(back, there, server_hostname=name)
    callee = server.wrap_bio(there, back, server_side=True)
    waiting = 0
    for side in (caller, callee) * 3:
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            waiting += 1
    assert waiting < 6
    assert callee.getpeercert()


@pytest.mark.parametrize("name", [*NAMES, *ADDRESSES])
def test_both_sides_accept_each_other_under_strict_rules(made: Path, name: str) -> None:
    shake_hands(made, name)


@pytest.mark.parametrize("name", ["other.example.com", "198.51.100.11"])
def test_no_other_name_is_accepted(made: Path, name: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(made, name)


@pytest.mark.parametrize(("who", "purpose"), [("server", "sslserver"), ("client", "sslclient")])
def test_openssl_verifies_them_strictly(made: Path, who: str, purpose: str) -> None:
    said = openssl("verify", "-x509_strict", "-purpose", purpose, "-CAfile", "ca.pem", f"{who}.pem", cwd=made)
    assert said == f"{who}.pem: OK\n"


def test_a_client_is_no_server(made: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        openssl("verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", "ca.pem", "client.pem", cwd=made)


def test_the_key_of_the_ca_is_not_kept_and_no_other_can_be_read_by_strangers(made: Path) -> None:
    assert sorted(path.name for path in made.iterdir()) == sorted(certificates.FILES)
    assert [path.name for path in made.glob("*.key") if path.stat().st_mode & 0o077] == []


def test_what_is_good_is_kept(folder: Path) -> None:
    before = contents(folder)
    certificates.ensure(folder, NAMES[::-1], ADDRESSES)
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("names", "addresses"), [(NAMES[:1], ADDRESSES), (NAMES, ADDRESSES[1:]), ([*NAMES, "a.example.com"], ADDRESSES)]
)
def test_other_names_mean_other_certificates(folder: Path, names: list[str], addresses: list[str]) -> None:
    before = contents(folder)
    certificates.ensure(folder, names, addresses)
    after = contents(folder)
    assert [name for name in before if before[name] == after[name]] == []
    shake_hands(folder, addresses[0])


@pytest.mark.parametrize("name", certificates.FILES)
def test_a_file_that_is_gone_is_made_again(folder: Path, name: str) -> None:
    (folder / name).unlink()
    certificates.ensure(folder, NAMES, ADDRESSES)
    shake_hands(folder, NAMES[0])


@pytest.mark.parametrize("name", certificates.FILES)
def test_a_file_that_is_rubbish_is_made_again(folder: Path, name: str) -> None:
    (folder / name).write_text("rubbish")
    certificates.ensure(folder, NAMES, ADDRESSES)
    shake_hands(folder, NAMES[0])


def test_a_key_that_belongs_to_another_certificate_is_made_again(folder: Path) -> None:
    shutil.copy(folder / "client.key", folder / "server.key")
    certificates.ensure(folder, NAMES, ADDRESSES)
    shake_hands(folder, NAMES[0])


def test_making_that_stopped_after_the_ca_is_done_again(folder: Path, tmp_path: Path) -> None:
    certificates.ensure(tmp_path / "other", NAMES, ADDRESSES)
    shutil.copy(tmp_path / "other" / "ca.pem", folder)
    certificates.ensure(folder, NAMES, ADDRESSES)
    shake_hands(folder, NAMES[0])


def test_what_ends_within_a_week_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as short:
        short.setattr(certificates, "DAYS", 6)
        certificates.ensure(tmp_path, NAMES, ADDRESSES)
    before = contents(tmp_path)
    certificates.ensure(tmp_path, NAMES, ADDRESSES)
    assert contents(tmp_path)["server.pem"] != before["server.pem"]
    openssl("x509", "-noout", "-checkend", str(89 * 24 * 3600), "-in", "server.pem", cwd=tmp_path)


def test_a_phone_that_listens_has_a_certificate_for_its_address(folder: Path) -> None:
    certificates.ensure(folder, NAMES, ADDRESSES, "198.51.100.200")
    openssl("verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", "ca.pem", "phone.pem", cwd=folder)
    assert "198.51.100.200" in openssl("x509", "-noout", "-ext", "subjectAltName", "-in", "phone.pem", cwd=folder)
    before = contents(folder)
    certificates.ensure(folder, NAMES, ADDRESSES, "198.51.100.200")
    assert contents(folder) == before
    certificates.ensure(folder, NAMES, ADDRESSES, "198.51.100.201")
    assert contents(folder)["phone.pem"] != before["phone.pem"]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a lab in a checkout of its own."""
    monkeypatch.setattr(certificates, "ROOT", tmp_path)
    values = {"LAB_PROJECT": "mine", "PROXY_IP": "198.51.100.10", "BOB_IP": "198.51.100.200"}
    return Settings(values, [])


def test_a_lab_has_certificates_of_its_own_and_down_forgets_them(lab: Settings, tmp_path: Path) -> None:
    certificates.provide(lab)
    folder = Path(lab.values["LAB_TLS"])
    assert folder == tmp_path / ".cache" / "tls" / "mine"
    for name in (certificates.NAME, "198.51.100.10"):
        shake_hands(folder, name)
    certificates.forget(lab)
    assert not folder.exists()
    certificates.forget(lab)


def test_the_containers_unprivileged_users_can_read_a_labs_keys(lab: Settings) -> None:
    certificates.provide(lab)
    keys = list(Path(lab.values["LAB_TLS"]).glob("*.key"))
    assert sorted(key.name for key in keys) == ["client.key", "phone.key", "server.key"]
    assert all(key.stat().st_mode & 0o004 for key in keys)


def test_who_may_not_install_openssl_is_told_to(
    lab: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(Mistake, match=r"this machine has none: install the package openssl \(run this as root"):
        certificates.provide(lab)


def test_without_openssl_the_user_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Mistake, match="install the package openssl"):
        certificates.ensure(tmp_path / "tls", NAMES, ADDRESSES)


def test_what_openssl_refuses_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match=r"^openssl x509 failed: .+") as caught:
        certificates.ensure(tmp_path, [], [])
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
