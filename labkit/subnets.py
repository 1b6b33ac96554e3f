"""Are the lab's subnets free on this machine? Asked before anything starts: a wrong one cuts the machine off."""

from __future__ import annotations

import ipaddress
import json
import socket
import struct
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from labkit.outcome import Mistake
from labkit.settings import Settings

ROUTES = Path("/proc/net/route")
RTF_REJECT = 0x0200  # linux/route.h
CANDIDATES = {
    "HOME_SUBNET": ("10.78.1.0/24", "172.30.78.0/24", "192.168.178.0/24"),
    "INTERNET_SUBNET": ("198.18.1.0/24", "198.19.1.0/24"),
    "BOB_HOME_SUBNET": ("10.79.1.0/24", "172.30.79.0/24", "192.168.179.0/24"),
}

Taken = list[tuple[ipaddress.IPv4Network, str]]


def check(settings: Settings) -> None:
    """Raise Mistake when a subnet of the lab overlaps a route or a Docker network that is not the lab's own."""
    own, foreign = _docker_networks(settings.project)
    taken: Taken = [(network, f"the Docker network {name}") for name, network in foreign]
    taken += [
        (network, f"this machine's route on {interface}")
        for interface, network in host_routes(ROUTES.read_text(encoding="ascii") if ROUTES.exists() else "")
        if network not in own
    ]
    for name in settings.subnets:
        wanted = settings.subnet(name)
        for network, whose in taken:
            if wanted.overlaps(network):
                raise Mistake(
                    f"{name}={wanted} overlaps {whose} ({network}): "
                    f"set {name} in the environment or in .env to a /24 that is free{_example(name, taken)}"
                )


def beside(settings: Settings) -> dict[str, str] | None:
    """Return project, home_subnet and internet_subnet, as settings.load takes them, of a second lab beside this one;
    None where none is free."""
    taken = [network for _, network in host_routes(ROUTES.read_text(encoding="ascii") if ROUTES.exists() else "")]
    place = {"project": f"{settings.project}-beside"}
    own, foreign = _docker_networks(place["project"])  # its own are of one that was killed, and will be removed
    taken = [network for network in taken if network not in own]
    taken += [*(network for _, network in foreign), *(settings.subnet(name) for name in settings.subnets)]
    for name in ("HOME_SUBNET", "INTERNET_SUBNET"):
        place[name.lower()] = next((each for each in CANDIDATES[name] if not _overlaps(each, taken)), "")
    return place if all(place.values()) else None


def _overlaps(subnet: str, taken: Iterable[ipaddress.IPv4Network]) -> bool:
    return any(ipaddress.IPv4Network(subnet).overlaps(network) for network in taken)


def _example(name: str, taken: Taken) -> str:
    """Return words that name a subnet which is free indeed; none when none of ours is."""
    for candidate in CANDIDATES[name]:
        if not _overlaps(candidate, (network for network, _ in taken)):
            return f", {candidate} for example"
    return ""


def host_routes(table: str) -> Iterator[tuple[str, ipaddress.IPv4Network]]:
    """Yield (interface, network) for the routes in the text of /proc/net/route; the default route is none.

    Nor are its two halves, by which a VPN takes the default route's place.
    """
    for line in table.splitlines()[1:]:
        fields = line.split()
        if int(fields[3], 16) & RTF_REJECT:  # `unreachable`: nobody is there
            continue
        destination, mask = (socket.inet_ntoa(struct.pack("=I", int(fields[number], 16))) for number in (1, 7))
        network = ipaddress.IPv4Network(f"{destination}/{mask}", strict=False)
        if network.prefixlen > 1:
            yield fields[0], network


def _docker_networks(project: str) -> tuple[set[ipaddress.IPv4Network], list[tuple[str, ipaddress.IPv4Network]]]:
    """Return the subnets of the lab's own Docker networks, and (name, subnet) of all others."""
    listed = _docker("network", "ls", "--quiet").split()
    own, foreign = set(), []
    for network in json.loads(_docker("network", "inspect", *listed) or "[]") if listed else []:
        for pool in network["IPAM"]["Config"] or []:
            subnet = ipaddress.ip_network(pool["Subnet"], strict=False)
            if not isinstance(subnet, ipaddress.IPv4Network):
                continue
            if network["Labels"].get("com.docker.compose.project") == project:
                own.add(subnet)
            else:
                foreign.append((network["Name"], subnet))
    return own, foreign


def _docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False).stdout
