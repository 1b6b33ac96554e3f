"""Which TLS connections outlive a run. What is kept of them is tried in the lab, where tcpdump is: tests/e2e."""

from __future__ import annotations

import pytest

from observer.connections import Connection, open_connections

PHONE, OTHER, PROXY = ("10.77.1.100", 40001), ("10.77.1.110", 40001), ("198.51.100.10", 5061)
# As tcpdump 4.99 prints them.
SYN = "IP 10.77.1.100.40001 > 198.51.100.10.5061: Flags [S], seq 1, win 64240, options [mss 1460], length 0"
ECN_SYN = "IP 10.77.1.100.40001 > 198.51.100.10.5061: Flags [SEW], seq 1, win 64240, length 0"
SYN_ACK = "IP 198.51.100.10.5061 > 10.77.1.100.40001: Flags [S.], seq 7, ack 2, win 65160, length 0"
HIS_FIN = "IP 198.51.100.10.5061 > 10.77.1.100.40001: Flags [F.], seq 8, ack 2, win 502, length 0"
HER_FIN = "IP 10.77.1.100.40001 > 198.51.100.10.5061: Flags [FP.], seq 2:90, ack 8, win 502, length 88"
RST = "IP 198.51.100.10.5061 > 10.77.1.100.40001: Flags [R], seq 8, win 0, length 0"
OTHERS_SYN = "IP 10.77.1.110.40001 > 198.51.100.10.5061: Flags [S], seq 1, win 64240, length 0"

@pytest.mark.parametrize(
    ("lines", "still"),
    [
        ([], []),
        ([SYN, SYN_ACK], [(PHONE, PROXY)]),
        ([ECN_SYN], [(PHONE, PROXY)]),
        ([SYN, SYN_ACK, HIS_FIN], []),
        ([SYN, SYN_ACK, HER_FIN, HIS_FIN], []),
        ([SYN, SYN_ACK, RST], []),
        ([SYN, SYN_ACK, OTHERS_SYN, RST], [(OTHER, PROXY)]),
        ([SYN, HIS_FIN, HER_FIN, SYN], [(PHONE, PROXY)]),  # the same two ends meet again
        (["tcpdump says something else", SYN], [(PHONE, PROXY)]),
    ],
)
def test_a_connection_is_open_from_its_beginning_to_its_end(lines: list[str], still: list[Connection]) -> None:
    assert open_connections(lines) == still
