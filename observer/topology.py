"""Who is where: the addresses of compose.yaml and of the topologies' overlays, as the judge needs them.

Two homes may have the same private addresses: whose an address is depends on the tap that saw it. The tap at a phone
has the phone's name.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

# Between the home's router and its provider's, where there are two (RFC 6598; nat/rules/layers-2.sh).
ISP_INSIDE, ISP_OUTSIDE = "100.64.0.1", "100.64.0.2"

_PRIVATE = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16"))
)

Profile = Mapping[str, Any]  # the router's axes (nat/kinds.py); {} as long as it has not said them


@dataclass(slots=True, frozen=True)
class Home:
    """A router and the phones behind it."""

    router: str  # "nat", "nat-bob"
    lan: str  # its address at home
    wan: tuple[str, ...]  # its public addresses: the first, and the one that `change-ip` gives it
    phones: Mapping[str, str]  # {name: private address}
    faces: Mapping[str, str] = field(default_factory=dict)  # {name: public number}, for kinds that have one for each
    profile: Profile = field(default_factory=dict)

    @property
    def translates(self) -> bool:
        """Say whether this is a NAT at all."""
        return self.profile.get("mapping") != "none"

    @property
    def is_one_to_one(self) -> bool:
        """Say whether every phone has a public number at the router."""
        return self.translates and self.profile.get("filtering") == "none"

    @property
    def layers(self) -> int:
        """Return how many routers translate, one behind the other."""
        return int(self.profile.get("layers", 1))

    @property
    def lan_tap(self) -> str:
        """The tap at home."""
        return f"{self.router}-lan"

    @property
    def isp_tap(self) -> str:
        """The tap between this router and its provider's."""
        return f"{self.router}-isp"

    @property
    def wan_tap(self) -> str:
        """The tap on the Internet's side."""
        return f"{self.router}-wan"

    @property
    def isp(self) -> str:
        """The name of the provider's router."""
        return f"isp{self.router.removeprefix('nat')}"

    @property
    def outermost(self) -> str:
        """The name of whoever has the public addresses."""
        return self.isp if self.layers > 1 else self.router

    def own(self, name: str) -> str:
        """Return the address that this phone has itself."""
        return self.phones[name] if self.translates else self.faces.get(name, self.phones[name])


