"""Addresses: what is private, and where the proxy lets itself be sent."""

from __future__ import annotations

import pytest

from proxy.core.flow import Flow, is_literal, is_private, may_send_to


@pytest.mark.parametrize("host", ["10.0.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "169.254.1.1", "fd00::1"])
def test_what_the_internet_does_not_carry_is_private(host: str) -> None:
    assert is_private(host)


@pytest.mark.parametrize("host", ["198.51.100.1", "172.32.0.1", "100.128.0.1", "2001:db8::1", "example.org", ""])
def test_the_rest_is_not(host: str) -> None:
    assert not is_private(host)


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("127.0.0.1", 5060), ("224.0.0.1", 5060), ("0.0.0.0", 5060), ("255.255.255.255", 5060), ("::1", 5060),
        ("ff02::1", 5060), ("example.org", 5060), ("198.51.100.1", 0), ("198.51.100.1", 65536), ("010.0.0.1", 5060),
        ("::ffff:127.0.0.1", 5060), ("::ffff:198.51.100.10", 5060), ("::ffff:198.51.100.1", 5060),
    ],
)  # fmt: skip
def test_the_proxy_is_not_sent_there(host: str, port: int) -> None:
    assert not may_send_to(host, port, "198.51.100.10")


def test_the_proxy_is_sent_to_one_host_and_to_loopback_when_it_lives_there() -> None:
    assert may_send_to("198.51.100.1", 1, "198.51.100.10")
    assert may_send_to("10.0.0.1", 65535, "198.51.100.10")
    assert may_send_to("127.0.0.2", 5060, "127.0.0.1")


def test_a_literal_is_no_name() -> None:
    assert is_literal("10.0.0.1")
    assert not is_literal("10.0.0")


def test_a_flow_is_named_by_its_far_end() -> None:
    assert str(Flow("udp", ("10.0.0.1", 1), ("10.0.0.2", 2))) == "udp:10.0.0.2:2"
