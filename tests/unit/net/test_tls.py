"""TLS contexts: who is shown, who is trusted, and what is said of files that are no good."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from labkit import certificates
from proxy.net import tls
from proxy.net.tls import BadTls

_CA = """
[ca]
default_ca = own
[own]
database = index
serial = serial
new_certs_dir = .
default_md = sha256
policy = any
[any]
commonName = supplied
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    certificates.ensure(folder, ["proxy.example.com"], ["127.0.0.1"])
    return folder


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of another CA, for another name."""
    folder = tmp_path_factory.mktemp("other")
    certificates.ensure(folder, ["other.example.com"], [])
    return folder


@pytest.fixture
def files(made: Path, tmp_path: Path) -> Path:
    """Files that may be spoilt."""
    return shutil.copytree(made, tmp_path / "files")


def server(files: Path, client: str = "none", names: dict[str, tuple[Path, Path]] | None = None) -> ssl.SSLContext:
    return tls.server_context(files / "server.pem", files / "server.key", files / "ca.pem", client, names or {})


def pair(folder: Path, who: str = "server") -> tuple[Path, Path]:
    return folder / f"{who}.pem", folder / f"{who}.key"


def shake_hands(
    client: ssl.SSLContext, server: ssl.SSLContext, name: str | None
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Return (client, server) after a handshake. Raises ssl.SSLError."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    caller = client.wrap_bio(back, there, server_hostname=name)
    callee = server.wrap_bio(there, back, server_side=True)
    waiting = 0
    for side in (caller, callee) * 4:
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            waiting += 1
    assert waiting < 8
    return caller, callee


def shown(context: ssl.SSLContext, ca: Path, name: str) -> str:
    """Return the first name in the certificate that the server shows to who asks for this one."""
    caller, _ = shake_hands(tls.client_context(ca, None, None), context, name)
    certificate = caller.getpeercert()
    assert certificate is not None
    return str(certificate["subjectAltName"][0][1])


@pytest.mark.parametrize("name", ["proxy.example.com", "127.0.0.1"])
def test_a_server_is_believed_by_its_names_and_addresses(made: Path, name: str) -> None:
    caller, _ = shake_hands(tls.client_context(made / "ca.pem", None, None), server(made), name)
    assert caller.version() == "TLSv1.3"


@pytest.mark.parametrize("name", ["other.example.com", "127.0.0.2", "example.com"])
def test_a_server_is_not_believed_by_another_name(made: Path, name: str) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(tls.client_context(made / "ca.pem", None, None), server(made), name)


def test_a_name_in_the_subject_alone_is_not_believed(files: Path) -> None:
    openssl("req", "-x509", "-key", "server.key", "-subj", "/CN=proxy.example.com", "-out", "server.pem", cwd=files)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(tls.client_context(files / "server.pem", None, None), server(files), "proxy.example.com")


def test_a_server_of_a_strange_ca_is_not_believed(made: Path, other: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(tls.client_context(other / "ca.pem", None, None), server(made), "127.0.0.1")


def test_without_a_ca_the_system_says_who_is_trusted(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(made / "ca.pem"))
    shake_hands(tls.client_context(None, None, None), server(made), "127.0.0.1")


def test_a_system_that_trusts_nobody_is_no_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(context: ssl.SSLContext) -> None:
        raise FileNotFoundError  # as PyPy does

    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", load)
    assert tls.client_context(None, None, None).verify_mode is ssl.CERT_REQUIRED


def test_nothing_older_than_tls_1_2_is_spoken(made: Path) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(made / "ca.pem")
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        shake_hands(old, server(made), "127.0.0.1")


@pytest.mark.parametrize(("client", "is_known"), [("none", False), ("optional", True), ("required", True)])
def test_a_client_with_a_certificate_is_known_where_it_is_asked_for(made: Path, client: str, is_known: bool) -> None:
    context = tls.client_context(made / "ca.pem", *pair(made, "client"))
    _, callee = shake_hands(context, server(made, client), "127.0.0.1")
    assert bool(callee.getpeercert()) == is_known


def test_a_client_without_a_certificate_is_refused_only_where_it_is_required(made: Path) -> None:
    nobody = tls.client_context(made / "ca.pem", None, None)
    shake_hands(nobody, server(made, "optional"), "127.0.0.1")
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        shake_hands(nobody, server(made, "required"), "127.0.0.1")


@pytest.mark.parametrize("client", ["optional", "required"])
def test_a_client_of_a_strange_ca_is_refused(made: Path, other: Path, client: str) -> None:
    stranger = tls.client_context(made / "ca.pem", *pair(other, "client"))
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(stranger, server(made, client), "127.0.0.1")


def test_the_name_asked_for_picks_the_certificate(made: Path, other: Path) -> None:
    context = server(made, names={"Other.Example.com": pair(other)})
    assert shown(context, other / "ca.pem", "other.example.com") == "other.example.com"
    assert shown(context, other / "ca.pem", "OTHER.example.com") == "other.example.com"
    assert shown(context, made / "ca.pem", "proxy.example.com") == "proxy.example.com"
    assert shown(context, made / "ca.pem", "127.0.0.1") == "proxy.example.com"


def test_the_certificate_picked_by_name_asks_no_less_of_clients(made: Path, other: Path) -> None:
    context = server(made, "required", {"other.example.com": pair(other)})
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        shake_hands(tls.client_context(other / "ca.pem", None, None), context, "other.example.com")
    known = tls.client_context(other / "ca.pem", *pair(made, "client"))
    assert shake_hands(known, context, "other.example.com")[1].getpeercert()


def test_reload_shows_what_the_files_hold_now(files: Path, other: Path) -> None:
    context = server(files)
    for who in ("server.pem", "server.key"):
        shutil.copy(other / who, files)
    assert shown(context, files / "ca.pem", "127.0.0.1") == "proxy.example.com"
    tls.reload(context, *pair(files), None, {})
    assert shown(context, other / "ca.pem", "other.example.com") == "other.example.com"


def test_reload_replaces_the_names(made: Path, other: Path) -> None:
    context = server(made)
    tls.reload(context, *pair(made), None, {"other.example.com": pair(other)})
    assert shown(context, other / "ca.pem", "other.example.com") == "other.example.com"
    tls.reload(context, *pair(made), None, {})
    with pytest.raises(ssl.SSLCertVerificationError):
        shown(context, other / "ca.pem", "other.example.com")


def test_reload_of_a_client_trusts_the_new_ca(made: Path, other: Path) -> None:
    context = tls.client_context(other / "ca.pem", None, None)
    tls.reload(context, None, None, made / "ca.pem", {})
    shake_hands(context, server(made), "127.0.0.1")


@pytest.mark.parametrize("spoilt", ["server.pem", "server.key", "ca.pem"])
def test_a_reload_that_fails_changes_nothing(files: Path, other: Path, spoilt: str) -> None:
    context = server(files)
    for who in ("server.pem", "server.key", "ca.pem"):
        shutil.copy(other / who, files)
    (files / spoilt).write_text("rubbish")
    with pytest.raises(BadTls, match=spoilt):
        tls.reload(context, *pair(files), files / "ca.pem", {})
    shutil.copy(other / "ca.pem", files)
    with pytest.raises(ssl.SSLCertVerificationError):
        shown(context, files / "ca.pem", "other.example.com")


def test_secrets_are_logged_where_the_environment_says(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    shake_hands(tls.client_context(made / "ca.pem", None, None), server(made), "127.0.0.1")
    lines = (tmp_path / "keys").read_text().splitlines()
    assert sum(line.startswith("SERVER_TRAFFIC_SECRET_0 ") for line in lines) == 2  # each side's


def test_a_log_of_secrets_that_cannot_be_written_is_named(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", "/nowhere/keys")
    with pytest.raises(BadTls, match=r"^SSLKEYLOGFILE=/nowhere/keys: No such file or directory$"):
        server(made)


# Files that are no good


def complaint(files: Path, client: str = "none") -> str:
    with pytest.raises(BadTls) as caught:
        server(files, client)
    assert caught.value.__cause__ is None
    return str(caught.value).replace(str(files), "...")


@pytest.mark.parametrize("name", ["server.pem", "server.key", "ca.pem"])
def test_a_file_that_is_missing_is_named(files: Path, name: str) -> None:
    (files / name).unlink()
    assert complaint(files) == f".../{name}: No such file or directory"


@pytest.mark.parametrize("name", ["server.pem", "server.key", "ca.pem"])
def test_a_folder_is_no_file(files: Path, name: str) -> None:
    (files / name).unlink()
    (files / name).mkdir()
    assert complaint(files) == f".../{name}: Is a directory"


@pytest.mark.parametrize("rubbish", ["", "rubbish", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"])
@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("server.pem", "not a file of certificates in PEM"),
        ("server.key", "not a private key in PEM without a passphrase"),
        ("ca.pem", "not a file of certificates in PEM"),
    ],
)
def test_a_file_that_is_rubbish_is_named(files: Path, name: str, what: str, rubbish: str) -> None:
    (files / name).write_text(rubbish)
    assert complaint(files) == f".../{name}: {what}"


def test_a_key_with_a_passphrase_is_named_and_nobody_is_asked(files: Path) -> None:
    openssl("pkey", "-in", "client.key", "-aes128", "-passout", "pass:secret", "-out", "server.key", cwd=files)
    assert complaint(files) == ".../server.key: not a private key in PEM without a passphrase"


def test_the_key_of_another_certificate_is_named(files: Path) -> None:
    shutil.copy(files / "client.key", files / "server.key")
    assert complaint(files) == ".../server.key: not the key of .../server.pem"


def test_the_key_of_another_kind_is_named(files: Path) -> None:
    openssl("genpkey", "-algorithm", "RSA", "-out", "server.key", cwd=files)
    assert complaint(files) == ".../server.key: not the key of .../server.pem"


@pytest.mark.parametrize(
    ("begin", "end", "what"),
    [("20200101000000Z", "20200102000000Z", "has expired"), ("20480101000000Z", "20490101000000Z", "is not yet valid")],
)
def test_a_certificate_that_is_not_valid_now_is_named(files: Path, begin: str, end: str, what: str) -> None:
    (files / "config").write_text(_CA)
    (files / "index").touch()
    (files / "serial").write_text("01\n")
    openssl("req", "-new", "-key", "server.key", "-subj", "/CN=proxy", "-out", "csr", cwd=files)
    openssl(
        "ca", "-batch", "-selfsign", "-config", "config", "-keyfile", "server.key", "-in", "csr",
        "-startdate", begin, "-enddate", end, "-out", "server.pem", "-notext", cwd=files,
    )  # fmt: skip
    assert complaint(files) == f".../server.pem: certificate {what}"


def test_a_certificate_for_clients_alone_is_no_servers(files: Path) -> None:
    for kind in ("pem", "key"):
        shutil.copy(files / f"client.{kind}", files / f"server.{kind}")
    assert complaint(files).startswith(".../server.pem: ")


def test_a_key_that_is_too_small_is_named(files: Path) -> None:
    openssl(
        "req", "-x509", "-newkey", "rsa:1024", "-nodes", "-subj", "/CN=proxy", "-keyout", "server.key",
        "-out", "server.pem", cwd=files,
    )  # fmt: skip
    assert complaint(files) == ".../server.pem: its key is too small"


def test_the_pairs_of_other_names_are_tried_as_well(made: Path) -> None:
    with pytest.raises(BadTls, match=r"client\.pem: "):
        server(made, names={"other.example.com": pair(made, "client")})


def test_a_clients_own_certificate_is_tried(files: Path) -> None:
    (files / "client.key").write_text("rubbish")
    with pytest.raises(BadTls, match=r"client\.key: not a private key"):
        tls.client_context(files / "ca.pem", *pair(files, "client"))


def test_who_asks_for_certificates_must_say_whose(made: Path) -> None:
    with pytest.raises(BadTls, match="no file of CA certificates"):
        tls.server_context(*pair(made), None, "required", {})
    with pytest.raises(BadTls, match="none, optional, required"):
        server(made, "perhaps")


def openssl(*arguments: str, cwd: Path) -> None:
    done = subprocess.run(["openssl", *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
