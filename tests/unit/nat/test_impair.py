"""What is done to which packet, and when. The kernel's queue itself is tried in the lab, on a real line."""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from labkit.settings import ROOT
from nat import impair
from nat.impair import BadImpairment, Impairments, Pattern, Seen, look, read_pattern

INVITE = b"INVITE sip:bob@198.51.100.10 SIP/2.0\r\nVia: SIP/2.0/UDP 10.77.1.100\r\nCSeq: 1 INVITE\r\n\r\n"
OK = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 10.77.1.100\r\ncseq :  4711  INVITE\r\nContent-Length: 0\r\n\r\n"
OK_TO_BYE = OK.replace(b"INVITE", b"BYE")
FROM, TO = ("10.77.1.100", 5060), ("198.51.100.10", 5061)


def ip(protocol: int, body: bytes, offset: int = 0, options: bytes = b"") -> bytes:
    """Return an IPv4 packet (RFC 791 §3.1) with this body; the offset is the fragment's, in units of 8 bytes."""
    words = 5 + len(options) // 4
    addresses = socket.inet_aton(FROM[0]) + socket.inet_aton(TO[0])
    head = struct.pack("!BBHHHBBH", 0x40 | words, 0, words * 4 + len(body), 1, offset, 64, protocol, 0)
    return head + addresses + options + body


def udp(payload: bytes, **more: Any) -> bytes:
    return ip(socket.IPPROTO_UDP, struct.pack("!HHHH", FROM[1], TO[1], 8 + len(payload), 0) + payload, **more)


def tcp(payload: bytes, options: bytes = b"") -> bytes:
    words = 5 + len(options) // 4
    head = struct.pack("!HHIIBBHHH", FROM[1], TO[1], 1, 1, words << 4, 0x18, 1000, 0, 0)
    return ip(socket.IPPROTO_TCP, head + options + payload)


@pytest.mark.parametrize(
    "packet", [udp(OK), udp(OK, options=bytes(8)), tcp(OK), tcp(OK, options=bytes(12)), udp(OK.replace(b"\r\n", b"\n"))]
)
def test_a_packet_shows_who_sends_what_to_whom(packet: bytes) -> None:
    assert look(packet) == Seen("10.77.1.100:5060", "198.51.100.10:5061", "SIP/2.0 200 OK", "INVITE")


def test_what_is_no_message_has_no_first_line() -> None:
    assert look(ip(socket.IPPROTO_ICMP, OK)) == Seen("10.77.1.100", "198.51.100.10")
    assert look(udp(OK, offset=185)) == Seen("10.77.1.100", "198.51.100.10")
    assert look(udp(b"")) == Seen("10.77.1.100:5060", "198.51.100.10:5061")
    assert look(udp(b"\x80\xff\x00")).first_line == "\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}\0"
    assert look(b"\x60" + bytes(47)) == Seen("?", "?")


@pytest.mark.parametrize("packet", [udp(OK), tcp(OK, options=bytes(12))])
def test_a_packet_that_is_cut_short_anywhere_is_still_looked_at(packet: bytes) -> None:
    lines = {look(packet[:length]).first_line for length in range(len(packet) + 1)}
    assert {"", "S", "SIP/2.0 200 OK"} <= lines


@pytest.mark.parametrize(
    ("text", "payload", "is_hit"),
    [
        ("INVITE *", INVITE, True), ("INVITE *", OK, False), ("INVITE*", INVITE, True), ("(BYE)", OK_TO_BYE, True),
        ("SIP/2.0 200*", OK_TO_BYE, True), ("SIP/2.0 200*(INVITE)", OK, True), ("SIP/2.0 200* (INVITE)", OK, True),
        ("SIP/2.0 200*(INVITE)", OK_TO_BYE, False), ("SIP/2.0 2??*", OK, True), ("SIP/2.0 18*", OK, False),
        ("*", OK, True), ("*(BYE)", OK_TO_BYE, True), ("*(BYE)", INVITE, False), ("* 200 OK", OK, True),
        ("SIP/2.0 [45]*", OK.replace(b"200 OK", b"486 Busy Here"), True),
    ],
)  # fmt: skip
def test_a_pattern_is_a_glob_of_the_first_line_and_the_method(text: str, payload: bytes, is_hit: bool) -> None:
    assert read_pattern(text).matches(look(udp(payload))) is is_hit


