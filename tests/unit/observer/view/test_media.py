"""What tshark counts of RTP."""

from __future__ import annotations

import pytest

from observer.view import media
from observer.view.media import read
from observer.view.tail import Packet, file
from tests.unit.observer.sightings import TOPOLOGY

TABLE = """========================= RTP Streams ========================
   Start time      End time     Src IP addr  Port    Dest IP addr  Port       SSRC          Payload  Pkts         Lost   Min Delta(ms)  Mean Delta(ms)   Max Delta(ms)  Min Jitter(ms) Mean Jitter(ms)  Max Jitter(ms) Problems?
     1.063950      1.542162  198.51.100.200 40000     10.77.1.100 40000 0x7BA7A096            g711U    25     0 (0.0%)          16.198          19.925          20.361           0.023           0.252           0.497 
     1.057092      1.537006   198.51.100.20 50793  198.51.100.200 40000 0x4D55AA3A  telephone-event    23     2 (8.0%)          16.274          19.996          20.435           0.026           0.334           0.517 X
==============================================================
"""  # noqa: E501, W291


def test_a_stream_has_ends_counts_and_times() -> None:
    lost, passed = read(TABLE.splitlines(), "bob", TOPOLOGY, 1000.0)
    assert (lost["origin"]["lane"], lost["target"]["lane"]) == ("bob", "core")  # a private address, on the Internet
    assert (passed["origin"], passed["target"]["lane"]) == ({"lane": "nat", "edge": 1}, "bob")
    assert (passed["packets"], passed["lost"], passed["jitter"], passed["payload"]) == (23, 2, 0.334, "telephone-event")
    assert passed["start"] == pytest.approx(1001.057092)
    assert passed["end"] == pytest.approx(1001.537006)
    assert passed["ssrc"] == "0x4d55aa3a"


def test_at_home_the_router_stands_for_everybody_outside() -> None:
    row = TABLE.replace("198.51.100.200 40000     10.77.1.100", "   10.77.1.100 40000  198.51.100.200")
    first = next(iter(read(row.splitlines(), "nat-lan", TOPOLOGY, 0.0)))
    assert (first["origin"], first["target"]) == ({"lane": "alice", "edge": 0}, {"lane": "nat", "edge": 0})


def test_packets_of_several_taps_are_counted_each_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same packet is seen at all of them: counted together it would look as if it had come twice."""
    given: list[bytes] = []

    def table(source: str, capture: bytes) -> list[str]:
        given.append(capture)
        return TABLE.splitlines() if source == "-" else []

    monkeypatch.setattr(media, "_table", table)
    packets = [Packet(tap, 1000 + number, 0, 60, bytes(60)) for number in range(3) for tap in ("bob", "proxy")]
    found = media.of_packets(packets, TOPOLOGY)
    assert given == [file(packets[0::2]), file(packets[1::2])]
    assert sorted({each["tap"] for each in found}) == ["bob", "proxy"]
    assert [each["start"] for each in found] == sorted(each["start"] for each in found)
