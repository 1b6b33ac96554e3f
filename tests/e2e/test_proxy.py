"""The proxy through the real NAT: killed, without its remedies, asked for passwords, with packets lost, told names."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from labkit import evidence, settings, stack
from labkit.outcome import Exit
from tests.e2e.lab import EVIDENCE, SCRIPTS, Command, Lab, Run, docker, once

pytestmark = pytest.mark.e2e

HERE = Path(__file__).parent
T1_S = 0.5  # RFC 3261 §17.1.1.2
TOLERANCE_S = 0.15
REFUSED_AT_ONCE = {"403", "404", "480"}

Row = dict[str, Any]  # a sighting of story.json


# The lab of this module


class Standing(NamedTuple):
    """A lab that is up, and the run of its first calls."""

    lab: Lab
    first: Run


@pytest.fixture(scope="module")
def standing() -> Iterator[Standing]:
    """A lab of its own: its proxy can be killed, and a name server stands beside it."""
    command = Command("proxy")
    overlay = HERE / "overlays" / "proxy.yaml"
    more = {
        "LAB_OVERLAY": str(overlay),
        "DNS_IP": command.environment["INTERNET_SUBNET"].replace(".0/24", ".53"),
        "DNS_IMAGE": "sip-nat-lab/dns:test",
    }
    base = settings.load().values.get("BASE_IMAGE", "debian:trixie-slim")
    docker("build", "--quiet", "--network", "host", "--build-arg", f"BASE_IMAGE={base}", "--tag", more["DNS_IMAGE"],
           str(HERE / "dns"))  # fmt: skip
    command.environment |= more
    try:
        done = command.run("up")
        assert done.returncode == Exit.PASS, done.stdout + done.stderr
        with pytest.MonkeyPatch.context() as patch:
            for name, value in command.environment.items():
                patch.setenv(name, value)
            found = settings.load()
        found.values |= more
        yield Standing(Lab(found, ["test", "tests/e2e/test_proxy.py"]), command.read(done))
    finally:
        command.run("down")


@pytest.fixture(scope="module")
def lab(standing: Standing) -> Lab:
    """It, in the place of the lab that the other modules share."""
    return standing.lab


def see(lab: Lab) -> Run:
    """Return what the taps have seen since the last run, though no phone was asked to call."""
    run = f"{time.monotonic_ns():x}"
    asking = f"from observer.control import ask; ask('observer', {{'run': '{run}', 'legs': [], 'began': 0}})"
    lab.execute("bob", "python3", "-c", asking)
    folder = evidence.fetch(lab.settings, run)
    assert folder is not None
    return Run(0, folder)


# Killed


RESTART = """
old=$(cat /tmp/pid)
printf '%s\\n' "$@" >/tmp/settings
kill -KILL "$old"
until [ "$(cat /tmp/pid)" != "$old" ] && python3 -m proxy ping; do :; done
"""


def kill(lab: Lab, *variables: str) -> None:
    """Kill the proxy with SIGKILL; return when the next one answers, which has these variables besides its own."""
    lines = [f"export {variable}" for variable in variables]
    lab.execute("proxy", "timeout", "20", "sh", "-c", RESTART, "sh", *lines)


@pytest.fixture
def as_usual(lab: Lab) -> Iterator[None]:
    """Afterwards the proxy has its usual settings, and its usual phones: the journal is theirs."""
    yield
    kill(lab)


def call_after_a_kill(lab: Lab, *variables: str) -> Run:
    """Kill the proxy, and have Bob call Alice before she has registered again, which she does every 20 s."""
    for _ in range(3):
        killed_at = time.time()
        kill(lab, *variables)
        run = lab.call("--from", "bob")
        since = [
            seen["first_line"].split()[0]
            for seen in run.messages
            if seen["time"] > killed_at and (seen["tap"] == "nat-lan" or seen["first_line"].startswith("INVITE "))
        ]
        if "REGISTER" not in since[: since.index("INVITE")]:
            return run
    raise AssertionError("Alice has registered between kill and call, three times")


def test_killed_after_alice_has_registered_the_proxy_still_knows_where_she_is(lab: Lab) -> None:
    run = call_after_a_kill(lab)
    assert run.code == Exit.PASS, run.explain()
    assert arrivals(run.messages, "INVITE ", lab.settings.values["ALICE_IP"])


def test_without_its_journal_a_proxy_that_was_killed_does_not_know_her(lab: Lab, as_usual: None) -> None:
    run = call_after_a_kill(lab, "SIP_PROXY_STATE=")
    assert run.code == Exit.FAIL
    assert "sipp-bob" in run.failed
    assert not arrivals(run.messages, "INVITE ", lab.settings.values["NAT_WAN_IP"])
    refused = [seen["first_line"].split()[1] for seen in run.messages if seen["cseq"] == "2 INVITE"]
    assert REFUSED_AT_ONCE & set(refused)


def statuses(lab: Lab, service: str, uri: str, restarts: Sequence[Sequence[str] | None] = (None,)) -> list[str]:
    """Have a guest call from a phone's machine, and hang up; return the final statuses of the INVITE and each BYE.

    There is a BYE for each of `restarts`; before it the proxy is killed, and started with these variables.
    """
    script = (SCRIPTS / "caller.py").read_text(encoding="utf-8")
    with subprocess.Popen(
        stack.inside(lab.settings, service, "python3", "-c", script, uri),
        env=lab.settings.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as guest:  # fmt: skip
        assert guest.stdin is not None
        assert guest.stdout is not None
        found = [guest.stdout.readline().strip()]
        for variables in restarts if found == ["200"] else ():
            if variables is not None:
                kill(lab, *variables)
            guest.stdin.write("\n")
            guest.stdin.flush()
            found.append(guest.stdout.readline().strip())
    return found


@pytest.mark.parametrize(("caller", "callee"), [("alice", "bob"), ("bob", "alice")])
def test_killed_in_mid_call_the_proxy_still_routes_the_bye(lab: Lab, caller: str, callee: str) -> None:
    values = lab.settings.values
    assert statuses(lab, caller, f"sip:{callee}@{values['PROXY_IP']}:5060", [()]) == ["200", "200"]
    assert len(arrivals(once(see(lab).messages), "BYE ", values[f"{callee.upper()}_IP"])) == 1


def test_a_proxy_without_the_key_of_the_one_before_believes_none_of_its_routes(lab: Lab) -> None:
    values = lab.settings.values
    restarts = [["SIP_PROXY_STATE="], []]
    assert statuses(lab, "bob", f"sip:alice@{values['PROXY_IP']}:5060", restarts) == ["200", "403", "200"]
    (bye,) = arrivals(once(see(lab).messages), "BYE ", values["ALICE_IP"])
    assert bye["cseq"] == "3 BYE", "the one that was sent when the key was back"


def arrivals(rows: Sequence[Row], first: str, address: str) -> list[Row]:
    """Return those sightings of messages that begin so, sent to an address, at the tap that is next to it."""
    tap = "nat-lan" if address.startswith("10.") else "proxy"
    return [
        seen for seen in rows
        if seen["tap"] == tap and seen["first_line"].startswith(first) and seen["destination"].startswith(f"{address}:")
    ]  # fmt: skip


# Without its remedies


@contextmanager
def without(lab: Lab, remedies: str) -> Iterator[None]:
    """The proxy lacks these remedies. What it still repeats when the run is judged is of no later run."""
    kill(lab, f"SIP_PROXY_WITHOUT={remedies}")
    try:
        yield
    finally:
        kill(lab)
        see(lab)


@pytest.mark.parametrize(
    ("remedies", "must_fail"),
    [
        # `./lab experiments` has each by itself.
        pytest.param("rport", {"answers-to-source", "via-received-rport"}, marks=pytest.mark.long),
        pytest.param("flow", {"no-private-on-internet", "sipp-bob"}, marks=pytest.mark.long),
        ("received,rport", {"answers-to-source", "via-received-rport", "no-private-on-internet"}),
    ],
)
def test_without_a_remedy_the_call_breaks_where_it_should(
    lab: Lab, capfd: pytest.CaptureFixture[str], remedies: str, must_fail: set[str]
) -> None:
    with without(lab, remedies):
        run = lab.call()
    assert run.code == Exit.FAIL, run.explain()
    assert run.verdict == "fail"
    assert must_fail <= run.failed, run.explain()
    assert {"nat-kind", "no-leak"}.isdisjoint(run.failed), run.explain()
    assert "verdict: FAIL" in capfd.readouterr().out
    assert {path.name for path in run.folder.iterdir()} >= EVIDENCE
    assert "MASQUERADE" in (run.folder / "nat.txt").read_text(encoding="utf-8")
    log = (run.folder / "containers.log").read_text(encoding="utf-8")
    assert f"SIP proxy without {remedies.replace(',', ', ')}\n" in log


@pytest.mark.long  # `./lab experiments` has it too
def test_without_contact_neither_bobs_bye_nor_his_ack_reaches_alice(lab: Lab) -> None:
    with without(lab, "contact"):
        run = lab.call()
    assert run.code == Exit.FAIL, run.explain()
    assert {"contact-public", "no-private-on-internet", "sipp-alice", "sipp-bob"} <= run.failed, run.explain()
    for method in ("BYE", "ACK"):
        seen = [row for row in run.messages if row["first_line"].startswith(f"{method} sip:alice@")]
        assert seen, method
        assert not [row for row in seen if row["tap"] == "nat-lan"], method
        alice = lab.settings.values["ALICE_IP"]
        assert [row for row in seen if row["tap"] == "core" and row["destination"].startswith(alice)], method


# Passwords


@pytest.mark.parametrize(("name", "algorithm"), [("alice", "MD5"), ("bob", "SHA-256")])
def test_sipp_proves_who_it_is(standing: Standing, name: str, algorithm: str) -> None:
    first = once(standing.first.messages)
    rows = [seen for seen in first if seen["tap"] == "proxy" and seen["cseq"].endswith(" REGISTER")
            and re.search(rf"<sip:{name}@", "".join(seen["headers"]))]  # fmt: skip
    credentials = [[line for line in seen["headers"] if line.startswith("Authorization: ")] for seen in rows]
    assert [seen["first_line"].split()[bool(number % 2)] for number, seen in enumerate(rows[:4])] == [
        "REGISTER", "401", "REGISTER", "200",
    ]  # fmt: skip
    assert [bool(lines) for lines in credentials[:4]] == [False, False, True, False]
    assert re.search(rf"algorithm=\"?{algorithm}\b", credentials[2][0])


@pytest.mark.parametrize("service", ["alice", "bob"])
def test_sha_512_256_is_asked_for_and_understood_and_no_answer_counts_twice(lab: Lab, service: str) -> None:
    out = lab.script(service, "sha512")
    assert out.splitlines() == ["none 401 ", "wrong 401 ", "right 200 ", "replayed 401 stale", "removed 200 "]


# Loss


class Loss(NamedTuple):
    """What the router loses: the first message that begins so, on its way to Alice or from her."""

    what: str
    caller: str
    hangup: str
    to_alice: bool
    rule: str


def begins(text: str) -> str:
    """Return the nft match for a UDP payload: it stands behind 8 bytes of header."""
    return f"meta l4proto udp @th,64,{8 * len(text)} 0x{text.encode().hex()}"


LOSSES = (
    Loss("INVITE ", "alice", "callee", False, begins("INVITE ")),
    Loss("INVITE ", "bob", "callee", True, begins("INVITE ")),
    Loss("SIP/2.0 200", "alice", "callee", True, f"{begins('SIP/2.0 200')} udp length > 450"),  # has SDP
    Loss("ACK ", "bob", "callee", True, begins("ACK ")),
    Loss("BYE ", "bob", "callee", False, begins("BYE ")),
    Loss("BYE ", "bob", "caller", True, begins("BYE ")),
)


@contextmanager
def losing(lab: Lab, loss: Loss) -> Iterator[None]:
    """The router drops the first packet that matches, and no other."""
    way = f"ip {'daddr' if loss.to_alice else 'saddr'} {lab.settings.values['ALICE_IP']}"
    rules = f"""
    table ip loss {{
        chain first {{
            type filter hook forward priority -5
            {way} {loss.rule} limit rate 1/hour burst 1 packets drop
        }}
    }}
    """
    lab.execute("nat", "nft", "-f", "-", stdin=rules)
    try:
        yield
    finally:
        lab.execute("nat", "nft", "delete", "table", "ip", "loss")


def intervals(run: Run, tap: str, what: str, to: str) -> list[list[float]]:
    """Return for each message that begins so, sent to an address, the seconds between its sightings at one tap.

    A retransmission is the same bytes between the same addresses (RFC 3261 §17).
    """
    times = defaultdict(list)
    for seen in run.messages:
        address = seen["destination"].partition(":")[0]
        if seen["tap"] == tap and seen["first_line"].startswith(what) and address == to:
            times[seen["source"], seen["destination"], seen["first_line"], *seen["headers"]].append(seen["time"])
    return [[after - before for before, after in itertools.pairwise(each)] for each in times.values()]


def sipp_counts(run: Run) -> list[dict[str, int]]:
    """Return what SIPp counted at both ends of the run's one leg."""
    (leg,) = json.loads((run.folder / "verdict.json").read_text(encoding="utf-8"))["legs"]
    return [leg["alice"], leg["bob"]]


