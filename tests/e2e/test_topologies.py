"""Both phones behind one router: with the proxy in between it is all the same whether the router hairpins."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.e2e.lab import Lab, Run, standing

pytestmark = pytest.mark.e2e

ASKING_PORT = 5090  # of whoever asks past the proxy, from Bob's address


@pytest.fixture(scope="module")
def home() -> Iterator[Lab]:
    """A lab in which Alice and Bob have one router."""
    with standing("same home", topology="same-home") as lab:
        yield lab


def asked_straight(home: Lab, kind: str) -> tuple[Run, str]:
    """Have the router be of this kind, ask Alice's phone from Bob's address by her public one, and have both call.

    Returns the run, and what came back.
    """
    home.become(kind)
    home.register("alice", "bob")
    shown = home.execute("nat", "natctl", "show")
    public = re.search(rf"^udp {re.escape(home.settings.values['ALICE_IP'])}:5060 +(\S+)", shown, re.MULTILINE)
    assert public, shown
    came = home.script("bob-home", "straight", str(ASKING_PORT), public[1])
    return home.call(), came.strip()


def assert_by_the_proxy(run: Run, home: Lab) -> None:
    """Both calls are whole, and every message of theirs goes to the proxy or comes from it."""
    assert {run.checks["sipp-alice"], run.checks["sipp-bob"]} == {"pass"}, run.explain()
    calls = [row for row in run.messages if not row["call_id"].startswith("straight-")]
    assert {row["cseq"].split()[1] for row in calls} >= {"INVITE", "ACK", "BYE"}
    proxy = f"{home.settings.values['PROXY_IP']}:5060"
    assert [row["first_line"] for row in calls if proxy not in (row["source"], row["destination"])] == []


def straight(run: Run) -> list[tuple[str, str, str]]:
    """Return where the question and the answer that passed the proxy by were seen: tap, source and destination."""
    rows = [row for row in run.messages if row["call_id"].startswith("straight-")]
    return [(row["tap"], row["source"], row["destination"]) for row in rows]


def test_behind_a_router_that_hairpins_they_reach_each_other_straight_too(home: Lab) -> None:
    run, came = asked_straight(home, "hairpin")
    assert_by_the_proxy(run, home)
    assert came == "SIP/2.0 200 OK"
    alice, bob, wan = (home.settings.values[name] for name in ("ALICE_IP", "BOB_HOME_IP", "NAT_WAN_IP"))
    seen = straight(run)
    assert {tap for tap, _, _ in seen} == {"nat-lan"}  # no packet of it leaves the home
    (_, hers, asked), (_, turned, arrived), (_, answered, _), (_, _, back) = seen
    assert (hers, arrived) == (f"{bob}:{ASKING_PORT}", f"{alice}:5060")
    assert asked.startswith(f"{wan}:50")
    assert turned.startswith(f"{wan}:50")  # she sees his public address, not his own (RFC 4787 REQ-9a)
    assert (answered, back) == (f"{alice}:5060", f"{bob}:{ASKING_PORT}")
    assert "request-lost-at-router" not in run.facts


def test_behind_one_that_does_not_only_the_proxy_brings_them_together(home: Lab) -> None:
    run, came = asked_straight(home, "no-hairpin")
    assert_by_the_proxy(run, home)
    assert came == "silence"
    ((tap, source, destination),) = straight(run)
    assert (tap, source) == ("nat-lan", f"{home.settings.values['BOB_HOME_IP']}:{ASKING_PORT}")
    assert destination.startswith(f"{home.settings.values['NAT_WAN_IP']}:50")
    assert "the router does not bring it back in: no hairpin" in run.facts["request-lost-at-router"]
    assert "✗ the router does not bring it back in: no hairpin" in (run.folder / "ladder.txt").read_text()
