"""Addresses have names, and the judge knows which of them the Internet does not carry."""

from __future__ import annotations

from dataclasses import replace

import pytest

from observer.topology import from_environment, is_private
from tests.unit.observer.sightings import TOPOLOGY

ENVIRONMENT = {
    "ALICE_IP": "10.77.1.100", "NAT_LAN_IP": "10.77.1.1", "NAT_WAN_IP": "198.51.100.20", "PROXY_IP": "198.51.100.10",
    "BOB_IP": "198.51.100.200", "CORE_IP": "198.51.100.1", "REFLECTOR_IP": "198.51.100.30",
    "REFLECTOR_IP2": "198.51.100.31",
}  # fmt: skip


def test_the_environment_of_compose_gives_the_topology() -> None:
    assert from_environment(ENVIRONMENT) == TOPOLOGY


@pytest.mark.parametrize("name", sorted(ENVIRONMENT))
def test_an_address_that_is_missing_is_named(name: str) -> None:
    with pytest.raises(KeyError, match=name):
        from_environment({key: value for key, value in ENVIRONMENT.items() if key != name})


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("10.77.1.100", "alice"), ("10.77.1.1", "nat"), ("198.51.100.20", "nat"), ("198.51.100.10", "proxy"),
        ("198.51.100.200", "bob"), ("198.51.100.1", "core"), ("198.51.100.31", "core"),
        ("198.51.100.9", "198.51.100.9"),
    ],
)  # fmt: skip
def test_whoever_has_an_address_has_a_name(address: str, name: str) -> None:
    assert TOPOLOGY.name(address) == name


@pytest.mark.parametrize("address", ["10.0.0.1", "172.31.255.255", "192.168.0.1", "100.64.0.1", "169.254.0.1"])
def test_private_is_what_the_internet_does_not_carry(address: str) -> None:
    assert is_private(address)


@pytest.mark.parametrize("address", ["198.51.100.20", "172.32.0.1", "11.0.0.1", "100.128.0.1", "198.18.1.1"])
def test_public_is_the_rest(address: str) -> None:
    assert not is_private(address)
    assert not TOPOLOGY.is_private(address)


def test_the_home_is_private_whatever_its_numbers() -> None:
    assert not is_private("198.18.7.9")
    assert replace(TOPOLOGY, alice="198.18.7.100").is_private("198.18.7.9")
