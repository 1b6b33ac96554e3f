"""Where we can be reached: one listener per transport and address family, and how Via and Record-Route name it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from proxy.core.flow import Address, Flow
from proxy.sip.memory import remembered_by_parts


class Listener(NamedTuple):
    """One listening socket: `local` is the address that others reach it at, which may not be the bound one."""

    transport: str  # "udp", "tcp", "tls"
    local: Address


class Listeners:
    """All of them. Raises ValueError when there is none."""

    def __init__(self, listeners: Iterable[Listener]) -> None:
        self.all = list(listeners)
        if not self.all:
            raise ValueError("no listener")
        # Says whether an address and port is one of ours; asked three times a message.
        self.is_here: Callable[[Address], bool] = frozenset(listener.local for listener in self.all).__contains__
        self._hosts = {listener.local[0] for listener in self.all}
        self._via = {
            listener: b"SIP/2.0/%b %b;branch=" % (listener.transport.upper().encode(), hostport(listener.local))
            for listener in self.all
        }
        self._route = {
            listener: b"%b%b;lr" % (
                hostport(listener.local),
                b"" if listener.transport == "udp" else b";transport=" + listener.transport.encode(),
            )
            for listener in self.all
        }  # fmt: skip

        self._flow = remembered_by_parts(self._find_flow)

    def is_host(self, host: str) -> bool:
        """Say whether an address is one of ours, whatever the port."""
        return host in self._hosts

    def has(self, flow: Flow) -> bool:
        """Say whether a flow leaves by one of our listeners: one that a journal or a token names may be gone."""
        return (flow.transport, flow.local) in self._via

    def via(self, flow: Flow, branch: bytes) -> bytes:
        """Return the Via value for a request that leaves on a flow."""
        return self._via[flow.transport, flow.local] + branch  # type: ignore[index]

    def route(self, flow: Flow, params: bytes, secure: bool) -> bytes:
        """Return a Record-Route or Path value that brings requests back to the local end of a flow (§16.6 step 4)."""
        scheme = b"sips" if secure and flow.transport == "tls" else b"sip"
        return b"<%b:%b%b>" % (scheme, self._route[flow.transport, flow.local], params)  # type: ignore[index]

    def routes(self) -> list[bytes]:
        """Return what stands between the scheme and the parameters in all that `route` returns."""
        return list(self._route.values())

    def flow_to(self, transport: str, remote: Address, came: Flow | None = None) -> Flow | None:
        """Return the flow to a remote address from the listener of that transport and family.

        From the local end that a request came in by (`came`), where that fits. None when we do not speak it.
        """
        return self._flow((transport, remote, came.local if came is not None and came.transport == transport else None))

    def _find_flow(self, wanted: tuple[str, Address, Address | None]) -> Flow | None:
        transport, remote, local = wanted
        is_v6 = ":" in remote[0]
        if local is not None and (":" in local[0]) == is_v6:
            return Flow(transport, local, remote)
        for listener in self.all:
            if listener.transport == transport and (":" in listener.local[0]) == is_v6:
                return Flow(transport, listener.local, remote)
        return None

    def speaks(self, transport: str) -> bool:
        """Say whether there is a listener of a transport."""
        return any(listener.transport == transport for listener in self.all)


@remembered_by_parts
def hostport(address: Address) -> bytes:
    """Return b"host:port", the host in brackets where it is an IPv6 literal."""
    host = b"[%b]" if ":" in address[0] else b"%b"
    return b"%b:%d" % (host % address[0].encode(), address[1])
