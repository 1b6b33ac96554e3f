"""The kernel's routes, as the text that it gives."""

from __future__ import annotations

from ipaddress import IPv4Network

from labkit.subnets import host_routes

HEAD = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT"
DEFAULT = "eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0"
HOME = "eth0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0"
DOCKER = "docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0"
HALVES = ("tun0\t00000000\t0100080A\t0003\t0\t0\t0\t00000080\t0\t0\t0",
          "tun0\t00000080\t0100080A\t0003\t0\t0\t0\t00000080\t0\t0\t0")  # fmt: skip


def test_each_route_is_an_interface_and_a_network() -> None:
    assert list(host_routes("\n".join([HEAD, HOME, DOCKER]))) == [
        ("eth0", IPv4Network("192.168.1.0/24")),
        ("docker0", IPv4Network("172.17.0.0/16")),
    ]


def test_the_default_route_is_none() -> None:
    assert list(host_routes("\n".join([HEAD, DEFAULT]))) == []


def test_the_two_halves_of_a_vpn_are_a_default_route_too() -> None:
    assert list(host_routes("\n".join([HEAD, *HALVES]))) == []


def test_a_machine_without_routes_has_none() -> None:
    assert list(host_routes("")) == []
    assert list(host_routes(HEAD + "\n")) == []
