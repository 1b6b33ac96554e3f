"""Who is where: the addresses of compose.yaml, as the judge needs them."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

TAPS = ("nat-lan", "nat-wan", "proxy", "core")
PUBLIC_TAPS = ("nat-wan", "proxy", "core")
LANES = ("alice", "nat", "proxy", "bob", "core")

_PRIVATE = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16"))
)


@dataclass(slots=True, frozen=True)
class Topology:
    """The lab's addresses."""

    alice: str
    nat_lan: str
    nat_wan: str
    proxy: str
    bob: str
    core: str
    reflectors: tuple[str, str]

    def name(self, address: str) -> str:
        """Return the name of whoever has this address; the address itself for a stranger."""
        known = {
            self.alice: "alice", self.nat_lan: "nat", self.nat_wan: "nat", self.proxy: "proxy", self.bob: "bob",
            self.core: "core", **dict.fromkeys(self.reflectors, "core"),
        }  # fmt: skip
        return known.get(address, address)

    def is_private(self, address: str) -> bool:
        """Say whether the Internet carries no packet to this address; the home is private whatever its numbers."""
        return is_private(address) or address.rpartition(".")[0] == self.alice.rpartition(".")[0]


def from_environment(environment: Mapping[str, str]) -> Topology:
    """Read the addresses that compose.yaml passes. Raises KeyError."""
    return Topology(
        alice=environment["ALICE_IP"],
        nat_lan=environment["NAT_LAN_IP"],
        nat_wan=environment["NAT_WAN_IP"],
        proxy=environment["PROXY_IP"],
        bob=environment["BOB_IP"],
        core=environment["CORE_IP"],
        reflectors=(environment["REFLECTOR_IP"], environment["REFLECTOR_IP2"]),
    )


def is_private(address: str) -> bool:
    """Say whether the Internet carries no packet to this address (RFC 1918, RFC 6598, link-local)."""
    return any(ipaddress.ip_address(address) in network for network in _PRIVATE)