@pytest.mark.parametrize(
    ("text", "times", "complaint"),
    [
        ("", 1, "must be one line of 1 to 200 characters"),
        ("   ", 1, "must be one line"),
        ("INVITE *\nBYE *", 1, "must be one line"),
        ("INVITE " + "x" * 200, 1, "must be one line"),
        ("INVIT *", 1, "no SIP message begins so; nearest: 'INVITE *'"),
        ("bye *", 1, "no SIP message begins so; nearest: 'BYE *'"),
        ("INVITED *", 1, "no SIP message begins so; nearest: 'INVITE *'"),
        ("200*", 1, "no SIP message begins so; nearest: 'SIP/2.0 200*'"),
        ("SIP/2.0 200*(INVIET)", 1, "(INVIET) is no method; nearest: 'INVITE *'"),
        ("SIP/2.0 200*()", 1, "() is no method; known: INVITE, ACK"),
        ("Contact: *", 1, "no SIP message begins so; known: INVITE, ACK"),
        ("INVITE *", 0, "0 times: must be from 1 to 1000"),
        ("INVITE *", 1001, "1001 times: must be from 1 to 1000"),
    ],
)
def test_a_pattern_that_hits_nothing_ever_is_answered_in_one_line(text: str, times: int, complaint: str) -> None:
    with pytest.raises(BadImpairment) as bad:
        read_pattern(text, times)
    assert complaint in str(bad.value)
    assert "\n" not in str(bad.value)


@pytest.fixture
def said() -> list[str]:
    """What was logged."""
    return []


@pytest.fixture
def line(said: list[str], monkeypatch: pytest.MonkeyPatch) -> Impairments:
    """Impairments without the kernel's queue: packets are judged where they stand."""
    monkeypatch.setattr(Impairments, "_open", lambda self, is_exact=False: None)
    return Impairments(seed=4711, log=said.append)


def test_without_an_impairment_all_passes_at_once(line: Impairments) -> None:
    assert not line.is_needed()
    assert line.judge(udp(INVITE)) == 0


def test_a_pattern_is_dropped_as_often_as_was_said_and_told(line: Impairments, said: list[str]) -> None:
    line.drop_next("SIP/2.0 200*(INVITE)", times=2)
    line.drop_next("INVITE *")
    assert line.is_needed()
    pending = [(each["pattern"], each["times"]) for each in line.state()["pending"]]
    assert pending == [("SIP/2.0 200*(INVITE)", 2), ("INVITE *", 1)]
    payloads = [OK_TO_BYE, OK, INVITE, OK, OK, INVITE]
    assert [line.judge(udp(payload)) for payload in payloads] == [0, None, None, None, 0, 0]
    assert not line.is_needed()
    state = line.state()
    assert state["pending"] == []
    assert [(each["first_line"], each["from"], each["to"]) for each in state["dropped"]] == [
        (first, "10.77.1.100:5060", "198.51.100.10:5061")
        for first in ("SIP/2.0 200 OK", "INVITE sip:bob@198.51.100.10 SIP/2.0", "SIP/2.0 200 OK")
    ]
    assert [text.split(" from ")[0] for text in said] == [
        f"impair: dropped {each['first_line']!r}" for each in state["dropped"]
    ]


def test_of_two_patterns_that_match_one_is_used_up(line: Impairments) -> None:
    line.drop_next("INVITE *")
    line.drop_next("INVITE *")
    assert [line.judge(udp(INVITE)) for _ in range(3)] == [None, None, 0]


def test_a_delay_is_in_milliseconds_and_can_be_taken_off(line: Impairments) -> None:
    line.set_delay(40)
    assert (line.judge(udp(INVITE)), line.is_needed()) == (0.04, True)
    line.set_delay(0)
    assert (line.judge(udp(INVITE)), line.is_needed()) == (0, False)


def test_losses_are_counted_and_the_same_seed_loses_the_same(line: Impairments, said: list[str]) -> None:
    line.set_loss(25)
    lost = [line.judge(udp(INVITE)) is None for _ in range(2000)]
    assert 400 < sum(lost) < 600  # 500 ± 5 standard deviations
    assert line.state()["lost"] == sum(lost)
    assert said == ["impair: loss 25 %, seed 4711"]
    again = Impairments(seed=4711, log=said.append)
    again.set_loss(25)
    assert [again.judge(udp(INVITE)) is None for _ in range(2000)] == lost
    line.set_loss(100)
    assert {line.judge(udp(INVITE)) for _ in range(100)} == {None}


