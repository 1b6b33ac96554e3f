"""Routers that do more harm than most, or have less to give: what becomes of calls behind them, on the wire."""

from __future__ import annotations

import re
import time

import pytest

from tests.e2e.lab import Lab, Run, standing

pytestmark = pytest.mark.e2e

FIXED_S = 20  # within which whatever fails has failed: nobody waits for 64*T1 = 32 s (RFC 3261 §17)
TAKING_S = 15
BIG = 2_800  # bytes, and more, of an INVITE of the flow `big`


# Kinds that have no name. All of it is loaded, and measured but for lifetimes; not all of them every day.
COMBINED = (
    "mapping=address-dependent,lifetime=30,alg=on", "cgnat,block=8",
    *(pytest.param(text, marks=pytest.mark.long) for text in (
        "hairpin=internal", "hairpin=internal,ports=preserved,filtering=endpoint-independent",
        "hairpin=external,filtering=address-dependent,block=30",
        "filtering=endpoint-independent,refresh=outbound,alg=on",
        "filtering=address-dependent,ports=preserved,fragments=dropped", "symmetric,filtering=endpoint-independent",
        "symmetric,block=20", "symmetric,layers=2", "mapping=address-dependent,layers=2,fragments=dropped",
        "mapping=address-dependent,filtering=address-dependent", "cgnat,alg=on,refresh=outbound",
        "naive-linux,alg=on,refresh=outbound", "none,fragments=dropped", "one-to-one,fragments=dropped",
        "one-to-one,udp=blocked", "cgnat,udp=blocked", "port-starved,hairpin=external",
    )),
)  # fmt: skip


@pytest.mark.parametrize("text", COMBINED)
def test_axes_can_be_combined_and_the_router_is_what_they_say(router: Lab, text: str) -> None:
    router.become(text)  # which fails for what it only claims to be


@pytest.fixture
def starved(router: Lab) -> Lab:
    """The shared lab; its router has two ports for each host, and Alice's are taken by other sockets of hers."""
    deadline = time.monotonic() + TAKING_S
    while True:
        router.become("port-starved")
        taken = router.script("alice-home", "take_ports", router.settings.values["PROXY_IP"], "3").split("\n")
        if taken[:3] == ["port", "port", "no port"]:
            return router
        assert time.monotonic() < deadline, taken  # her phone refreshed its registration just then


def ladder(run: Run) -> str:
    """Return what the run's ladder says."""
    return (run.folder / "ladder.txt").read_text(encoding="utf-8")


def changed_by(run: Run, who: str, first_line: str) -> str:
    """Return what somebody changed in the messages that begin so, a line each."""
    rows = [row for row in run.messages if row["by"] == who and row["first_line"].startswith(first_line)]
    assert rows, f"{who} passed no {first_line}"
    return "\n".join(change for row in rows for change in row["changes"])


# A router that reads SIP


@pytest.fixture(scope="module")
def gateway(router: Lab) -> Lab:
    """The shared lab; its router rewrites SIP, and both phones are registered through it."""
    router.become("sip-alg")
    router.register("alice", "bob")
    return router


def test_with_a_sip_alg_calls_work_and_the_ladder_shows_what_the_router_changed(gateway: Lab) -> None:
    run = gateway.call()
    assert run.verdict == "pass", run.explain()
    own, wan = (re.escape(gateway.settings.values[name]) for name in ("ALICE_IP", "NAT_WAN_IP"))
    invite, answer, bye = (changed_by(run, "nat", line) for line in ("INVITE ", "SIP/2.0 200", "BYE "))
    for line in (
        rf"~ Via: SIP/2\.0/UDP {own}:5060;\S+ → SIP/2\.0/UDP {wan}:50\d\d\d;",
        rf"~ Contact: <sip:alice@{own}:5060> → <sip:alice@{wan}:50\d\d\d>",
        rf"~ c=IN IP4 {own} → c=IN IP4 {wan}",
        rf"~ o=.* {own} → o=.* {wan}",
        r"~ Content-Length: +\d+ → \d+",
    ):
        assert re.search(line, invite), invite
        assert re.search(rf" nat: .*\n(?: {{20,}}.*\n)*? {{20,}}{line}", ladder(run)), ladder(run)
    assert re.search(rf"~ Via: SIP/2\.0/UDP {wan}:50\d\d\d;\S+ → SIP/2\.0/UDP {own}:5060;", answer)
    assert re.search(rf"~ (?:BYE|INVITE) sip:alice@{wan}:50\d\d\d\S* SIP/2\.0 → \w+ sip:alice@{own}:5060", bye)
    assert "no-private-on-internet" not in run.failed