@dataclass(slots=True, frozen=True)
class Topology:
    """The lab's addresses."""

    homes: tuple[Home, ...]
    public: Mapping[str, str]  # phones on the Internet: {name: address}
    proxy: str
    core: str
    reflectors: tuple[str, str]
    _names: dict[str, dict[str, str]] = field(init=False, repr=False, compare=False)  # {tap: {address: name}}

    def __post_init__(self) -> None:
        """Work out who has which address at which tap; "" is any tap on the Internet."""
        everywhere = self._public_names()
        tables = {"": everywhere}
        for home in self.homes:
            inside = {home.own(name): name for name in home.phones} | {ip: name for name, ip in home.phones.items()}
            tables[home.lan_tap] = {**everywhere, **dict.fromkeys((home.lan, *home.wan), home.router), **inside}
            tables |= dict.fromkeys(home.phones, tables[home.lan_tap])
            tables[home.isp_tap] = {**everywhere, ISP_OUTSIDE: home.router, ISP_INSIDE: home.isp}
        object.__setattr__(self, "_names", tables)

    def _public_names(self) -> dict[str, str]:
        names = {address: name for name, address in self.public.items()}
        names |= {self.proxy: "proxy", self.core: "core", **dict.fromkeys(self.reflectors, "core")}
        for home in self.homes:
            names |= dict.fromkeys(home.wan, home.outermost)
            if home.is_one_to_one:
                names |= dict.fromkeys(home.faces.values(), home.router)
            elif not home.translates:
                names |= {address: name for name, address in home.faces.items()}
        private = [(address, name) for home in self.homes for name, address in home.phones.items()]
        owners = [address for address, _ in private]
        return {address: name for address, name in private if owners.count(address) == 1} | names

    def name(self, address: str, tap: str) -> str:
        """Return the name of whoever has this address where this tap is; the address itself for a stranger."""
        return self._names.get(tap, self._names[""]).get(address, address)

    @property
    def phones(self) -> tuple[str, ...]:
        """The names of all phones, Alice's first."""
        return (*(name for home in self.homes for name in home.phones), *self.public)

    @property
    def lanes(self) -> tuple[str, ...]:
        """Who stands beside whom on the ladder, from Alice to the Internet's core."""
        first, *others = [((*home.phones, home.router), (home.isp,) if home.layers > 1 else ()) for home in self.homes]
        right = [lane for inside, isp in others for lane in (*isp, *reversed(inside))]
        return (*first[0], *first[1], "proxy", *right, *self.public, "core")

    def home_of(self, phone: str) -> Home | None:
        """Return the home in which this phone is; None for one on the Internet."""
        return next((home for home in self.homes if phone in home.phones), None)

    def home_at(self, tap: str) -> Home | None:
        """Return the home whose router this tap is in; None for proxy and core."""
        return next((home for home in self.homes if tap in (home.lan_tap, home.isp_tap, home.wan_tap)), None)

    def behind(self, lane: str) -> Home | None:
        """Return the home of which this is the router, or its provider's."""
        return next((home for home in self.homes if lane in (home.router, home.isp)), None)

    def is_public_tap(self, tap: str) -> bool:
        """Say whether what this tap sees is on the Internet."""
        return tap not in [inside for home in self.homes for inside in (home.lan_tap, home.isp_tap, *home.phones)]

    def is_private(self, address: str) -> bool:
        """Say whether the Internet carries no packet to this address; a home is private whatever its numbers."""
        return is_private(address) or address.rpartition(".")[0] in [home.lan.rpartition(".")[0] for home in self.homes]

    def with_profiles(self, profiles: Mapping[str, Profile]) -> Topology:
        """Return the topology with what the routers, by name, say of themselves."""
        homes = [replace(home, profile=profiles.get(home.router, home.profile)) for home in self.homes]
        return Topology(tuple(homes), self.public, self.proxy, self.core, self.reflectors)


def from_environment(environment: Mapping[str, str]) -> Topology:
    """Read the addresses that compose.yaml and the overlays of `topologies/` pass. Raises KeyError."""
    wan = (environment["NAT_WAN_IP"], environment["NAT_WAN_IP2"])
    phones, faces = {"alice": environment["ALICE_IP"]}, {"alice": environment["ALICE_FACE_IP"]}
    public = {"bob": environment["BOB_IP"]}
    others = []
    if "BOB_HOME_IP" in environment:  # same-home
        public = {}
        phones["bob"], faces["bob"] = environment["BOB_HOME_IP"], environment["BOB_FACE_IP"]
    elif "NAT_BOB_WAN_IP" in environment:  # two-homes, with the same private addresses
        public = {}
        his_wan = (environment["NAT_BOB_WAN_IP"], environment["NAT_BOB_WAN_IP2"])
        his_face = {"bob": environment["BOB_FACE_IP"]}
        others = [Home("nat-bob", environment["NAT_LAN_IP"], his_wan, {"bob": environment["ALICE_IP"]}, his_face)]
    return Topology(
        homes=(Home("nat", environment["NAT_LAN_IP"], wan, phones, faces), *others),
        public=public,
        proxy=environment["PROXY_IP"],
        core=environment["CORE_IP"],
        reflectors=(environment["REFLECTOR_IP"], environment["REFLECTOR_IP2"]),
    )


@lru_cache(4096)
def is_private(address: str) -> bool:
    """Say whether the Internet carries no packet to this address (RFC 1918, RFC 6598, link-local)."""
    return any(ipaddress.ip_address(address) in network for network in _PRIVATE)