def test_two_routers_do_not_lose_the_same(said: list[str]) -> None:
    assert Impairments(log=said.append).seed != Impairments(log=said.append).seed


def test_clear_takes_all_off_and_forgets_no_drop(line: Impairments) -> None:
    line.drop_next("INVITE *", times=5)
    assert line.judge(udp(INVITE)) is None
    line.set_delay(40)
    line.set_loss(50)
    line.clear()
    assert (line.judge(udp(INVITE)), line.is_needed(), len(line.state()["dropped"])) == (0, False, 1)


@pytest.mark.parametrize(("verb", "value"), [
    ("set_delay", -1), ("set_delay", 10_001), ("set_delay", float("nan")), ("set_loss", -1), ("set_loss", 101),
    ("set_loss", float("nan")),
])  # fmt: skip
def test_a_figure_that_no_line_has_changes_nothing(line: Impairments, verb: str, value: float) -> None:
    with pytest.raises(BadImpairment, match="must be from 0 to"):
        getattr(line, verb)(value)
    assert not line.is_needed()


def test_no_more_patterns_are_pending_than_can_be_looked_through(line: Impairments) -> None:
    for _ in range(impair.MOST_PENDING):
        line.drop_next("INVITE *")
    with pytest.raises(BadImpairment, match="100 are pending already"):
        line.drop_next("INVITE *")


class Packet:
    """One that the kernel has handed over."""

    def __init__(self) -> None:
        self.has_gone = threading.Event()

    def get_payload(self) -> bytes:
        return udp(INVITE)

    def accept(self) -> None:
        self.has_gone.set()


class Kernel:
    """Stands in the place of the kernel's queue: `hand_over` is a packet that comes."""

    def __init__(self) -> None:
        self._reading, self._writing = socket.socketpair()
        self._packets: deque[Packet] = deque()

    def bind(self, number: int, take: Callable[[Packet], None], max_len: int) -> None:
        self._take = take

    def unbind(self) -> None:
        self._reading.close()
        self._writing.close()

    def get_fd(self) -> int:
        return self._reading.fileno()

    def run(self, block: bool) -> None:
        for _ in self._reading.recv(64):
            self._take(self._packets.popleft())

    def hand_over(self) -> Packet:
        packet = Packet()
        self._packets.append(packet)
        self._writing.send(b".")
        return packet


@pytest.fixture
def queued(said: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Impairments, Kernel]]:
    """Impairments, and the queue that packets come by."""
    kernel = Kernel()
    monkeypatch.setitem(sys.modules, "netfilterqueue", SimpleNamespace(NetfilterQueue=lambda: kernel))
    line = Impairments(log=said.append)
    yield line, kernel
    line.close()


def wait_until(predicate: Callable[[], bool]) -> None:
    """Return when it has come true. Fails after five seconds."""
    deadline = time.monotonic() + 5
    while not predicate():
        assert time.monotonic() < deadline
        time.sleep(0.001)  # pacing of a poll, with a deadline


def test_to_settle_is_to_wait_until_what_is_held_back_has_gone(queued: tuple[Impairments, Kernel]) -> None:
    line, kernel = queued
    assert not line.settle()  # nothing was ever held
    line.set_delay(10_000)
    packets = [kernel.hand_over() for _ in range(3)]
    wait_until(lambda: line.state()["held"] == len(packets))
    with ThreadPoolExecutor() as pool:
        settling = pool.submit(line.settle)
        with pytest.raises(TimeoutError):
            settling.result(timeout=0.2)
        line.clear()
        assert settling.result(timeout=5)
    assert all(packet.has_gone.is_set() for packet in packets)
    assert not line.settle()  # nothing is held any more


def test_a_delay_is_over_by_itself_and_so_is_settling(queued: tuple[Impairments, Kernel]) -> None:
    line, kernel = queued
    line.set_delay(100)
    packet = kernel.hand_over()
    wait_until(lambda: line.state()["held"] == 1 or packet.has_gone.is_set())
    line.settle()
    assert packet.has_gone.is_set()