@pytest.mark.alone
@pytest.mark.parametrize(
    "loss", LOSSES, ids=lambda loss: f"{loss.what.strip()} {'to' if loss.to_alice else 'from'} alice"
)
def test_what_the_router_lost_is_sent_again_in_time_and_the_call_is_one_call(lab: Lab, loss: Loss) -> None:
    with losing(lab, loss):
        run = lab.call("--from", loss.caller, "--hangup", loss.hangup)
    values = lab.settings.values
    if loss.to_alice:
        before = intervals(run, "nat-wan", loss.what, values["NAT_WAN_IP"])
        after = intervals(run, "nat-lan", loss.what, values["ALICE_IP"])
    else:
        before = intervals(run, "nat-lan", loss.what, values["PROXY_IP"])
        after = intervals(run, "nat-wan", loss.what, values["PROXY_IP"])
    assert [pytest.approx(T1_S, abs=TOLERANCE_S)] == list(itertools.chain(*before)), "sent again once, in time"
    assert [[] for _ in before] == after, "every message came through once"
    callee = {"alice": "bob", "bob": "alice"}[loss.caller]
    assert len(arrivals(run.messages, "INVITE ", values[f"{callee.upper()}_IP"])) == 1
    for counts in sipp_counts(run):
        assert (counts["successful"], counts["failed"]) == (1, 0)
    # SIPp's own retransmissions, and a BYE that never reached the proxy, are what the verdict counts against the call.
    assert run.failed <= {"sipp-alice", "sipp-bob", "in-dialog-through-proxy"}, run.explain()


