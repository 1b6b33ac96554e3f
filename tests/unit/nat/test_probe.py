"""What a router is called, and that what it claims to be is what can be measured."""

from __future__ import annotations

import json
import socket
import threading
import tomllib
from collections.abc import Iterator

import pytest

from labkit.settings import ROOT
from nat.probe import SOURCE_PORTS, Address, Prober, Silence, mapping, measure
from nat.reflector import answer

KINDS = tomllib.loads((ROOT / "nat" / "kinds.toml").read_text(encoding="utf-8"))
AXES = {
    "mapping": {"endpoint-independent", "address-dependent", "address-and-port-dependent"},
    "filtering": {"endpoint-independent", "address-dependent", "address-and-port-dependent"},
    "ports": {"preserved", "changed"},
    "peer-speaks-first": {"kept", "lost"},
}

A, B, C, D = (("198.51.100.20", port) for port in (50001, 50002, 50003, 50004))


@pytest.mark.parametrize(
    ("seen", "name"),
    [
        ([A, A, A, A], "endpoint-independent"),
        ([A, A, B, B], "address-dependent"),
        ([A, B, C, D], "address-and-port-dependent"),
        ([A, B, A, B], "address-and-port-dependent"),
        ([A, A, B, C], "address-and-port-dependent"),
        ([A, A, ("198.51.100.21", 50001), ("198.51.100.21", 50001)], "address-dependent"),
    ],
)
def test_a_mapping_has_its_name(seen: list[Address], name: str) -> None:
    assert mapping(seen) == name


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_kind_declares_every_axis_in_the_words_of_the_probe(kind: str) -> None:
    declared = {axis: value for axis, value in KINDS[kind].items() if axis != "what"}
    assert set(declared) == set(AXES)
    assert [axis for axis, value in declared.items() if value not in AXES[axis]] == []
    assert KINDS[kind]["what"]


def test_every_kind_has_its_rules_and_all_rules_have_their_kind() -> None:
    assert {path.stem for path in (ROOT / "nat" / "kinds").glob("*.sh")} == set(KINDS)


@pytest.fixture
def reflectors(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Address]]:
    """A reflector on this machine, with no router between: its four sockets."""
    monkeypatch.setenv("ALICE_IP", "127.0.0.1")
    sockets = []
    for address in ("127.0.0.1", "127.0.0.1", "127.0.0.2", "127.0.0.2"):
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.bind((address, 0))
        sockets.append(one)

    def reflect(asked: socket.socket) -> None:
        while True:
            data, source = asked.recvfrom(2048)
            if not data:
                return
            answer(json.loads(data), asked, source, sockets, "lo")

    threads = [threading.Thread(target=reflect, args=(one,)) for one in sockets]
    for thread in threads:
        thread.start()
    yield [one.getsockname() for one in sockets]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stopper:
        for one in sockets:
            stopper.sendto(b"", one.getsockname())
    for thread, one in zip(threads, sockets, strict=True):
        thread.join()
        one.close()


def test_where_there_is_no_router_the_probe_measures_none(reflectors: list[Address]) -> None:
    measured = measure(reflectors)
    assert measured == {
        "mapping": "endpoint-independent", "filtering": "endpoint-independent", "ports": "preserved",
        "peer-speaks-first": "kept",
    }  # fmt: skip
    assert set(measured) == set(AXES)


def test_a_router_that_passes_nothing_is_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALICE_IP", "127.0.0.1")
    monkeypatch.setattr("nat.probe.ANSWER_S", 0.01)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind(("127.0.0.1", 0))
        with pytest.raises(Silence):
            measure([deaf.getsockname()] * 4)


def test_the_prober_sends_from_ports_that_lie_in_no_routers_range(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source port within 50000-50999 is kept by the home router, and would be measured as `preserved`."""
    monkeypatch.setenv("ALICE_IP", "127.0.0.1")
    for _ in range(50):
        with Prober([]) as prober:
            assert prober.port == prober.socket.getsockname()[1]
            assert prober.port in SOURCE_PORTS
