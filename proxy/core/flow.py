"""The Flow: which packets belong together. It carries all NAT truth; responses, bindings and routes point at one."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

from proxy.sip.memory import remembered, remembered_by_parts

Address = tuple[str, int]  # (IP literal, port)

# What a public host cannot reach: RFC 1918, RFC 6598 (carrier-grade NAT), link-local.
_PRIVATE = tuple(
    ipaddress.ip_network(network)
    for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "fc00::/7")
)
_BROADCAST = ipaddress.IPv4Address("255.255.255.255")


class Flow(NamedTuple):
    """A transport between a local and a remote address; for connection-oriented transports, one connection."""

    transport: str  # "udp"
    local: Address
    remote: Address
    connection: int = 0  # 0: connectionless

    def __str__(self) -> str:
        return f"{self.transport}:{self.remote[0]}:{self.remote[1]}"


@remembered
def is_literal(host: str) -> bool:
    """Say whether a host is an IP address, not a name."""
    return _address(host) is not None


@remembered
def is_private(host: str) -> bool:
    """Say whether a host is an IP literal that the Internet does not carry."""
    address = _address(host)
    return address is not None and any(address in network for network in _PRIVATE)


def may_send_to(host: str, port: int, local: str) -> bool:
    """Say whether the proxy may be made to send there: to one host; to loopback only when it lives there itself."""
    return 0 < port < 65536 and _is_one_host((host, local))


@remembered_by_parts
def _is_one_host(host_and_local: tuple[str, str]) -> bool:
    host, local = host_and_local
    address = _address(host)
    if address is None:
        return False
    if address.is_multicast or address.is_unspecified or address == _BROADCAST:
        return False
    if address.version == 6 and address.ipv4_mapped:  # the C library turns ::ffff:127.0.0.1 into what it stands for
        return False
    here = _address(local)
    return not address.is_loopback or (here is not None and here.is_loopback)


@remembered
def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
