"""The kernel's routes, as the text that it gives; and where a second lab has room beside the first."""

from __future__ import annotations

import json
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from labkit import settings, subnets
from labkit.subnets import CANDIDATES, beside, host_routes

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


def networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *taken: tuple[str, str]) -> None:
    """Let the engine have these networks: (project, subnet)."""
    listed = [
        {"Name": f"{project}_home", "Labels": {"com.docker.compose.project": project},
         "IPAM": {"Config": [{"Subnet": subnet}]}}
        for project, subnet in taken
    ]  # fmt: skip
    docker = tmp_path / "docker"
    docker.write_text(f"#!/bin/sh\ncase $2 in ls) echo one ;; *) echo '{json.dumps(listed)}' ;; esac\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(subnets, "ROUTES", tmp_path / "no routes")


def test_a_second_lab_has_subnets_that_nobody_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = settings.load(project="mine", home_subnet=CANDIDATES["HOME_SUBNET"][0], internet_subnet="198.51.100.0/24")
    networks(tmp_path, monkeypatch, ("another", CANDIDATES["INTERNET_SUBNET"][0]))
    assert beside(lab) == {
        "project": "mine-beside", "home_subnet": CANDIDATES["HOME_SUBNET"][1],
        "internet_subnet": CANDIDATES["INTERNET_SUBNET"][1],
    }  # fmt: skip


def test_what_a_second_lab_that_was_killed_has_left_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = settings.load(project="mine", home_subnet="10.77.1.0/24", internet_subnet="198.51.100.0/24")
    networks(tmp_path, monkeypatch, ("mine-beside", CANDIDATES["HOME_SUBNET"][0]))
    found = beside(lab)
    assert found
    assert found["home_subnet"] == CANDIDATES["HOME_SUBNET"][0]


def test_where_there_is_no_room_there_is_one_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = settings.load(project="mine", home_subnet="10.77.1.0/24", internet_subnet="198.51.100.0/24")
    networks(tmp_path, monkeypatch, ("another", "198.18.0.0/15"))
    assert beside(lab) is None
