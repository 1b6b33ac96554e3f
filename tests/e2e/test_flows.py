"""What phones do besides calling, through the router: each flow as the wire tells it, message by message.

A ladder here is what one end sends (`>`) and gets (`<`) end to end: what the proxy answers by itself (100, 407, and all
of a transaction that was challenged) is left out. Nothing may be missing, and nothing come twice.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from labkit import settings
from labkit.outcome import Exit
from tests.e2e.lab import Command, Lab, Run, docker, once

pytestmark = pytest.mark.e2e

KINDS = ("home", pytest.param("symmetric", marks=pytest.mark.long))  # of the router
CALLEE = {"alice": "bob", "bob": "alice"}
STUN_IMAGE = "sip-nat-lab/coturn:test"
HERE = Path(__file__).parent

UP = ("> INVITE", "< 180 INVITE", "< 200 INVITE", "> ACK")
OFFER = ("> INVITE", "< 200 INVITE", "> ACK")
ENDED = ("< BYE", "> 200 BYE")
LEFT = ("> BYE", "< 200 BYE")


def mirrored(*steps: str) -> tuple[str, ...]:
    """Return what the other end sees."""
    return tuple(step.translate(str.maketrans("<>", "><")) for step in steps)


TRANSFER = ("> REFER", "< 202 REFER", "< NOTIFY", "> 200 NOTIFY")
TOLD = ("< NOTIFY", "> 200 NOTIFY")
# The caller's; the callee of a transfer has calls of his own besides.
LADDERS: dict[str, tuple[str, ...]] = {
    "big": (*UP, *ENDED),
    "other-port": (*UP, *ENDED),
    "hold": (*UP, *OFFER, *OFFER, *ENDED),
    "reinvite": (*UP, *OFFER, *mirrored(*OFFER), *ENDED),
    "update": (*UP, "> UPDATE", "< 200 UPDATE", "< UPDATE", "> 200 UPDATE", *ENDED),
    "prack": (
        "> INVITE", "< 183 INVITE", "> PRACK", "< 200 PRACK", "< 200 INVITE", "> ACK", *ENDED,
    ),
    "message": ("> MESSAGE", "< 200 MESSAGE", "< MESSAGE", "> 200 MESSAGE"),
    "subscribe": (
        "> SUBSCRIBE", "< NOTIFY", "> 200 NOTIFY", "< 200 SUBSCRIBE",
        "> SUBSCRIBE", "< 200 SUBSCRIBE", "< NOTIFY", "> 200 NOTIFY",
    ),
    "refer": (*UP, *TRANSFER, *TOLD, *LEFT),
}  # fmt: skip

Row = dict[str, Any]  # a sighting of story.json


def method(row: Row) -> str:
    """Return the method of a request, or of the request that is answered."""
    return str(row["cseq"]).split()[1]


def header(row: Row, name: str) -> str:
    """Return the value of a header, or an empty string."""
    lines = (line.partition(":") for line in row["headers"])
    return str(next((value.strip() for key, _, value in lines if key.lower() == name.lower()), ""))


def tag(value: str) -> str:
    """Return the tag of a From or To, or an empty string."""
    return value.partition(";tag=")[2].partition(";")[0]


def end_to_end(run: Run) -> list[Row]:
    """Return all sightings but of registrations, keep-alives, and what the proxy says by itself."""
    rows = [row for row in once(run.messages) if method(row) not in {"REGISTER", "OPTIONS"}]
    challenged = {(row["call_id"], row["cseq"]) for row in rows if " 407 " in row["first_line"]}
    challenged |= {(call_id, cseq.replace("INVITE", "ACK")) for call_id, cseq in challenged}
    return [
        row for row in rows
        if (row["call_id"], row["cseq"]) not in challenged and " 100 " not in row["first_line"]
    ]  # fmt: skip


def seen_at(run: Run, tap: str, end: str) -> list[tuple[str, Row]]:
    """Return what was seen at a tap to and from an end ("address:port"), each as a step of a ladder."""
    found = []
    for row in end_to_end(run):
        if row["tap"] == tap and end in (row["source"], row["destination"]):
            status = re.match(r"SIP/2\.0 (\d+)", row["first_line"])
            what = f"{status[1]} {method(row)}" if status else method(row)
            found.append((f"{'>' if row['source'] == end else '<'} {what}", row))
    return found


def steps(run: Run, tap: str, end: str) -> tuple[str, ...]:
    """Return the ladder of an end."""
    return tuple(step for step, _ in seen_at(run, tap, end))


@pytest.fixture(scope="module", params=KINDS)
def kind(router: Lab, request: pytest.FixtureRequest) -> str:
    """The router is of this kind: it changes once for each, and all tests of that kind come together."""
    router.become(request.param)
    router.register("alice", "bob")
    return str(request.param)


def phones(lab: Lab) -> dict[str, tuple[str, str]]:
    """Return where each phone is seen: the tap next to it, and its address and port."""
    values = lab.settings.values
    return {"alice": ("nat-lan", f"{values['ALICE_IP']}:5060"), "bob": ("proxy", f"{values['BOB_IP']}:5060")}


def assert_routed(run: Run, lab: Lab) -> None:
    """All passes the proxy; what is within a dialog reaches Alice at her own Contact; Bob sees hers public."""
    values = lab.settings.values
    rows = end_to_end(run)
    own = {header(row, "Contact").strip("<>") for row in rows if row["source"] == f"{values['ALICE_IP']}:5060"} - {""}
    public = {row["source"] for row in rows if row["tap"] == "proxy" and row["source"].startswith(values["NAT_WAN_IP"])}
    for row in rows:
        assert values["PROXY_IP"] in row["source"] + row["destination"], f"past the proxy: {row['first_line']}"
        if row["tap"] == "nat-lan" and row["destination"].startswith(values["ALICE_IP"] + ":"):
            request_uri = row["first_line"].split()[1]
            if not row["first_line"].startswith("SIP/") and tag(header(row, "To")):
                assert request_uri in own, f"{row['first_line']}: her own are {own}"
        contact = header(row, "Contact")
        if row["destination"].startswith(values["BOB_IP"] + ":") and "sip:alice@" in contact:
            assert re.search(r"@([\d.]+:\d+)", contact)[1] in public  # type: ignore[index]
            assert contact.count("behind=") == 1


def assert_counted(run: Run) -> None:
    """Both phones say that all went as it should, and no check of the judge has failed."""
    assert {run.checks["sipp-alice"], run.checks["sipp-bob"]} == {"pass"}, run.explain()
    assert "fail" not in run.checks.values(), run.explain()


def passed(lab: Lab, caller: str, flow: str) -> Run:
    """Have a flow done, see it pass router and proxy message by message, and return the run."""
    run = lab.call("--from", caller, "--flow", flow)
    assert steps(run, *phones(lab)[caller]) == LADDERS[flow], run.explain()
    if flow != "refer":  # the one who is transferred calls another besides
        assert steps(run, *phones(lab)[CALLEE[caller]]) == mirrored(*LADDERS[flow])
    assert_routed(run, lab)
    assert_counted(run)
    return run


@pytest.mark.parametrize("flow", ["hold", "reinvite", "update", "prack", "message", "subscribe"])
def test_a_flow_of_alices_passes_router_and_proxy_message_by_message(lab: Lab, kind: str, flow: str) -> None:
    passed(lab, "alice", flow)


@pytest.mark.parametrize("flow", ["message", "subscribe", "prack", "reinvite"])
def test_a_flow_of_bobs_passes_them_the_other_way(lab: Lab, kind: str, flow: str) -> None:
    passed(lab, "bob", flow)


@pytest.mark.parametrize("caller", ["alice", "bob"])
def test_the_one_who_is_transferred_blindly_calls_carol(lab: Lab, kind: str, caller: str) -> None:
    run = passed(lab, caller, "refer")
    transferred = phones(lab)[CALLEE[caller]]
    calls = {row["call_id"] for _, row in seen_at(run, *transferred)}
    (new,) = {call_id for call_id in calls if call_id.startswith("transfer///")}
    steps_of_new = tuple(step for step, row in seen_at(run, *transferred) if row["call_id"] == new)
    assert steps_of_new == (*UP, *LEFT), run.explain()
    carol = f"{lab.settings.values['BOB_IP']}:5070"
    assert steps(run, "proxy", carol) == mirrored(*UP, *LEFT)


@pytest.mark.parametrize("caller", ["alice", "bob"])
def test_an_attended_transfer_puts_the_new_call_in_the_place_of_the_old(lab: Lab, kind: str, caller: str) -> None:
    run = lab.call("--from", caller, "--flow", "attended")
    at_carol = seen_at(run, "proxy", f"{lab.settings.values['BOB_IP']}:5070")
    old, new = (row for step, row in at_carol if step == "< INVITE")
    answered = next(row for step, row in at_carol if step == "> 200 INVITE" and row["call_id"] == old["call_id"])
    assert re.split(r"; ?(?:to|from)-tag=", header(new, "Replaces")) == [
        old["call_id"], tag(header(answered, "To")), tag(header(answered, "From")),
    ], run.explain()  # fmt: skip
    at_transferor = [step for step in steps(run, *phones(lab)[caller]) if step.endswith((" REFER", " NOTIFY"))]
    assert at_transferor == [*TRANSFER, *TOLD], run.explain()
    ended = [(step, row["call_id"]) for step, row in at_carol if step.endswith(" BYE") and "200" not in step]
    assert ended == [("> BYE", old["call_id"]), ("< BYE", new["call_id"])]
    assert_routed(run, lab)
    assert_counted(run)


def test_the_big_invite_is_as_big_as_it_should_be(lab: Lab, kind: str) -> None:
    run = passed(lab, "alice", "big")
    _, invite = seen_at(run, *phones(lab)["alice"])[0]
    size = sum(len(line) + 2 for line in (invite["first_line"], *invite["headers"])) + 2
    assert 2_800 < size + int(header(invite, "Content-Length")) < 3_400


def test_a_phone_that_names_another_port_than_it_sends_from_is_answered_where_it_sends_from(
    lab: Lab, kind: str
) -> None:
    run = passed(lab, "alice", "other-port")
    _, invite = seen_at(run, *phones(lab)["alice"])[0]
    named = f"{lab.settings.values['ALICE_IP']}:5062"
    assert named in header(invite, "Via")
    assert named in header(invite, "Contact")
    assert run.checks["answers-to-source"] == "pass", run.explain()
    bye = next(row for step, row in seen_at(run, *phones(lab)["alice"]) if step == "< BYE")
    assert bye["first_line"].split()[1] == header(invite, "Contact").strip("<>")


def test_an_unknown_flow_is_one_line(lab: Lab) -> None:
    answer = lab.execute("bob", "sh", "-c", "phone call --flow nonsense 2>&1; echo $?").splitlines()
    assert len(answer) == 2
    assert "nonsense: unknown; the flows are attended, big, call" in answer[0]
    assert answer[1] == "2"


def test_a_phone_that_is_told_to_registers_at_once(lab: Lab, kind: str) -> None:
    run = lab.call("--from", "bob", "--register", "alice,bob")
    assert run.code == 0, run.explain()
    registered = [
        row["source"] for row in run.messages
        if row["first_line"].startswith("REGISTER ") and row["tap"] in {"nat-lan", "proxy"}
    ]  # fmt: skip
    assert {end for _, end in phones(lab).values()} <= set(registered)


def test_a_contact_that_a_phone_made_public_by_stun_is_not_rewritten(command: Command) -> None:
    values = command.environment
    base = settings.load().values.get("BASE_IMAGE", "debian:trixie-slim")
    docker("build", "--quiet", "--network", "host", "--build-arg", f"BASE_IMAGE={base}", "--tag", STUN_IMAGE,
           str(HERE / "coturn"))  # fmt: skip
    server = values["INTERNET_SUBNET"].replace(".0/24", ".60")
    values |= {"LAB_OVERLAY": str(HERE / "overlays" / "stun.yaml"), "STUN_IP": server, "STUN_IMAGE": STUN_IMAGE}
    values["SIP_PROXY_RELAY"] = "always"  # it asks for SIP's port only: nothing that Bob's INVITE meets is behind a NAT
    done = command.run("up")
    assert done.returncode == Exit.PASS, done.stdout + done.stderr
    rows = once(command.read(done).messages)
    given = {header(row, "Contact") for row in rows if row["source"] == f"{values['ALICE_IP']}:5060"} - {""}
    (own,) = given
    assert re.fullmatch(rf"<sip:alice@{re.escape(values['NAT_WAN_IP'])}:\d+>", own)
    invites = [row for row in rows if row["first_line"].startswith("INVITE ")]
    at_bob = [row for row in invites if row["destination"] == f"{values['BOB_IP']}:5060"]
    assert [header(row, "Contact") for row in at_bob] == [own]
    at_alice = [row for row in invites if row["destination"] == f"{values['ALICE_IP']}:5060"]
    assert [row["first_line"].split()[1] for row in at_alice] == [own.strip("<>")]
