"""Serving: the life of the proxy, from the settings to the signal that ends it."""

from __future__ import annotations

import asyncio
import gc
import platform
import time
from collections.abc import Callable
from pathlib import Path

from proxy import users
from proxy.build import CannotServe, build_shell, check_ports, journal, keep_state, listen, tls_files
from proxy.config import Settings
from proxy.log import Log
from proxy.net import tls
from proxy.net.key import KeyFileError
from proxy.net.shell import Shell
from proxy.net.store import Store
from proxy.net.workers import Worker, part

GC_YOUNG = 10_000  # new objects after which the youngest are looked through
# How often PyPy sees something done before it compiles it: so a call costs what it will cost for good after a thousand
# others, and not after ten thousand.
COMPILER = "threshold=200,function_threshold=300,trace_eagerness=40"

MISTAKES = (CannotServe, users.BadUsers, KeyFileError, tls.BadTls)  # the user's own, beside his settings


def serve(settings: Settings) -> int:
    """Serve until a signal comes. Raises CannotServe, BadUsers, BadTls or KeyFileError."""
    _hasten_compiler()
    log = Log(settings.log, time.monotonic, as_json=settings.log_format == "json")
    key, store = keep_state(settings, log)
    _check(settings)
    if settings.workers == 1:
        return asyncio.run(_serve(settings, log, key, store, None))
    return part(
        settings.workers,
        lambda worker: asyncio.run(_serve(settings, log, key, store if worker.is_first else None, worker)),
    )


def _check(settings: Settings) -> None:
    """See what could keep us from serving before bindings are read and workers part: what is wrong is told once.

    Raises as `serve`.
    """
    if settings.users:
        users.load(Path(settings.users), settings.auth_realm)
    if settings.relay != "off" and len(settings.relay_pairs) < 2 * settings.workers:
        raise CannotServe(
            f"SIP_PROXY_RELAY_PORTS={settings.relay_ports}: each of {settings.workers} workers needs four of its own; "
            "name more"
        )
    if settings.tls_certificate:
        certificate, key, ca, names = tls_files(settings)
        tls.server_context(certificate, key, ca, settings.tls_client, names)
    check_ports(settings)


async def _serve(settings: Settings, log: Log, key: bytes, own: Store | None, worker: Worker | None) -> int:
    """Serve, alone or as one of several; `own` is the journal that this process writes."""
    mesh = None if worker is None else worker.mesh
    shell = build_shell(settings, log, key, own, mesh)
    loaded = _load(settings, own, shell)
    if worker is not None and not await _gather(shell, worker):
        return 1  # the first one says why
    greeting = [*await listen(settings, shell, mesh), *_state_of_affairs(settings, shell), *loaded]
    _spare_collector()
    reload = _reloader(settings, shell)
    if worker is None:
        await shell.run(greeting, reload, settings.drain)
        return 0
    if not worker.is_first:
        await shell.run([], reload, settings.drain, worker.lifeline)
        return 0
    ended: list[int] = []

    def stop(process: int) -> None:
        """What another worker had to do, nobody does."""
        ended.append(process)
        log.line(f"SIP proxy stops: its worker {process} has ended, and the calls that were set up there are lost")
        shell.end()

    worker.watch(stop)
    shell.end_others = worker.end_others
    await shell.run([*greeting, f"SIP proxy has {settings.workers} workers"], reload, settings.drain)
    return 1 if ended else 0


def _load(settings: Settings, own: Store | None, shell: Shell) -> list[str]:
    """Take over what the journal kept; return a line that says so."""
    if own is None:
        return []
    return [f"SIP proxy journal {journal(settings)}: {shell.engine.location.load(own.open(), shell.now())} bindings"]


async def _gather(shell: Shell, worker: Worker) -> bool:
    """Wait until this worker has all bindings, or is the first and all others serve; False when it is to end.

    Raises CannotServe when it is the first and another one has ended.
    """
    team = shell.team
    assert team is not None
    loop, ended = asyncio.get_running_loop(), []
    wanted = team.are_ready if worker.is_first else team.is_loaded

    def end(process: int) -> None:
        ended.append(process)
        wanted.set()

    if worker.is_first:
        worker.watch(end)
        sharing = loop.create_task(team.share())  # to a worker that has ended there is nothing to tell
        await wanted.wait()
        sharing.cancel()
    else:
        loop.add_reader(worker.lifeline, end, 0)
        await wanted.wait()
        loop.remove_reader(worker.lifeline)
    if ended and worker.is_first:
        raise CannotServe("a worker ended before it served: see what it said, or set SIP_PROXY_WORKERS=1")
    return not ended


def _hasten_compiler() -> None:
    """Have PyPy compile earlier than it would; CPython has no compiler."""
    if platform.python_implementation() == "PyPy":
        import pypyjit  # type: ignore[import-not-found]  # PyPy's own

        pypyjit.set_param(COMPILER)


def _spare_collector() -> None:
    """Keep CPython's garbage collector from what is here now, and stays.

    Nothing of a call refers to itself, so there is nothing to find in what a busy proxy keeps, and to look through it
    would stop every call for half a second. PyPy's goes through it little by little, and has no such knobs.
    """
    if platform.python_implementation() == "CPython":
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_YOUNG, 100, 1_000_000)


def _reloader(settings: Settings, shell: Shell) -> Callable[[], list[str]]:
    """Return what SIGHUP does: users and certificates are read anew; what is broken stays as it was."""

    def reload() -> list[str]:
        lines = []
        authenticator, streams = shell.engine.identity.authenticator, shell.streams
        if authenticator is not None:
            try:
                table = users.load(Path(settings.users), settings.auth_realm)
                authenticator.set_users(table)
                lines.append(f"SIP proxy reloaded {settings.users}: {len(table)} users")
            except users.BadUsers as mistakes:
                lines += [f"SIP proxy keeps its users: {line}" for line in str(mistakes).splitlines()]
        if streams is not None and streams.server_context is not None and streams.client_context is not None:
            certificate, key, ca, names = tls_files(settings)
            try:
                tls.reload(streams.server_context, certificate, key, ca, names)
                tls.reload(streams.client_context, certificate, key, ca, {})
                lines.append(f"SIP proxy reloaded {settings.tls_certificate}")
            except tls.BadTls as mistake:
                lines.append(f"SIP proxy keeps its certificate: {mistake}")
        return lines or ["SIP proxy has nothing to reload: neither a users file nor a certificate is set"]

    return reload


def _state_of_affairs(settings: Settings, shell: Shell) -> list[str]:
    lines = []
    if shell.relay is not None:
        lines.append(f"SIP proxy relays media ({settings.relay}) by ports {settings.relay_ports}")
    if shell.mirror is not None:
        lines.append(f"SIP proxy mirrors every message to {settings.hep} (HEP3)")
    if shell.engine.identity.authenticator is None:
        lines.append("SIP proxy asks for no passwords: set SIP_PROXY_USERS before strangers reach it")
    elif warning := users.exposure(Path(settings.users)):
        lines.append(f"SIP proxy warning: {warning}")
    if settings.without:
        lines.append(f"SIP proxy without {', '.join(settings.without)}")
    if not settings.state:
        lines.append("SIP proxy keeps its bindings in memory only: set SIP_PROXY_STATE to keep them over a restart")
    return lines
