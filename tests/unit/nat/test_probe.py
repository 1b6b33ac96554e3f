"""The probe's words, and what it measures where there is no router. Every kind of router is measured end to end."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator

import pytest

from nat import axes, kinds, lifetimes, probe
from nat.lifetimes import Lifetime
from nat.prober import SOURCE_PORTS, Address, Prober, Silence, ask_tcp
from nat.reflector import Reflector

A, B, C, D = (("198.51.100.20", port) for port in (50001, 50002, 50003, 50004))
# Addresses of the loopback that no other run has.
HERE, THERE, OTHER = (f"127.{os.getpid() // 250 % 250 + 1}.{os.getpid() % 250}.{last}" for last in (1, 2, 3))


@pytest.mark.parametrize(
    ("seen", "name"),
    [
        ([A, A, A, A], "endpoint-independent"),
        ([A, A, B, B], "address-dependent"),
        ([A, B, C, D], "address-and-port-dependent"),
        ([A, B, A, B], "address-and-port-dependent"),
        ([A, A, B, C], "address-and-port-dependent"),
        ([A, A, ("198.51.100.21", 50001), ("198.51.100.21", 50001)], "address-dependent"),
        ([("10.0.0.1", 5060)] * 4, "none"),
    ],
)
def test_a_mapping_has_its_name(seen: list[Address], name: str) -> None:
    assert axes.mapping(seen, ("10.0.0.1", 5060)) == name


@pytest.fixture
def reflector() -> Iterator[Reflector]:
    """A reflector on this machine, with no router between, that answers."""
    one = Reflector([HERE, THERE], ports=(0, 0), sip_port=0)
    stopped = threading.Event()

    def run() -> None:
        while not stopped.is_set():
            one.step(0.05)

    thread = threading.Thread(target=run)
    thread.start()
    yield one
    stopped.set()
    thread.join()
    one.close()


@pytest.fixture
def reflectors(reflector: Reflector) -> list[Address]:
    """Its four sockets."""
    return [one.getsockname() for one in reflector.sockets]


@pytest.mark.parametrize("sources", [[HERE], [HERE, OTHER]], ids=["one host", "two hosts"])
def test_where_there_is_no_router_the_probe_measures_none(
    reflector: Reflector, reflectors: list[Address], sources: list[str]
) -> None:
    found = probe.measure(reflectors, sources, [0.5], sip_port=reflector.sip[0].getsockname()[1])
    declared = kinds.PRESETS["none"].profile
    assert found.measured == {axis: value for axis, value in declared.items() if axis != "refresh"}
    assert found.unmeasured == {"refresh": "nothing is remembered"}
    assert found.faults == []
    assert not reflector.ignored


def test_every_axis_is_measured_or_said_not_to_be(reflectors: list[Address]) -> None:
    found = probe.measure(reflectors, [HERE], sip_port=9)  # nobody keeps what is sent there
    assert {*found.measured, *found.unmeasured} == set(kinds.AXES)
    assert found.unmeasured["alg"] == "nothing that is sent to port 9 of the reflector arrives"


def test_a_reflector_that_does_not_answer_is_silence() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind((HERE, 0))
        with pytest.raises(Silence, match="by UDP or TCP"):
            probe.measure([deaf.getsockname()] * 4, [HERE])


def test_where_only_tcp_is_answered_udp_is_blocked(reflectors: list[Address]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp, \
         socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:  # fmt: skip
        deaf.bind((HERE, 0))
        tcp.bind(deaf.getsockname())
        tcp.listen()

        def forward() -> None:
            with tcp.accept()[0] as inside, socket.create_connection(reflectors[0]) as outside:
                outside.sendall(inside.recv(1024))
                inside.sendall(outside.recv(1024))

        thread = threading.Thread(target=forward)
        thread.start()
        found = probe.measure([deaf.getsockname()] * 4, [HERE])
        thread.join()
    assert found.measured == {"udp": "blocked"}
    assert set(found.unmeasured) == set(kinds.AXES) - {"udp"}


def test_a_source_that_is_not_here_is_an_error(reflectors: list[Address]) -> None:
    for sources in (["198.51.100.99"], [HERE, "198.51.100.99"]):
        with pytest.raises(OSError, match="assign"):
            probe.measure(reflectors, sources)


def test_the_prober_sends_from_ports_that_lie_in_no_routers_range() -> None:
    """A source port within 50000-50999 is kept by the home router, and would be measured as `preserved`."""
    for _ in range(50):
        with Prober([], HERE) as prober:
            assert prober.port == prober.socket.getsockname()[1]
            assert prober.port in SOURCE_PORTS


def test_what_a_stranger_sends_is_no_answer(reflectors: list[Address]) -> None:
    with Prober(reflectors, HERE) as prober, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for junk in (b"", b"\xff\x00", b"[]", b"null", b'{"seen": ["198.51.100.66", 1]}', b"[" * 5000):
            stranger.sendto(junk, prober.own)
        assert prober.seen_by(0) == prober.own


def test_by_tcp_the_reflector_says_what_it_sees(reflectors: list[Address]) -> None:
    assert ask_tcp(reflectors[2], HERE, ask="where")["seen"][0] == HERE


# Lifetimes


def test_silences_lie_half_way_between_the_lifetimes_that_routers_have() -> None:
    assert lifetimes.silences(8) == [0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 7.0]
    assert lifetimes.silences(0) == []


@pytest.mark.parametrize("usual", lifetimes.USUAL[:-1])
def test_a_usual_lifetime_is_measured_as_itself(usual: int) -> None:
    tried = lifetimes.silences(lifetimes.LIMITS[1])
    alive = max((silence for silence in tried if silence < usual), default=0.0)
    gone = min(silence for silence in tried if silence > usual)
    assert Lifetime(alive, gone, "both").usual() == usual


def test_a_lifetime_beyond_what_was_tried_is_its_lower_bound() -> None:
    assert Lifetime(37.5, None, None).usual() == 37


def test_two_silences_tell_whether_a_lifetime_is_what_it_is_declared_to_be() -> None:
    alive, gone = lifetimes.silences_around(5)
    assert Lifetime(alive, gone, "both").holds(5)
    assert not Lifetime(0.0, alive, "both").holds(5)
    assert not Lifetime(gone, None, None).holds(5)


def test_a_mapping_that_nothing_forgets_survives_every_silence(reflectors: list[Address]) -> None:
    assert lifetimes.measure(reflectors, HERE, [0.2, 0.4]) == Lifetime(0.4, None, None)


def test_a_promised_packet_that_does_not_come_is_a_mapping_that_is_gone(reflectors: list[Address]) -> None:
    """A reflector that promises to speak to others is what a router that forgets looks like from inside."""
    assert lifetimes.measure([*reflectors[2:], *reflectors[:2]], HERE, [0.2, 0.4]).gone is None
    asked = Prober.ask

    def ask(prober: Prober, place: int, size: int = 400, **question: object) -> object:
        if question.get("after") == 0.4:
            question["port"] = 9
        return asked(prober, place, size, **question)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Prober, "ask", ask)
        found = lifetimes.measure(reflectors, HERE, [0.2, 0.4])
    assert (found.alive, found.gone) == (0.2, 0.4)


# What the pod compares


@pytest.mark.parametrize(
    ("axis", "measured"),
    [("mapping", "address-dependent"), ("block", 2), ("lifetime", 5), ("udp", "blocked"), ("layers", 2)],
)
def test_what_is_not_as_declared_is_named(axis: str, measured: kinds.Value) -> None:
    declared = kinds.PRESETS["home"].profile
    assert probe.contradictions(declared, declared) == []
    wrong = probe.contradictions(declared, {**declared, axis: measured})
    assert wrong == [f"{axis}: declared {declared[axis]}, measured {measured}"]


def test_more_ports_than_the_probe_counts_are_enough() -> None:
    declared = {**kinds.PRESETS["home"].profile, "block": 10}
    assert probe.contradictions(declared, {"block": probe.ALL_PORTS}) == []
    assert probe.contradictions({**declared, "block": 3}, {"block": probe.ALL_PORTS}) != []


def test_the_probe_and_the_kinds_mean_the_same_by_all_ports() -> None:
    assert probe.ALL_PORTS == kinds.ALL_PORTS