def test_every_forwarded_packet_meets_the_queue_once() -> None:
    """Both rules name the LAN, and none matches what the other does."""
    first, second = (rule.format(lan="eth0").split(" -j ") for rule in impair.RULES)
    assert first[0].split() == ["FORWARD", "-i", "eth0"]
    assert second[0].split() == ["FORWARD", "!", "-i", "eth0", "-o", "eth0"]
    assert first[1] == second[1] == f"NFQUEUE --queue-num {impair.QUEUE} --queue-bypass"


@pytest.mark.parametrize("call", ["set_delay(40)", "set_loss(5)", "drop_next('INVITE *')"])
def test_without_the_library_it_is_unsupported_with_the_reason(call: str) -> None:
    """-S: a Python without what was installed into it. To take off what is not on needs no library."""
    script = (
        "from nat.impair import Impairments, Unsupported\n"
        "line = Impairments(log=lambda text: None)\n"
        "line.set_delay(0), line.set_loss(0), line.clear(), line.close()\n"
        f"try: line.{call}\n"
        "except Unsupported as error: print(error, line.is_needed())\n"
    )
    done = subprocess.run([sys.executable, "-S", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "impairments need python3-netfilterqueue: No module named 'netfilterqueue' False\n"


def put(folder: Path, name: str, script: str) -> None:
    """Put a program on a PATH that writes down how it was called, and then does this."""
    (folder / name).write_text(f'#!/bin/sh\necho {name} "$@" >>{folder}/called\n{script}\n')
    (folder / name).chmod(0o755)


@pytest.fixture
def called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What was typed to `tc` and `nft`, which can do everything."""
    for name in ("tc", "nft"):
        put(tmp_path, name, "")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return tmp_path / "called"


def test_where_there_is_netem_it_delays_and_loses_on_each_side(called: Path) -> None:
    line = Impairments(("eth0", "eth1"), log=lambda text: None)
    line.set_delay(40)
    line.set_loss(5)
    assert not line.is_needed()
    typed = called.read_text().splitlines()
    for side in ("eth0", "eth1"):
        assert f"tc qdisc replace dev {side} root netem limit {impair.MOST_HELD} delay 40ms loss 0%" in typed
        assert f"tc qdisc replace dev {side} root netem limit {impair.MOST_HELD} delay 40ms loss 5%" in typed


def test_where_there_is_neither_netem_nor_a_queue_nft_loses_each_packet_once(called: Path) -> None:
    put(called.parent, "tc", "exit 2")
    line = Impairments(("eth0", "eth1"), log=lambda text: None)
    line.set_loss(12.5)
    assert not line.is_needed()
    assert line.state()["loss_percent"] == 12.5
    rules = called.read_text().splitlines()[-1]
    assert rules.count("numgen random mod 10000 <= 1249 drop;") == 2
    assert 'iifname "eth0"' in rules
    assert 'iifname != "eth0" oifname "eth0"' in rules
    line.set_loss(0)
    assert called.read_text().splitlines()[-1] == "nft destroy table ip lab_loss"
    assert line.state()["loss_percent"] == 0
    with pytest.raises(impair.Unsupported, match="netfilterqueue"):
        line.set_delay(40)


def test_where_nothing_can_lose_packets_it_is_unsupported(called: Path) -> None:
    for name in ("tc", "nft"):
        put(called.parent, name, "exit 1")
    line = Impairments(("eth0", "eth1"), log=lambda text: None)
    with pytest.raises(impair.Unsupported, match="netfilterqueue"):
        line.set_loss(5)
    assert line.state()["loss_percent"] == 0


def test_when_the_last_drop_has_come_somebody_is_told_and_not_before(
    said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Impairments, "_open", lambda self, is_exact=False: None)
    idle = threading.Event()
    line = Impairments(log=said.append, when_idle=idle.set)
    line.drop_next("INVITE *", times=2)
    line.judge(udp(INVITE))
    assert line.is_needed()
    assert not idle.is_set()
    line.judge(udp(INVITE))
    assert idle.wait(5)
    assert not line.is_needed()


def test_an_interface_that_is_not_there_has_no_netem() -> None:
    assert not impair.has_netem("nowhere0")


def test_a_pattern_says_how_often() -> None:
    assert read_pattern("SIP/2.0 200*(INVITE)", 3) == Pattern("SIP/2.0 200*(INVITE)", "SIP/2.0 200*", "INVITE", 3)
