"""What the pod's program reads of SIPp's files; and the file of users that it is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from labkit.bench.systems import Images, Users, program
from labkit.bench.work import KAMAILIO, OURS, RTPENGINE, WORKS
from tests.bench.sipp import percentile, times

IMAGES = Images("proxy", "phone", "peers", "pypy3")
TRACE = """\
2026-01-01\t00:00:00.100000\t100.100000\tS\t1@x\tCSeq:1 INVITE\tINVITE sip:b@x SIP/2.0
2026-01-01\t00:00:00.101000\t100.101000\tR\t1@x\tCSeq:1 INVITE\tSIP/2.0 100 Trying
2026-01-01\t00:00:00.102500\t100.102500\tR\t1@x\tCSeq:1 INVITE\tSIP/2.0 180 Ringing
2026-01-01\t00:00:00.103000\t100.103000\tR\t1@x\tCSeq:1 INVITE\tSIP/2.0 180 Ringing
2026-01-01\t00:00:00.200000\t100.200000\tS\t2@x\tCSeq:1 INVITE\tINVITE sip:b@x SIP/2.0
2026-01-01\t00:00:00.700000\t100.700000\tS\t2@x\tCSeq:1 INVITE\tINVITE sip:b@x SIP/2.0
2026-01-01\t00:00:00.701000\t100.701000\tR\t2@x\tCSeq:1 INVITE\tSIP/2.0 180 Ringing
2026-01-01\t00:00:00.800000\t100.800000\tS\t3@x\tCSeq:1 INV
"""


def test_a_time_is_from_the_first_sending_to_the_first_answer(tmp_path: Path) -> None:
    trace = tmp_path / "messages"
    trace.write_text(TRACE)
    assert times(trace, "INVITE", "SIP/2.0 180") == pytest.approx([2.5, 501.0])
    assert times(tmp_path / "none", "INVITE", "SIP/2.0 180") == []


@pytest.mark.parametrize(("part", "value"), [(0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100), (0.001, 1)])
def test_a_percentile_is_a_value_that_was_seen(part: float, value: int) -> None:
    assert percentile([float(each) for each in range(1, 101)], part) == value
    assert percentile([], part) is None


def test_shares_of_users_do_not_meet_until_all_have_had_their_turn(tmp_path: Path) -> None:
    users = Users(tmp_path)
    names = [
        line.partition(";")[0]
        for path in (users.share(60_000), users.share(50_000))
        for line in (tmp_path / Path(path).name).read_text().splitlines()[1:]
    ]
    assert len(names) == 110_000
    assert len(set(names[:100_000])) == 100_000
    assert names[100_000:] == names[:10_000]


@pytest.mark.parametrize("name", [name for name in WORKS if not WORKS[name].is_media])
def test_each_system_is_told_to_do_the_same_work(name: str, tmp_path: Path) -> None:
    work = WORKS[name]
    ours = program(OURS, work, IMAGES, Users(tmp_path), 1).variables
    theirs = " ".join(program(KAMAILIO, work, IMAGES, Users(tmp_path), 1).command)
    assert ("SIP_PROXY_USERS" in ours) == ("DIGEST" in theirs or "DBMODE=1" in theirs or "DBMODE=2" in theirs)
    assert {"behind": "DBMODE=2", "through": "DBMODE=1"}.get(work.journal, "CHILDREN=1") in theirs
    assert ours.get("SIP_PROXY_FLUSH") == {"behind": "2", "through": "0"}.get(work.journal)
    assert ("TCP" in theirs) == (work.transport == "tcp")


def test_both_relays_have_the_same_ports(tmp_path: Path) -> None:
    work = WORKS["relay"]
    ours = program(OURS, work, IMAGES, Users(tmp_path), 1).variables
    theirs = " ".join(program(RTPENGINE, work, IMAGES, Users(tmp_path), 1).command)
    first, last = ours["SIP_PROXY_RELAY_PORTS"].split("-")
    assert f"--port-min={first} --port-max={last} --num-threads=1" in theirs
    assert ours["SIP_PROXY_RELAY"] == "always"
