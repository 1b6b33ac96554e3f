"""Rows, pictures, Mermaid, the terminal, comments on packets: all of one view; what is in a message is only text."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

from observer.view import drawing, mermaid, packets, schema, terminal
from observer.view.rows import rows, streams
from tests.unit.observer.sightings import Wire, did, good_story, lines, via_alice, via_proxy
from tests.unit.observer.view.views import arrow, drawn, judged

NASTY = '<script>alert(1)</script>"]]>;#\x1b[31m\u202e'


def hostile() -> schema.View:
    """Return a call whose texts want to be something else."""
    wire = Wire()
    first = f"INVITE sip:{NASTY.replace(';', '')}@198.51.100.10 SIP/2.0"
    sent, onward = (lines(first, [via_alice("i")], NASTY, "1 INVITE", f"Subject: {text}") for text in ("", NASTY))
    wire.alice_says(sent, onward)
    return drawn(wire.sightings)


# ── rows ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_a_router_passed_on_is_one_row() -> None:
    found = rows(drawn())
    crossed = next(row for row in found if row.arrows and row.arrows[0]["label"] == "INVITE bob")
    assert [each["origin"]["lane"] for each in crossed.arrows] == ["alice", "nat"]
    assert crossed.translation == "10.77.1.100:5060 → 198.51.100.20:50568"


def test_transactions_are_numbered_as_they_are_drawn() -> None:
    tags = [row.tag for row in rows(drawn()) if row.arrows]
    assert tags[0] == 0
    assert sorted(set(tags)) == list(range(max(tags) + 1))


def test_keep_alives_are_folded() -> None:
    wire = Wire()
    for number in range(5):
        options = lines("OPTIONS sip:alice@10.77.1.100 SIP/2.0", [via_proxy(str(number))], f"k{number}", "1 OPTIONS")
        wire.to_alice(options)
    found = rows(drawn(wire.sightings))
    assert [row.kept for row in found] == ["5 keep-alives (OPTIONS)"]


def test_of_many_calls_the_first_are_drawn() -> None:
    many = [
        replace(seen, call_id=f"{seen.call_id}-{number}", time=seen.time + number)
        for number in range(10)
        for seen in good_story()
        if seen.call_id == "alice-calls"
    ]
    view = drawn(many)
    assert len(view["calls"]) == 10
    assert len({row.arrows[0]["call"] for row in rows(view) if row.arrows}) == 4


def talk(tap: str, origin: str, target: str, source: str, destination: str, start: float) -> schema.Media:
    """Return a stream at a tap."""
    return {
        "tap": tap, "origin": {"lane": origin, "edge": 0}, "target": {"lane": target, "edge": 0}, "source": source,
        "destination": destination, "ssrc": "0x1", "payload": "g711U", "start": start, "end": start + 1, "packets": 50,
        "lost": 0, "jitter": 0.25,
    }  # fmt: skip


def heard() -> schema.View:
    """Return the good calls, with sound in both directions: by one SSRC, and a packet less at Bob's."""
    view = drawn()
    time = view["start"] + 0.01
    hers, outside = "10.77.1.100:40000", "198.51.100.20:50020"
    proxys, his = "198.51.100.10:30000", "198.51.100.200:40000"
    view["media"] = [
        talk("alice", "alice", "nat", hers, proxys, time), talk("nat-lan", "alice", "nat", hers, proxys, time),
        talk("proxy", "nat", "proxy", outside, proxys, time),
        talk("bob", "proxy", "bob", proxys, his, time) | {"packets": 49},
        talk("bob", "bob", "proxy", his, proxys, time), talk("nat-wan", "proxy", "nat", proxys, outside, time),
    ]  # fmt: skip
    return view


def test_a_stream_goes_from_where_it_was_first_seen_to_where_it_was_last() -> None:
    found = [row.stream for row in rows(heard()) if row.stream]
    assert [(stream[0]["origin"]["lane"], stream[-1]["target"]["lane"]) for stream in found] == [
        ("alice", "bob"), ("bob", "nat"),
    ]  # fmt: skip


def test_what_is_heard_is_drawn_everywhere() -> None:
    told = "RTP g711U: 49 packets, 1 lost, jitter 0.2 ms"
    assert told in drawing.svg(heard())
    assert f"L0-)L3: {told}" in mermaid.mermaid(heard())
    line = next(line for line in terminal.draw(heard(), coloured=False) if told in line)
    assert line.rstrip().endswith("═▶│") or line.rstrip().endswith("▶│")


# ── pictures ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_picture_is_whole_by_itself_and_has_every_row() -> None:
    view = drawn()
    picture = ElementTree.fromstring(drawing.svg(view))
    assert len(picture.findall("{http://www.w3.org/2000/svg}g")) == len(rows(view))
    assert "href" not in drawing.svg(view)


def test_text_stays_text_in_the_picture() -> None:
    svg = drawing.svg(hostile())
    assert "<script" not in svg
    assert ElementTree.fromstring(svg) is not None


def test_a_lane_that_is_a_router_is_a_band() -> None:
    assert drawing.svg(drawn()).count('class="band"') == 1


# ── Mermaid ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_mermaid_has_lanes_arrows_and_what_the_router_translated() -> None:
    text = mermaid.mermaid(drawn(events=[did(0.001, "flush", "all forgotten")]))
    assert text.startswith("sequenceDiagram\n    participant L0 as alice<br/>10.77.1.100\n")
    crossed = ["L0->>L1: INVITE bob", "L1->>L2: INVITE bob", "Note over L1: 10.77.1.100:5060 → 198.51.100.20:50568"]
    assert "".join(f"    {line}\n" for line in crossed) in text
    assert "Note over L1: flush: all forgotten" in text


