"""Both phones behind one router, whether it hairpins or not; and each behind a router of his own."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from labkit import cells, evidence
from nat import kinds
from tests.e2e.lab import Lab, Run, standing

pytestmark = pytest.mark.e2e

ASKING_PORT = 5090  # of whoever asks past the proxy, from Bob's address


@pytest.fixture(scope="module")
def home() -> Iterator[Lab]:
    """A lab in which Alice and Bob have one router. While a phone refreshes, nobody who asks it is answered."""
    with standing("same home", {"PHONE_REFRESH_S": "3600"}, topology="same-home") as lab:
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


# Two homes


@pytest.fixture(scope="module")
def homes() -> Iterator[Lab]:
    """A lab in which each has a router of his own, and the same private address."""
    with standing("two homes", topology="two-homes") as lab:
        yield lab


def tried(lab: Lab, routers: dict[str, str]) -> Run:
    """Have the routers be of these kinds, and both phones register and call each other; return the run."""
    seen = cells.run(lab.settings, routers, "both", lab.again)
    if seen.unsupported:
        pytest.skip(seen.text)
    folder = evidence.fetch(lab.settings, seen.run)
    assert folder
    return Run(0, folder)


def test_two_homes_have_the_same_addresses_and_no_call_comes_to_the_wrong_phone(homes: Lab) -> None:
    run = tried(homes, {"alice": "home", "bob": "symmetric"})
    assert run.verdict == "pass", run.explain()
    private = f"{homes.settings.values['ALICE_IP']}:5060"
    for tap, callee in (("nat-lan", "alice"), ("nat-bob-lan", "bob")):
        inside = [row for row in run.messages if row["tap"] == tap]
        assert private in {row["source"] for row in inside}
        came = [row["first_line"] for row in inside
                if row["first_line"].startswith("INVITE ") and row["destination"] == private]  # fmt: skip
        assert came
        assert all(line.startswith(f"INVITE sip:{callee}@") for line in came)


@pytest.mark.long
@pytest.mark.parametrize("kind", kinds.PRESETS)
def test_every_kind_can_be_bobs_router(homes: Lab, kind: str) -> None:
    assert_as_expected(tried(homes, {"alice": "home", "bob": kind}), kind)


@pytest.mark.long
@pytest.mark.parametrize("kind", kinds.PRESETS)
def test_every_kind_can_be_the_router_of_both(home: Lab, kind: str) -> None:
    run = tried(home, {"alice": kind})
    if kinds.PRESETS[kind].profile["alg"] == "on":
        # With Linux's helper two phones of one home do not come together: it passes Bob's 180, and drops his 200.
        assert run.verdict == "fail", run.explain()
        assert run.facts["answers-lost-at-router"] == "200: the router did not pass it on"
    else:
        assert_as_expected(run, kind)


def assert_as_expected(run: Run, kind: str) -> None:
    """Whatever the router is, it is what it claims, and calls work where UDP does."""
    expected = "fail" if kinds.PRESETS[kind].profile["udp"] == "blocked" else "pass"
    assert run.verdict == expected, run.explain()
