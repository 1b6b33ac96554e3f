"""What the settings say, built: the engine of plain values, the shell around it, and every socket."""

from __future__ import annotations

import asyncio
import ipaddress
import resource
import secrets
import socket
import ssl
import time
from collections.abc import Sequence
from pathlib import Path

from proxy import users
from proxy.config import Settings
from proxy.core.admission import Admission, Allowance
from proxy.core.auth import Authenticator
from proxy.core.effects import Effect
from proxy.core.engine import Engine, Policy
from proxy.core.listeners import Listener, Listeners
from proxy.core.location import Location
from proxy.core.registrar import Terms
from proxy.core.remedies import NAMES, Remedies
from proxy.core.route import MappedUser, Router
from proxy.core.signer import Signer
from proxy.core.transaction import Times
from proxy.log import Log
from proxy.net import tls
from proxy.net.hep import Mirror
from proxy.net.http import Http
from proxy.net.key import load_key
from proxy.net.mesh import Mesh
from proxy.net.relay import Relay
from proxy.net.resolver import Resolver, system_servers
from proxy.net.rtp import can_bind
from proxy.net.shell import Shell
from proxy.net.store import Store
from proxy.net.stream import Limits, Streams
from proxy.net.team import Team, TeamJournal
from proxy.net.udp import UdpSocket

KEY_BYTES = 32
MAX_HEAD = 16_384  # bytes of a message on a connection up to its blank line


class CannotServe(Exception):
    """One line: what is wrong, and what to do."""


def keep_state(settings: Settings, log: Log) -> tuple[bytes, Store | None]:
    """Return the key, and the journal if there is to be one. Raises CannotServe or KeyFileError."""
    if not settings.state:
        return secrets.token_bytes(KEY_BYTES), None
    folder = Path(settings.state)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        why = f"cannot be made: {error.strerror}"
        raise CannotServe(f"SIP_PROXY_STATE={folder}: {why}; name a folder that this user can write to") from None
    return load_key(folder / "key"), Store(journal(settings), settings.flush, log.line)


def build_shell(settings: Settings, log: Log, key: bytes, own: Store | None, mesh: Mesh | None) -> Shell:
    """Return the shell with all that it needs but the sockets for SIP and HTTP: for these, `listen`.

    `own` is the journal that this process writes; of several workers, `mesh` is what connects them. Raises CannotServe
    or BadUsers.
    """
    number, count = place(mesh)
    sink: list[Effect] = []
    location = Location(sink, number + 1, count)
    pairs = _media_ports(settings, log, number, count)
    engine = build_engine(settings, key, location, sink, pairs, is_first=number == 0)
    servers = [_server(each) for each in settings.dns] or system_servers()
    transports = (*settings.transports, *(["tls"] if settings.tls_certificate else []))
    families = tuple(sorted({ipaddress.ip_address(ip).version for ip in settings.ip}))
    resolver = Resolver(servers, time.monotonic, transports, families)
    durable_first = settings.flush == 0
    if mesh is None:
        shell = Shell(engine, log, resolver, own, durable_first)
    else:
        told = TeamJournal(mesh, location, own, is_kept=bool(settings.state))
        shell = Shell(engine, log, resolver, told, durable_first)
        shell.team = Team(mesh, shell, location, told)
    if engine.media is not None:
        shell.relay = Relay(
            asyncio.get_running_loop(), settings.bound_ip, settings.relay_timeout, shell.media_silent, log.event,
            log.strange,
        )  # fmt: skip
    if settings.hep:
        try:
            shell.mirror = Mirror(settings.collector)
        except OSError as error:
            raise CannotServe(f"SIP_PROXY_HEP={settings.hep}: no way there: {error.strerror}; name another") from None
    return shell


def place(mesh: Mesh | None) -> tuple[int, int]:
    """Return which worker this is, from 0, and of how many."""
    return (0, 1) if mesh is None else (mesh.number, mesh.count)


def build_engine(
    settings: Settings, key: bytes, location: Location, sink: list[Effect], pairs: Sequence[int] | None = None,
    is_first: bool = True,
) -> Engine:  # fmt: skip
    """Return an engine for these settings: plain values go in, the core never sees the settings. Raises BadUsers.

    `pairs`: the even media ports that can be used, when not all of the settings can. Of several workers the first keeps
    registered phones alive.
    """
    remedies = Remedies(**{name: name not in settings.without for name in NAMES})
    mapping = {name: MappedUser(**given) for name, given in settings.ua_mapping.items()}
    listeners = Listeners(
        Listener(transport, (settings.public_ip(ip), port)) for ip in settings.ip for transport, port in ports(settings)
    )
    signer = Signer(key)
    router = Router(listeners, settings.domains, mapping, location, remedies, signer)
    authenticator = None
    if settings.users:
        table = users.load(Path(settings.users), settings.auth_realm)
        authenticator = Authenticator(settings.auth_realm.encode(), table, settings.algorithms, signer)
    networks = [ipaddress.ip_network(each) for each in settings.allow]
    policy = Policy(
        remedies,
        Times(settings.t1, settings.t2, settings.t4, settings.timer_c),
        Terms(settings.expires_min, settings.expires_default, settings.expires_max,
              service_routes=[each.encode() for each in settings.service_route]),
        settings.max_transactions,
        settings.keepalive if is_first else 0,
        settings.keepalive_misses,
        lambda host: any(ipaddress.ip_address(host) in network for network in networks),
    )  # fmt: skip
    rate = float(settings.refused_rate)
    admission = Admission(Allowance(settings.failures, 10 * settings.failures, 300, rate, 20 * rate))
    relay = None if settings.relay == "off" else (settings.relay, settings.relay_pairs if pairs is None else pairs)
    return Engine(listeners, router, location, sink, signer, policy, authenticator, admission, relay)


