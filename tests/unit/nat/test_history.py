"""The router's memory, read from the lines of connection tracking."""

from __future__ import annotations

from nat.history import MOST_EVENTS, History, Mapping, translation

NEW = (
    "[1700000001.500000]\t    [NEW] udp      17 30 src=10.77.1.100 dst=198.51.100.10 sport=5060 dport=5060 "
    "[UNREPLIED] src=198.51.100.10 dst=198.51.100.20 sport=5060 dport=50010\n"
)
ELSEWHERE = NEW.replace("198.51.100.10", "198.51.100.30")
FROM_OUTSIDE = (
    "[1700000002.000000]\t    [NEW] udp      17 30 src=198.51.100.200 dst=198.51.100.20 sport=5070 dport=50010 "
    "[UNREPLIED] src=10.77.1.100 dst=198.51.100.200 sport=5060 dport=5070 zone=1\n"
)
ROUTERS_OWN = (
    "[1700000002.000000]\t    [NEW] udp      17 30 src=198.51.100.20 dst=198.51.100.1 sport=53 dport=53 "
    "[UNREPLIED] src=198.51.100.1 dst=198.51.100.20 sport=53 dport=53\n"
)
ALICE = Mapping("udp", ("10.77.1.100", 5060), ("198.51.100.20", 50010))


def ended(line: str, at: float) -> str:
    return f"[{at:.6f}]" + line.partition("]")[2].replace("[NEW]", "[DESTROY]")


def told(*lines: str) -> list[tuple[str, float]]:
    history = History()
    history.read(lines)
    return [(event["event"], event["time"]) for event in history.events()]


def test_a_translation_is_read_from_a_line() -> None:
    assert translation(NEW) == (1700000001.5, "NEW", ALICE)


def test_what_was_let_in_belongs_to_the_mapping_that_let_it_in() -> None:
    assert translation(FROM_OUTSIDE) == (1700000002.0, "NEW", ALICE)


def test_what_is_not_translated_is_no_mapping() -> None:
    assert translation(ROUTERS_OWN) is None
    assert translation("[1.0] [NEW] icmp 1 30 src=10.77.1.100 dst=198.51.100.10 type=8 code=0 id=1") is None


def test_a_mapping_lives_from_its_first_entry_to_its_last() -> None:
    lines = NEW, ELSEWHERE, FROM_OUTSIDE
    assert told(*lines) == [("mapping-created", 1700000001.5)]
    most = [ended(line, 1700000030.0 + number) for number, line in enumerate(lines)]
    assert told(*lines, *most[:2]) == [("mapping-created", 1700000001.5)]
    assert told(*lines, *most) == [("mapping-created", 1700000001.5), ("mapping-ended", 1700000032.0)]


def test_one_that_comes_again_is_another() -> None:
    names = [event for event, _ in told(NEW, ended(NEW, 1700000031.0), NEW)]
    assert sorted(names) == ["mapping-created", "mapping-created", "mapping-ended"]


def test_the_end_of_what_was_there_before_is_no_event() -> None:
    assert told(ended(NEW, 1700000031.0)) == []


def test_when_it_was_made_is_known_while_it_lives() -> None:
    history = History()
    history.read([NEW])
    assert history.made(ALICE) == 1700000001.5
    history.read([ended(NEW, 1700000031.0)])
    assert history.made(ALICE) is None


def test_what_was_done_to_the_router_stands_among_its_events() -> None:
    history = History()
    history.tell("rebind", "all mappings are forgotten")
    (event,) = history.events()
    assert (event["event"], event["verb"], event["text"]) == ("verb", "rebind", "all mappings are forgotten")


def test_a_stranger_who_makes_many_mappings_does_not_fill_the_memory() -> None:
    history = History()
    for port in range(MOST_EVENTS + 9):
        history.read([NEW.replace("sport=5060 dport=5060 [U", f"sport={port} dport=5060 [U")])
    assert len(history.events()) == MOST_EVENTS