def test_text_stays_text_in_mermaid() -> None:
    said = mermaid.mermaid(hostile())
    assert "<script" not in said
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", said)
    assert "#60;script#62;" in said


# ── the terminal ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_terminals_ladder_has_arrows_from_lane_to_lane() -> None:
    told = list(terminal.draw(drawn(), coloured=False))
    invite = next(line for line in told if "INVITE bob" in line and "┼" in line)
    forwarded = next(line for line in told if "INVITE bob" in line and "┼" not in line)
    assert [place for place, sign in enumerate(invite) if sign in "│┼"] == [
        place for place, sign in enumerate(forwarded) if sign == "│"
    ]
    assert invite.index("▶") + 1 == forwarded.index("── INVITE") - 1
    below = told[told.index(invite) + 1]
    assert below.split() == ["router:", "source", "10.77.1.100:5060", "→", "198.51.100.20:50568"]


def test_colours_are_for_terminals() -> None:
    assert not any("\x1b" in line for line in terminal.draw(drawn(), coloured=False))
    coloured = list(terminal.draw(drawn(), coloured=True))
    plain = [re.sub(r"\x1b\[\d*m|  \[RFC [^]]+\]", "", line) for line in coloured]
    assert plain == list(terminal.draw(drawn(), coloured=False))


def test_nothing_in_a_message_reaches_the_terminal_as_a_command() -> None:
    for coloured in (False, True):
        told = "\n".join(terminal.draw(hostile(), coloured))
        assert "\x1b[31m\u202e" not in told
        assert "\\x1b[31m" in told


def test_a_narrow_terminal_has_narrow_lanes() -> None:
    wide, narrow = (max(map(len, terminal.draw(drawn(), False, columns))) for columns in (160, 70))
    assert narrow < wide or narrow > 70  # what was changed is never cut


def test_what_is_followed_is_drawn_once() -> None:
    view = drawn()
    pen = terminal.Pen(view["lanes"], view["start"], False, 120)
    known: set[str] = set()
    first = list(terminal.follow(view, view["calls"], known, pen))
    assert len(first) > 20
    assert list(terminal.follow(view, view["calls"], known, pen)) == []


# ── comments on packets ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_packet_is_told_what_was_changed_in_it_and_why() -> None:
    told = packets.comment(arrow(drawn(), "alice-calls", "INVITE bob", "proxy"))
    assert told.startswith("proxy → bob: INVITE bob; ")
    assert "proxy: + Record-Route: The proxy asks to stay in the way" in told
    assert "RFC 3261 §16.6 step 4" in told


def test_every_sighting_has_a_comment() -> None:
    view = judged(good_story())
    assert len(packets.comments(view)) == len(good_story())


def test_what_both_say_with_one_ssrc_through_a_relay_are_two_streams() -> None:
    ends = {
        "alice": "10.77.1.100:40000", "nat": "198.51.100.20:50438", "proxy": "198.51.100.10:30000",
        "bob": "198.51.100.200:40000",
    }  # fmt: skip
    heard = [
        _media(tap, origin, target, ends, start)
        for tap, origin, target, start in (
            ("alice", "alice", "nat", 0.0), ("bob", "bob", "proxy", 0.0005), ("nat-wan", "nat", "proxy", 0.001),
            ("proxy", "bob", "proxy", 0.0015), ("proxy", "nat", "proxy", 0.002), ("proxy", "proxy", "bob", 0.003),
            ("proxy", "proxy", "nat", 0.004), ("nat-lan", "nat", "alice", 0.005), ("bob", "proxy", "bob", 0.006),
        )
    ]  # fmt: skip
    view = drawn()
    view["media"] = heard
    told = [(row.stream[0]["origin"]["lane"], row.stream[-1]["target"]["lane"]) for row in streams(view)]
    assert told == [("alice", "bob"), ("bob", "alice")]


def test_sound_that_passes_the_router_twice_is_one_stream() -> None:
    """Both phones are in one home, and the relay is outside."""
    ways = (
        ("alice", "alice", "nat", "10.77.1.100:40000", "198.51.100.10:30000"),
        ("nat-wan", "nat", "proxy", "198.51.100.20:50438", "198.51.100.10:30000"),
        ("nat-wan", "proxy", "nat", "198.51.100.10:30002", "198.51.100.20:50439"),
        ("nat-lan", "nat", "bob", "198.51.100.10:30002", "10.77.1.110:40000"),
    )
    view = drawn()
    view["media"] = [
        {**_media(tap, origin, target, {origin: source, target: destination}, number / 1000)}
        for number, (tap, origin, target, source, destination) in enumerate(ways)
    ]
    (row,) = streams(view)
    assert (row.stream[0]["origin"]["lane"], row.stream[-1]["target"]["lane"]) == ("alice", "bob")


def _media(tap: str, origin: str, target: str, ends: dict[str, str], start: float) -> schema.Media:
    return {
        "tap": tap, "origin": {"lane": origin, "edge": 0}, "target": {"lane": target, "edge": 0},
        "source": ends[origin], "destination": ends[target], "ssrc": "0x1", "payload": "g711U",
        "start": start, "end": start + 1, "packets": 50, "lost": 0, "jitter": 0.0,
    }  # fmt: skip
