"""The UDP socket on loopback: how much it takes at once, whom it heard, and what does not end it."""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Iterator

import pytest

from proxy.core.flow import Address
from proxy.net.udp import DRAIN, UdpSocket

PATIENCE_S = 20


@contextlib.contextmanager
def bound(host: str = "127.0.0.1") -> Iterator[UdpSocket]:
    try:
        udp = UdpSocket((host, 0))
    except OSError:
        if host != "::1":
            raise
        pytest.skip("unsupported: there is no IPv6 loopback here")
    try:
        yield udp
    finally:
        udp.close()


@contextlib.contextmanager
def phone(udp: UdpSocket) -> Iterator[socket.socket]:
    """A socket that sends to it."""
    with socket.socket(udp.socket.family, socket.SOCK_DGRAM) as made:
        made.settimeout(PATIENCE_S)
        made.connect(udp.socket.getsockname())
        yield made


def drained(udp: UdpSocket) -> list[tuple[bytes, Address]]:
    """Return what one wake-up takes."""
    assert select.select([udp.socket], [], [], PATIENCE_S)[0]
    return list(udp.drain())


def refused(udp: UdpSocket) -> None:
    """Connect it to a port that nobody has, and send: the ICMP answer waits at the socket."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        nobody = gone.getsockname()
    udp.socket.connect(nobody)  # only a connected socket is told (udp(7)); IP_RECVERR would do the same
    assert udp.send(b"x", nobody) is None


def test_one_wake_up_takes_no_more_than_its_share_and_the_next_takes_the_rest() -> None:
    with bound() as udp, phone(udp) as alice:
        sent = [b"%d" % number for number in range(DRAIN + 3)]
        for data in sent:
            alice.send(data)
        first = drained(udp)
        assert [data for data, _ in first] == sent[:DRAIN]
        assert [data for data, _ in drained(udp)] == sent[DRAIN:]


def test_with_nothing_there_it_comes_back_at_once() -> None:
    with bound() as udp:
        assert not list(udp.drain())


def test_what_the_receiver_sends_is_not_taken_in_the_same_breath_for_ever() -> None:
    """A datagram that leads to a datagram to ourselves: a wake-up ends all the same."""
    with bound() as udp:
        udp.send(b"round", udp.socket.getsockname())
        taken = 0
        for data, source in udp.drain():
            taken += 1
            udp.send(data, source)
        assert taken == DRAIN


@pytest.mark.parametrize("data", [b"", b"\0", b"x" * 65_507])
def test_a_datagram_is_whole_however_long(data: bytes) -> None:
    with bound() as udp, phone(udp) as alice:
        alice.send(data)
        assert drained(udp) == [(data, alice.getsockname())]


def test_an_ipv6_source_is_an_address_and_a_port_as_any_other() -> None:
    with bound("::1") as udp, phone(udp) as alice:
        alice.send(b"x")
        ((_, source),) = drained(udp)
        assert source == alice.getsockname()[:2]
        assert source[0] == "::1"
        assert udp.send(b"y", source) is None
        assert alice.recv(10) == b"y"


def test_an_ipv6_socket_leaves_the_ipv4_port_to_another() -> None:
    with bound("::1") as udp:
        assert udp.socket.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1


def test_a_refusal_by_icmp_ends_neither_receiving_nor_sending() -> None:
    with bound() as udp:
        refused(udp)
        assert select.select([udp.socket], [], [], PATIENCE_S)[0]
        assert not list(udp.drain())
        assert udp.send(b"y", udp.socket.getpeername()) is None


def test_a_refusal_does_not_hide_the_datagrams_behind_it() -> None:
    with bound() as udp, phone(udp) as alice:
        alice.send(b"before")
        refused(udp)
        assert [data for data, _ in drained(udp)] == [b"before"]


def test_a_refusal_that_a_send_hears_of_is_told_and_the_next_send_succeeds() -> None:
    with bound() as udp:
        refused(udp)
        assert select.select([udp.socket], [], [], PATIENCE_S)[0]
        nobody = udp.socket.getpeername()
        assert udp.send(b"y", nobody) == "Connection refused"
        assert udp.send(b"y", nobody) is None


@pytest.mark.parametrize(
    ("data", "target", "why"),
    [
        (b"x" * 65_508, ("127.0.0.1", 9), "Message too long"),
        (b"x", ("255.255.255.255", 9), "Permission denied"),
    ],
)
def test_what_cannot_be_sent_is_told_and_nothing_is_raised(data: bytes, target: Address, why: str) -> None:
    with bound() as udp:
        assert udp.send(data, target) == why


def test_an_address_that_is_taken_is_said_and_no_socket_is_left_open() -> None:
    with bound() as udp, pytest.raises(OSError, match="ddress already in use"):
        UdpSocket(udp.socket.getsockname())