@pytest.mark.long
def test_a_sip_alg_sends_answers_to_the_port_that_the_via_names_and_not_where_the_phone_speaks_from(
    gateway: Lab,
) -> None:
    """The kernel's helper does so for the sake of some phones (nf_conntrack_sip: forced_dport), whatever rport says."""
    run = gateway.call("--from", "alice", "--flow", "other-port")
    own = gateway.settings.values["ALICE_IP"]
    refused = [row for row in run.messages if row["first_line"].startswith("SIP/2.0 407") and row["tap"] == "nat-lan"]
    assert {row["destination"] for row in refused} == {f"{own}:5062"}
    assert re.search(rf"destination \S+ → {re.escape(own)}:5062", changed_by(run, "nat", "SIP/2.0 407"))
    assert f"✗ nobody listens at {own}:5062: the phone speaks from 5060" in ladder(run)
    assert run.facts["answers-unheard"].startswith(f"407: nobody listens at {own}:5062")
    assert run.verdict == "fail"
    assert run.checks["answers-to-source"] == "pass", run.explain()  # the proxy is not to blame


# A router that drops fragments


def sizes(run: Run, caller: str, tap: str) -> list[int]:
    """Return how many bytes each INVITE of a caller has that was seen at a tap, wherever it went."""
    found = []
    for row in run.messages:
        is_his = any(line.startswith(f"From: <sip:{caller}@") for line in row["headers"])
        if is_his and row["tap"] == tap and row["first_line"].startswith("INVITE "):
            body = next(int(line.partition(":")[2]) for line in row["headers"] if line.startswith("Content-Length:"))
            found.append(sum(len(line) + 2 for line in (row["first_line"], *row["headers"], "")) + body)
    return found


def lasted(run: Run) -> float:
    """Return for how many seconds the phones tried, as the taps saw it."""
    moments = [row["time"] for row in run.messages]
    return float(max(moments) - min(moments))


@pytest.mark.parametrize("caller", ["alice", pytest.param("bob", marks=pytest.mark.long)])
def test_an_invite_in_fragments_is_lost_and_it_is_said_why(router: Lab, caller: str) -> None:
    router.become("fragment-hostile")
    router.register("alice", "bob")
    run = router.call("--from", caller, "--flow", "big")
    assert lasted(run) < FIXED_S
    before, behind = ("nat-lan", "nat-wan") if caller == "alice" else ("nat-wan", "nat-lan")
    assert min(sizes(run, caller, before)) > BIG
    assert sizes(run, caller, behind) == []
    callee = {"alice": "Bob", "bob": "Alice"}[caller]
    lost = "the router did not pass it on: it drops fragments"
    told = rf"{caller.capitalize()}'s INVITE to {callee}: {lost}, and \d{{4}} bytes do not go in one packet"
    assert re.fullmatch(told, run.facts["request-lost-at-router"]), run.facts
    assert "callee-never-rings" in run.facts
    assert run.verdict == "fail"
    assert f"✗ {lost}" in ladder(run)
    assert router.call("--from", caller).verdict == "pass"  # what goes in one packet passes


@pytest.mark.long
def test_by_tcp_the_same_invite_arrives() -> None:
    with standing("tcp", transport="tcp", nat="fragment-hostile") as lab:
        for caller in ("alice", "bob"):
            run = lab.call("--from", caller, "--flow", "big")
            assert run.verdict == "pass", run.explain()
            rows = [row for row in run.messages if row["first_line"].startswith("INVITE ")]
            assert {row["transport"] for row in rows if row["tap"] in ("nat-lan", "nat-wan")} == {"tcp"}
            assert max(sizes(run, caller, "nat-lan")) > BIG < max(sizes(run, caller, "nat-wan"))


# A router without a port to spare


def test_a_phone_for_which_the_router_has_no_port_fails_soon_and_it_is_said_why(starved: Lab) -> None:
    run = starved.call("--register", "alice", "--from", "alice")
    assert lasted(run) < FIXED_S
    assert run.verdict == "fail"
    assert run.failed.isdisjoint({"nat-kind", "no-leak"}), run.explain()
    own = starved.settings.values["ALICE_IP"]
    taken = rf"every port that it has for {re.escape(own)} is taken, by \d+, \d+ there"
    lost = f"the router did not pass it on: {taken}"
    assert re.search(rf"Alice's (?:REGISTER|INVITE to Bob): {lost}", run.facts["request-lost-at-router"]), run.facts
    assert "callee-never-rings" in run.facts
    assert len(re.findall(f"✗ {lost}", ladder(run))) >= 2
    assert {row["tap"] for row in run.messages if row["source"].startswith(own)} == {"nat-lan"}
