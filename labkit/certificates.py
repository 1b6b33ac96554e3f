"""A throw-away CA, a server, a client, a phone that listens: what TLS in the lab needs, made by the `openssl` command.

The CA's key is gone as soon as it has signed them, so nobody who trusts this CA trusts anything else.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import secrets
import shutil
import ssl
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from labkit import engine
from labkit.outcome import Mistake
from labkit.settings import ROOT, Settings

NAME = "proxy.lab"
DAYS = 90
REMAKE_S = 7 * 24 * 3600  # this long before the end
FILES = ("ca.pem", "server.pem", "server.key", "client.pem", "client.key")

# RFC 5280 §4.2: what `openssl verify -x509_strict` and ssl.VERIFY_X509_STRICT insist on.
_CONFIG = """
[req]
distinguished_name = nobody
prompt = no
[nobody]
CN = nobody
[ca]
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
subjectAltName = {server}
[phone]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth, clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
subjectAltName = {phone}
[client]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
"""


def provide(lab: Settings) -> None:
    """Make sure that the lab's proxy has a certificate for its address, and tell compose. Raises Mistake."""
    require_openssl()
    folder = _folder(lab)
    ensure(folder, [NAME], [lab.values["PROXY_IP"]], lab.values["BOB_IP"])  # whom the proxy can connect to
    for key in folder.glob("*.key"):  # throw-away keys, which the containers' unprivileged users have to read
        key.chmod(0o644)
    lab.values["LAB_TLS"] = str(folder)


def forget(lab: Settings) -> None:
    """Remove the lab's certificates and keys."""
    shutil.rmtree(_folder(lab), ignore_errors=True)


def _folder(lab: Settings) -> Path:
    return ROOT / ".cache" / "tls" / lab.project


def require_openssl() -> None:
    """Install the `openssl` command where it is missing. Raises Mistake where that cannot be done from here."""
    if shutil.which("openssl") is None:
        engine.install_package("openssl", "TLS needs the `openssl` command, and this machine has none")


def ensure(folder: Path, names: Sequence[str], addresses: Sequence[str], phone: str = "") -> None:
    """Make sure that the folder holds FILES for a server of these names and IP addresses, good for REMAKE_S at least.

    And phone.pem and phone.key for the IP address `phone`, where one is given. EC keys on P-256, DAYS days. Raises
    Mistake where there is no `openssl`, or it fails.
    """
    if shutil.which("openssl") is None:
        raise Mistake("TLS needs the `openssl` command, and this machine has none: install the package openssl")
    folder.mkdir(parents=True, exist_ok=True)
    named = {"server": _entries(names, addresses), "client": []}
    if phone:
        named["phone"] = _entries([], [phone])
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two labs may start at once
        if not _is_good(folder, named):
            _make(folder, named)
    finally:
        os.close(lock)


def _is_good(folder: Path, named: Mapping[str, Sequence[str]]) -> bool:
    try:
        for who in named:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(folder / f"{who}.pem", folder / f"{who}.key")
    except OSError:  # ssl.SSLError is one
        return False
    certificates = [str(folder / f"{who}.pem") for who in ("ca", *named)]
    lasting = ["-attime", str(int(time.time()) + REMAKE_S)]
    signed = ["verify", "-x509_strict", *lasting, "-CAfile", *certificates]
    with ThreadPoolExecutor() as pool:  # each is a program that takes its time to start
        verified = pool.submit(_openssl, *signed, cwd=folder)
        found = {who: pool.submit(_names_in, folder, who) for who, wanted in named.items() if wanted}
    return verified.result().returncode == 0 and all(set(named[who]) == names.result() for who, names in found.items())


def _names_in(folder: Path, who: str) -> set[str]:
    shown = _openssl("x509", "-noout", "-ext", "subjectAltName", "-in", f"{who}.pem", cwd=folder).stdout
    return {_written(entry.strip()) for entry in shown.partition("\n")[2].split(",")}


def _make(folder: Path, named: Mapping[str, Sequence[str]]) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        cwd = Path(scratch)
        alternatives = {who: ", ".join(entries) for who, entries in named.items()}
        (cwd / "config").write_text(_CONFIG.format_map({"phone": "", **alternatives}))
        for who in ("ca", *named):
            _must("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{who}.key", cwd=cwd)
            subject = ["-new", "-key", f"{who}.key", "-subj", f"/O=SIP NAT lab/CN={who}", "-config", "config"]
            lasting = ["-sha256", "-days", str(DAYS), "-set_serial", f"0x{secrets.token_hex(8)}"]
            if who == "ca":
                _must("req", "-x509", *subject, *lasting, "-extensions", "ca", "-out", "ca.pem", cwd=cwd)
                continue
            _must("req", *subject, "-out", f"{who}.csr", cwd=cwd)
            _must(
                "x509", "-req", "-in", f"{who}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", *lasting,
                "-extfile", "config", "-extensions", who, "-out", f"{who}.pem", cwd=cwd,
            )  # fmt: skip
        (cwd / "ca.pem").replace(folder / "ca.pem")  # first: stopped half-way, it has not signed the old ones
        for who in named:
            for name in (f"{who}.pem", f"{who}.key"):
                (cwd / name).replace(folder / name)


def _entries(names: Sequence[str], addresses: Sequence[str]) -> list[str]:
    """Return subjectAltName's entries, as the configuration has them."""
    return [*(f"DNS:{name}" for name in names), *(f"IP:{ipaddress.ip_address(address)}" for address in addresses)]


def _written(shown: str) -> str:
    """Return an entry that `openssl x509 -ext` shows as the configuration has it; IPv6 is shown in upper case."""
    kind, _, value = shown.partition(":")
    return f"IP:{ipaddress.ip_address(value)}" if kind == "IP Address" else shown


def _must(*arguments: str, cwd: Path) -> None:
    done = _openssl(*arguments, cwd=cwd)
    if done.returncode != 0:
        raise Mistake(f"openssl {arguments[0]} failed: {' '.join(done.stderr.split())[-300:]}")


def _openssl(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["openssl", *arguments], cwd=cwd, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