@pytest.mark.alone
def test_nothing_is_sent_again_where_nothing_is_lost(lab: Lab) -> None:
    run = lab.call()
    rows = run.messages
    ends = {seen["destination"].partition(":")[0] for seen in rows}
    found = [
        gaps
        for tap in ("nat-lan", "nat-wan", "proxy")
        for what in ("INVITE ", "ACK ", "BYE ", "SIP/2.0 ")
        for end in ends
        for gaps in intervals(run, tap, what, end)
    ]
    assert len(found) > 20
    assert not any(found)


# Names


@pytest.fixture(scope="module")
def trunk(lab: Lab) -> Iterator[Lab]:
    """The lab, where Bob's machine may send to anywhere, and a dead server is given up after 64*T1 = 6.4 s."""
    kill(lab, f"SIP_PROXY_ALLOW={lab.settings.values['BOB_IP']}", "SIP_PROXY_T1=0.1")
    yield lab
    kill(lab)


def test_a_name_leads_by_naptr_srv_and_a_past_a_dead_server_to_bob(trunk: Lab) -> None:
    values = trunk.settings.values
    assert statuses(trunk, "bob", "sip:bob@phones.example") == ["200", "200"]
    seen = [row for row in see(trunk).messages if row["source"] == f"{values['PROXY_IP']}:5060"]
    asked = [row["destination"] for row in seen if row["first_line"] == "INVITE sip:bob@phones.example SIP/2.0"]
    ways = list(dict.fromkeys(asked))
    assert ways == [f"{values['REFLECTOR_IP']}:5099", f"{values['BOB_IP']}:5060"]


def test_a_name_that_does_not_exist_is_502_and_nobody_may_use_the_proxy_to_find_that_out(trunk: Lab) -> None:
    assert statuses(trunk, "bob", "sip:bob@nobody.example") == ["502"]
    assert statuses(trunk, "alice", "sip:bob@phones.example") == ["403"]


def test_a_name_server_that_keeps_silent_is_504(trunk: Lab) -> None:
    server = trunk.container("dns")
    docker("kill", "--signal", "STOP", server)  # `docker pause` fails at times: runc's "unable to freeze"
    try:
        assert statuses(trunk, "bob", "sip:bob@silent.example") == ["504"]
    finally:
        docker("kill", "--signal", "CONT", server)
