"""The call through the real NAT, as the wire tells it."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from tests.e2e.lab import Lab, once

pytestmark = pytest.mark.e2e

ALL_CHECKS = {
    "nat-kind", "no-leak", "invite-translated", "answers-to-source", "via-received-rport", "record-route",
    "in-dialog-through-proxy", "contact-public", "contact-restored", "no-private-on-internet", "sipp-alice", "sipp-bob",
}  # fmt: skip


def test_alice_and_bob_call_each_other_through_the_nat(lab: Lab) -> None:
    run = lab.call()
    assert run.code == 0, run.explain()
    assert run.verdict == "pass"
    assert set(run.checks) == ALL_CHECKS
    for name in ("nat-lan.pcap", "nat-wan.pcap", "proxy.pcap", "core.pcap", "ladder.txt"):
        assert (run.folder / name).stat().st_size > 0


@pytest.mark.parametrize("caller", ["alice", "bob"])
@pytest.mark.parametrize("hangup", ["caller", "callee"])
def test_either_side_may_call_and_either_side_may_hang_up(lab: Lab, caller: str, hangup: str) -> None:
    run = lab.call("--from", caller, "--hangup", hangup)
    assert run.code == 0, run.explain()
    who = caller if hangup == "caller" else {"alice": "bob", "bob": "alice"}[caller]
    byes = [seen for seen in run.messages if seen["first_line"].startswith("BYE ")]
    first = {"alice": lab.settings.values["ALICE_IP"], "bob": lab.settings.values["BOB_IP"]}[who]
    assert byes[0]["source"].startswith(first + ":")


@pytest.mark.parametrize("caller", ["alice", "bob"])
def test_three_calls_in_a_row_pass_as_one_does(lab: Lab, caller: str) -> None:
    run = lab.call("--from", caller, "--count", "3")
    assert run.code == 0, run.explain()
    invites = {seen["call_id"] for seen in run.messages if seen["first_line"].startswith("INVITE ")}
    assert len(invites) == 3


@pytest.mark.alone
@pytest.mark.parametrize("caller", ["alice", "bob"])
def test_fifty_calls_at_once_pass_as_one_does_and_are_really_up_together(lab: Lab, caller: str) -> None:
    run = lab.call("--from", caller, "--count", "50", "--at-once")
    assert run.code == 0, run.explain()
    assert len({seen["call_id"] for seen in run.messages if seen["first_line"].startswith("INVITE ")}) == 50
    invited = [seen for seen in run.messages if seen["cseq"].endswith("INVITE")]
    answered = [seen["time"] for seen in invited if " 200 " in seen["first_line"]]
    ended = [seen["time"] for seen in run.messages if seen["first_line"].startswith("BYE ")]
    assert max(answered) < min(ended)


def test_the_story_joins_every_sighting_of_the_invite(lab: Lab) -> None:
    run = lab.call("--from", "alice")
    values = lab.settings.values
    rows = once(run.messages)
    proven = {seen["journey"] for seen in rows if "Proxy-Authorization" in str(seen["headers"])}
    invite = [
        seen for seen in rows if seen["first_line"].startswith("INVITE ") and seen["journey"] in proven
    ]  # the first one was challenged, and went no further
    assert {seen["journey"] for seen in invite} == {invite[0]["journey"]}
    assert [(seen["tap"], seen["by"]) for seen in invite] == [
        ("nat-lan", ""), ("nat-wan", "nat"), ("proxy", "nat"), ("proxy", "proxy"),
    ]  # fmt: skip
    public = invite[1]["source"]
    assert invite[0]["source"] == f"{values['ALICE_IP']}:5060"
    assert re.fullmatch(rf"{re.escape(values['NAT_WAN_IP'])}:50\d\d\d", public)
    assert f"source {invite[0]['source']} → {public}" in invite[1]["changes"]
    by_proxy = "\n".join(invite[3]["changes"])
    assert f"received={values['NAT_WAN_IP']}" in by_proxy
    assert f"rport={public.rpartition(':')[2]}" in by_proxy
    assert f"+ Record-Route: <sip:{values['PROXY_IP']}:5060;lr" in by_proxy


def test_the_ladder_says_what_router_and_proxy_changed(lab: Lab) -> None:
    ladder = (lab.call("--from", "alice").folder / "ladder.txt").read_text(encoding="utf-8")
    assert re.search(r"── INVITE bob ─+▶", ladder)
    assert f"nat:   source {lab.settings.values['ALICE_IP']}:5060 → {lab.settings.values['NAT_WAN_IP']}:50" in ladder
    assert "proxy: destination" in ladder
    assert "~ Contact: <sip:alice@" in ladder


def test_options_does_not_spend_the_waiting_phones_call(lab: Lab) -> None:
    values = lab.settings.values
    answers = lab.script("bob", "options", values["PROXY_IP"], values["BOB_IP"])
    assert answers.splitlines() == ["SIP/2.0 200 OK"] * 3
    run = lab.call("--from", "bob")
    assert run.code == 0, run.explain()


def test_sipp_whose_peer_is_missing_gives_up_in_seconds(lab: Lab) -> None:
    absent = lab.settings.values["INTERNET_GATEWAY"]  # an address where nobody listens on 5060
    out = lab.script("bob", "absent_peer", absent)
    successful, failed, seconds = out.split()
    assert (successful, failed) == ("0", "1")
    assert float(seconds) < 10


def test_rubbish_does_not_stop_the_proxy(lab: Lab) -> None:
    lab.script("bob", "rubbish", lab.settings.values["PROXY_IP"])
    lab.execute("proxy", "python3", "-m", "proxy", "ping")
    run = lab.call("--from", "bob")
    assert run.code == 0, run.explain()


def test_the_containers_have_no_more_rights_than_they_need(lab: Lab) -> None:
    services = json.loads(
        subprocess.run(
            ["docker", "compose", "--project-directory", ".", "config", "--format", "json"],
            env=lab.settings.environment(), capture_output=True, text=True, check=True,
        ).stdout
    )["services"]  # fmt: skip
    allowed = {
        "nat": ["NET_ADMIN"], "core": ["NET_ADMIN"], "alice-home": ["NET_ADMIN"],
        "tap-nat": ["NET_RAW"], "tap-proxy": ["NET_RAW"], "tap-core": ["NET_RAW"],
        "tap-alice": ["NET_RAW"], "tap-bob": ["NET_RAW"],
    }  # fmt: skip
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service.get("cap_add", []) == allowed.get(name, []), name
        assert service["read_only"], name
        published = [port["host_ip"] for port in service.get("ports", [])]
        assert published == (["127.0.0.1"] if name == "page" else []), name
    assert lab.execute("proxy", "id", "-u").strip() != "0"
