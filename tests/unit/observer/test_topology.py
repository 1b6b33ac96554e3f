"""Addresses have names, which depend on the tap where two homes have the same; and the judge knows which of them the
Internet does not carry.
"""

from __future__ import annotations

import pytest

from observer.topology import Topology, from_environment, is_private
from tests.unit.observer.sightings import ENVIRONMENT, SAME_HOME, TOPOLOGY, TWO_HOMES, topology


@pytest.mark.parametrize("name", sorted(ENVIRONMENT))
def test_an_address_that_is_missing_is_named(name: str) -> None:
    with pytest.raises(KeyError, match=name):
        from_environment({key: value for key, value in ENVIRONMENT.items() if key != name})


@pytest.mark.parametrize("missing", ["NAT_BOB_WAN_IP2", "BOB_FACE_IP"])
def test_an_address_of_the_second_home_that_is_missing_is_named(missing: str) -> None:
    with pytest.raises(KeyError, match=missing):
        from_environment(ENVIRONMENT | {key: value for key, value in TWO_HOMES.items() if key != missing})


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("10.77.1.100", "alice"), ("198.51.100.20", "nat"), ("198.51.100.21", "nat"), ("198.51.100.10", "proxy"),
        ("198.51.100.200", "bob"), ("198.51.100.1", "core"), ("198.51.100.31", "core"),
        ("198.51.100.9", "198.51.100.9"), ("198.51.100.100", "198.51.100.100"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("tap", ["nat-lan", "nat-wan", "proxy", "core"])
def test_whoever_has_an_address_has_a_name(address: str, name: str, tap: str) -> None:
    assert TOPOLOGY.name(address, tap) == name


def test_the_tap_at_a_phone_is_where_the_phone_is() -> None:
    two = topology(TWO_HOMES)
    assert (two.name("10.77.1.100", "alice"), two.name("10.77.1.100", "bob")) == ("alice", "bob")
    assert not two.is_public_tap("alice")
    assert not two.is_public_tap("bob")
    assert TOPOLOGY.is_public_tap("bob")


def test_the_routers_address_at_home_is_known_there_and_nowhere_else() -> None:
    assert TOPOLOGY.name("10.77.1.1", "nat-lan") == "nat"
    assert TOPOLOGY.name("10.77.1.1", "proxy") == "10.77.1.1"


def test_with_two_homes_the_same_address_is_hers_here_and_his_there_and_nobodys_between() -> None:
    both = topology(TWO_HOMES)
    taps = ("nat-lan", "nat-bob-lan", "proxy", "core", "nat-wan")
    assert [both.name("10.77.1.100", tap) for tap in taps] == ["alice", "bob", *["10.77.1.100"] * 3]
    assert [both.name("10.77.1.1", tap) for tap in taps[:2]] == ["nat", "nat-bob"]
    assert both.name("198.51.100.41", "nat-lan") == "nat-bob"
    assert both.name("198.51.100.200", "proxy") == "198.51.100.200"  # Bob is at home


@pytest.mark.parametrize(
    ("profile", "name", "own"),
    [({"filtering": "none", "ports": "preserved"}, "nat", "10.77.1.100"),
     ({"mapping": "none", "filtering": "none", "ports": "preserved"}, "alice", "198.51.100.100"),
     ({}, "198.51.100.100", "10.77.1.100")],
    ids=["one-to-one", "none", "home"],
)  # fmt: skip
def test_a_public_number_is_the_routers_or_her_own_or_nobodys(profile: dict[str, str], name: str, own: str) -> None:
    where = topology(**profile)
    assert where.name("198.51.100.100", "proxy") == name
    assert where.homes[0].own("alice") == own


def test_behind_a_providers_router_the_public_address_is_the_providers() -> None:
    where = topology(layers=2)
    assert [where.name("198.51.100.20", tap) for tap in ("nat-wan", "proxy")] == ["isp", "isp"]
    assert [where.name(address, "nat-isp") for address in ("100.64.0.2", "100.64.0.1")] == ["nat", "isp"]


@pytest.mark.parametrize(
    ("where", "lanes"),
    [
        (TOPOLOGY, "alice nat proxy bob core"),
        (topology(layers=2), "alice nat isp proxy bob core"),
        (topology(TWO_HOMES), "alice nat proxy nat-bob bob core"),
        (topology(TWO_HOMES).with_profiles({"nat-bob": {"layers": 2}}), "alice nat proxy isp-bob nat-bob bob core"),
        (topology(SAME_HOME), "alice bob nat proxy core"),
    ],
)
def test_the_lanes_stand_as_in_the_drawing(where: Topology, lanes: str) -> None:
    assert " ".join(where.lanes) == lanes


def test_who_is_behind_which_router() -> None:
    same, two = topology(SAME_HOME), topology(TWO_HOMES)
    assert [home.router for name in ("alice", "bob") if (home := same.home_of(name))] == ["nat", "nat"]
    assert [home.router for name in ("alice", "bob") if (home := two.home_of(name))] == ["nat", "nat-bob"]
    assert TOPOLOGY.home_of("bob") is None
    assert (TOPOLOGY.phones, two.phones, same.phones) == (("alice", "bob"),) * 3


@pytest.mark.parametrize(("tap", "public"), [("nat-lan", False), ("nat-isp", False), ("nat-wan", True), ("core", True)])
def test_what_is_before_the_router_is_not_on_the_internet(tap: str, public: bool) -> None:
    assert TOPOLOGY.is_public_tap(tap) is public


@pytest.mark.parametrize("address", ["10.0.0.1", "172.31.255.255", "192.168.0.1", "100.64.0.1", "169.254.0.1"])
def test_private_is_what_the_internet_does_not_carry(address: str) -> None:
    assert is_private(address)


@pytest.mark.parametrize("address", ["198.51.100.20", "172.32.0.1", "11.0.0.1", "100.128.0.1", "198.18.1.1"])
def test_public_is_the_rest(address: str) -> None:
    assert not is_private(address)
    assert not TOPOLOGY.is_private(address)


def test_the_home_is_private_whatever_its_numbers() -> None:
    assert not is_private("198.18.7.9")
    assert from_environment({**ENVIRONMENT, "NAT_LAN_IP": "198.18.7.1"}).is_private("198.18.7.9")