def _media_ports(settings: Settings, log: Log, number: int, count: int) -> list[int]:
    """Return the even ports that are free, with the odd ones above them, on all our addresses. Raises CannotServe.

    Of several workers each has its own.
    """
    if settings.relay == "off" or "relay" in settings.without:
        return []
    _allow_many_sockets()
    pairs = settings.relay_pairs[number::count]
    free = [port for port in pairs if all(can_bind((ip, port + each)) for ip in settings.ip for each in (0, 1))]
    if len(free) < len(pairs):
        taken = len(pairs) - len(free)
        log.line(f"SIP proxy leaves out {taken} pairs of ports of SIP_PROXY_RELAY_PORTS: somebody else uses them")
    if len(free) < 2:
        raise CannotServe(f"SIP_PROXY_RELAY_PORTS={settings.relay_ports}: no port is free; name others")
    return free


def _allow_many_sockets() -> None:
    """A call with sound has eight sockets; the limit that programs begin with is for those that use select()."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _server(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition("#")
    return (host, int(port)) if host else (text, 53)


def check_ports(settings: Settings) -> None:
    """See that our ports are nobody's; workers share them, and would share them with him. Raises CannotServe."""
    for ip in settings.ip:
        for transport, port in ports(settings):
            kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
            with socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, kind) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, transport != "udp")
                if ":" in ip:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                try:
                    probe.bind((ip, port))
                except OSError as error:
                    raise _cannot_listen(ip, port, transport, error) from None


def _cannot_listen(ip: str, port: int, transport: str, error: OSError) -> CannotServe:
    return CannotServe(
        f"cannot listen on {ip}:{port} ({transport}): {error.strerror}; "
        "set SIP_PROXY_IP to an address of this machine, SIP_PROXY_PORT to a free port"
    )


async def listen(settings: Settings, shell: Shell, mesh: Mesh | None) -> list[str]:
    """Open every socket; return the lines that say so. Raises CannotServe or BadTls."""
    number, count = place(mesh)
    limits = Limits(
        max_connections=settings.max_connections, max_per_source=settings.max_connections_per_source,
        idle_s=settings.idle, max_message=settings.max_message, max_head=min(settings.max_message, MAX_HEAD),
        message_s=settings.message_time, first_message_s=settings.message_time,
        numbers=(number + 1, count), is_shared=count > 1,
    )  # fmt: skip
    streams = Streams(shell.receive_from_stream, shell.failed, shell.closed, limits, shell.count)
    if shell.team is not None:
        streams.opened = shell.team.opened
    context = _tls(settings, streams)
    lines = []
    for ip in settings.ip:
        for transport, port in ports(settings):
            local = (settings.public_ip(ip), port)
            try:
                if transport == "udp":
                    shell.add_udp(UdpSocket((ip, port), is_shared=count > 1), local)
                else:
                    await streams.listen(transport, (ip, port), local, context if transport == "tls" else None)
            except OSError as error:
                raise _cannot_listen(ip, port, transport, error) from None
            lines.append(f"SIP proxy listening on {ip}:{port} ({transport})")
    shell.streams = streams
    if settings.http_port and number == 0:
        shell.http = Http(shell.pages())
        try:
            await shell.http.listen(settings.http_ip, settings.http_port)
        except OSError as error:
            raise CannotServe(
                f"cannot serve /metrics on {settings.http_ip}:{settings.http_port}: {error.strerror}; "
                "set SIP_PROXY_HTTP_PORT to a free port, or to 0"
            ) from None
    return lines


def _tls(settings: Settings, streams: Streams) -> ssl.SSLContext | None:
    """Return the context for accepting connections; None where no TLS is spoken. Raises BadTls."""
    if not settings.tls_certificate:
        return None
    certificate, key, ca, names = tls_files(settings)
    streams.client_context = tls.client_context(ca, certificate, key)
    streams.server_context = tls.server_context(certificate, key, ca, settings.tls_client, names)
    return streams.server_context


def tls_files(settings: Settings) -> tuple[Path, Path, Path | None, dict[str, tuple[Path, Path]]]:
    """Return certificate, key, CA, and certificate and key by name of the host."""
    names = {name: (Path(pair[0]), Path(pair[1])) for name, pair in settings.tls_names.items()}
    ca = Path(settings.tls_ca) if settings.tls_ca else None
    return Path(settings.tls_certificate), Path(settings.tls_key), ca, names


def journal(settings: Settings) -> Path:
    """Return where the bindings are kept."""
    return Path(settings.state) / "bindings.sqlite"


def ports(settings: Settings) -> list[tuple[str, int]]:
    """Return (transport, port) of everything that is spoken at each address."""
    plain = [(transport, settings.port) for transport in settings.transports]
    return [*plain, ("tls", settings.tls_port)] if settings.tls_certificate else plain
