"""TLS contexts (RFC 3261 §26.3.1, RFC 5922): what we show, whom we trust, and one clear line when a file is no good.

A certificate is tried in a handshake with itself before it is used: what has expired is found at the start or at the
reload, not by the first peer.
"""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Mapping
from pathlib import Path

Pair = tuple[Path, Path]  # certificate chain and private key, PEM

CLIENTS = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


class BadTls(Exception):
    """One line: which file, and what is wrong with it."""


def server_context(
    certificate: Path, key: Path, ca: Path | None, client: str, names: Mapping[str, Pair]
) -> ssl.SSLContext:
    """Return a context for accepting connections. Raises BadTls.

    `client` says whether peers show a certificate ("none", "optional", "required") that `ca` has signed; `names` are
    the pairs for other names than the certificate's (SNI, RFC 6066 §3).
    """
    if client not in CLIENTS:
        raise BadTls(f"{client}: clients' certificates are one of {', '.join(CLIENTS)}")
    if ca is None and client != "none":
        raise BadTls("clients' certificates are wanted, but no file of CA certificates is named")
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = CLIENTS[client]
    context.options |= ssl.OP_NO_RENEGOTIATION  # a peer could make us do the costly half again and again
    reload(context, certificate, key, ca, names)
    return context


def client_context(ca: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext:
    """Return a context for opening connections; with a certificate we show it to who asks. Raises BadTls.

    Peers must name the host in subjectAltName and be signed by `ca`, or by whom the system trusts where it is None.
    """
    # Deviates from RFC 5922 §7: wildcards match and sip URIs in subjectAltName are not read, because OpenSSL compares.
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.hostname_checks_common_name = False  # §7.1 allows that; no public CA relies on it any more
    if ca is None:
        with contextlib.suppress(FileNotFoundError):  # PyPy's, where this system trusts nobody
            context.load_default_certs()
    reload(context, certificate, key, ca, {})
    return context


def reload(
    context: ssl.SSLContext, certificate: Path | None, key: Path | None, ca: Path | None, names: Mapping[str, Pair]
) -> None:
    """Put what the files hold now into a live context, for the connections to come. Raises BadTls: nothing changed.

    A CA that is no longer in its file stays trusted until the next start.
    """
    is_server = context.protocol == ssl.PROTOCOL_TLS_SERVER
    others = {}
    for name, pair in names.items():
        _try(*pair, is_server)
        others[name.lower()] = other = _context(context.protocol)
        other.verify_mode = context.verify_mode
        _load(other, *pair, ca)
    if certificate is not None and key is not None:
        _try(certificate, key, is_server)
    if ca is not None:
        _trust(ssl.SSLContext(context.protocol), ca)
    _load(context, certificate, key, ca)

    def choose(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
        other = others.get((name or "").lower())
        if other is not None:
            connection.context = other

    if is_server:
        context.sni_callback = choose


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    path = os.environ.get("SSLKEYLOGFILE")
    if path:
        try:
            context.keylog_filename = path
        except OSError as error:
            raise BadTls(f"SSLKEYLOGFILE={path}: {os.strerror(error.errno or 0)}") from None
    return context


def _try(certificate: Path, key: Path, is_server: bool) -> None:
    """Shake hands with ourselves: the pair must fit, be valid now, and serve its purpose. Raises BadTls."""
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    judge = client if is_server else server
    judge.verify_mode = ssl.CERT_REQUIRED
    judge.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # who signed it is the peers' affair
    _trust(judge, certificate)
    for context in (server, client):
        _load(context, certificate, key, None)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (client.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True))
    try:
        for side in sides * 4:  # more turns than any version takes
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    except ssl.SSLCertVerificationError as error:
        raise BadTls(f"{certificate}: {error.verify_message}") from None


def _load(context: ssl.SSLContext, certificate: Path | None, key: Path | None, ca: Path | None) -> None:
    if certificate is not None and key is not None:
        for path in (certificate, key):
            _read(path)
        try:
            context.load_cert_chain(certificate, key, password=lambda: b"")  # else it prompts, and nobody is there
        except ssl.SSLError as error:
            if error.reason in {"KEY_VALUES_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}:
                raise BadTls(f"{key}: not the key of {certificate}") from None
            if error.reason == "EE_KEY_TOO_SMALL":
                raise BadTls(f"{certificate}: its key is too small") from None
            raise BadTls(f"{key}: not a private key in PEM without a passphrase") from None
    if ca is not None:
        _trust(context, ca)


def _trust(context: ssl.SSLContext, path: Path) -> None:
    _read(path)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError:
        raise BadTls(f"{path}: not a file of certificates in PEM") from None


def _read(path: Path) -> None:
    try:
        path.read_bytes()
    except OSError as error:
        raise BadTls(f"{path}: {error.strerror}") from None
