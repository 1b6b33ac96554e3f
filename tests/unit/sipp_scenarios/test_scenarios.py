"""The phones obey the headers, wait for nothing for ever, and read their counts by name."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from sipp_scenarios.phone import CALL_S, REGISTER_S, both_ways, patience
from sipp_scenarios.sipp import END_S, SCENARIOS, Counts, Sipp

CALLS = ("uac_call", "uas_call")
ALL = sorted(path.stem for path in SCENARIOS.glob("*.xml"))

IN_DIALOG = "ACK|BYE|OPTIONS"


def elements(scenario: str) -> list[ElementTree.Element]:
    """Return the scenario's steps, in the order of the file. Raises ParseError."""
    return list(ElementTree.parse(SCENARIOS / f"{scenario}.xml").getroot())


def message(step: ElementTree.Element) -> str:
    """Return what a step sends, or an empty string."""
    return re.sub(r"\n\s+", "\n", (step.text or "").strip()) if step.tag == "send" else ""


def is_in_dialog(sent: str) -> bool:
    """Say whether a message belongs to the call; the ACK for a challenge belongs to its INVITE (RFC 3261 §17.1.1.3)."""
    return re.match(IN_DIALOG, sent) is not None and "branch=[branch-" not in sent


def waits(scenario: str) -> list[ElementTree.Element]:
    """Return the steps that receive."""
    return [step for step in elements(scenario) if step.tag == "recv"]


def test_there_are_the_three_scenarios() -> None:
    assert ALL == ["uac_call", "uac_register", "uas_call"]


@pytest.mark.parametrize("scenario", ALL)
def test_a_scenario_parses_and_its_labels_meet(scenario: str) -> None:
    steps = elements(scenario)
    labels = {step.get("id") for step in steps if step.tag == "label"}
    assert {step.get("next") for step in steps} - {None} <= labels


@pytest.mark.parametrize("scenario", CALLS)
def test_a_request_within_the_call_is_aimed_by_route_or_contact_before_it_is_sent(scenario: str) -> None:
    aimed: list[str] = []
    sent = []
    for step in elements(scenario):
        aimed += [str(action.get("host")) for action in step.iter("setdest")]
        if is_in_dialog(message(step)):
            sent.append(message(step).split()[0])
            assert set(aimed) == {"[$contact_host]", "[$route_host]"}, f"{sent[-1]} goes where SIPp likes"
    assert sent == {"uac_call": ["ACK", "BYE"], "uas_call": ["OPTIONS", "BYE"]}[scenario]


@pytest.mark.parametrize("scenario", CALLS)
def test_a_request_within_the_call_bears_the_remote_target_and_the_route_set(scenario: str) -> None:
    for sent in map(message, elements(scenario)):
        if is_in_dialog(sent):
            assert re.match(rf"({IN_DIALOG}) \[next_url\] SIP/2\.0\n", sent)
            assert "\n[routes]\n" in sent


def test_the_ack_for_a_challenge_has_the_via_and_the_request_uri_of_its_invite() -> None:
    steps = [message(step) for step in elements("uac_call") if step.tag != "label"]
    invite, again = (number for number, sent in enumerate(steps) if sent.startswith("INVITE"))
    ack = next(number for number, sent in enumerate(steps) if sent.startswith("ACK"))
    assert invite < ack < again
    assert f"branch=[branch-{ack - invite}]-[run]" in steps[ack]
    assert steps[ack].split()[1] == steps[invite].split()[1]
    assert "\n[authentication]\n" in steps[again]


@pytest.mark.parametrize("scenario", CALLS)
def test_route_and_contact_are_read_from_what_sets_up_the_dialog(scenario: str) -> None:
    read = {
        header: step
        for step in waits(scenario)
        for action in step.iter("ereg")
        for header in ("Record-Route:", "Contact:")
        if header in (action.get("header") or str(action.get("regexp")))
    }
    assert set(read) == {"Record-Route:", "Contact:"}
    for step in read.values():
        assert step.get("response") == "200" or step.get("request") == "INVITE"
        assert step.get("rrs") == "true"


def test_an_answer_copies_the_record_route() -> None:
    answers = [sent for sent in map(message, elements("uas_call")) if re.match(r"SIP/2\.0 (180|200)", sent)]
    with_contact = [sent for sent in answers if "\nContact:" in sent]
    assert len(with_contact) == 2
    assert all("\n[last_Record-Route:]\n" in sent for sent in with_contact)


@pytest.mark.parametrize("scenario", ["uac_call", "uac_register"])
def test_who_calls_or_registers_waits_for_nothing_for_ever(scenario: str) -> None:
    assert [step.attrib for step in waits(scenario) if not step.get("timeout")] == []


def test_who_is_called_waits_for_ever_only_to_be_asked_or_called() -> None:
    endless = [step for step in waits("uas_call") if not step.get("timeout") and step.get("optional") != "true"]
    assert [step.get("request") for step in endless] == ["INVITE"]


def test_who_is_told_to_be_patient_asks_whether_the_caller_is_still_there() -> None:
    patient = next(step for step in waits("uas_call") if step.get("ontimeout"))
    assert (patient.get("request"), patient.get("ontimeout")) == ("BYE", "ask")


def test_who_watches_a_scenario_is_more_patient_than_it_is() -> None:
    waited = {
        scenario: sum(int(step.get("timeout", "0")) for step in waits(scenario) if not step.get("optional")) / 1000
        for scenario in ALL
    }
    assert waited["uac_call"] < CALL_S
    assert waited["uac_register"] < REGISTER_S
    counted = [step for step in waits("uas_call") if not step.get("ontimeout")]  # who is patient is not counted
    assert max(int(step.get("timeout", "0")) for step in counted) / 1000 < END_S
    assert all(patience(leg) > CALL_S for leg in both_ways())


@pytest.mark.parametrize("scenario", ALL)
def test_every_branch_and_tag_of_a_phones_own_bears_the_run(scenario: str) -> None:
    """In a container SIPp's process id repeats, and with it its branches and tags."""
    for sent in map(message, elements(scenario)):
        assert all("[run]" in value for value in re.findall(r";(?:branch|tag)=(\S+)", sent))


@pytest.mark.parametrize("scenario", ALL)
def test_what_needs_an_answer_is_sent_again_until_it_comes(scenario: str) -> None:
    for step in elements(scenario):
        if re.match(r"INVITE|BYE|REGISTER|SIP/2\.0 200 OK\n.*\nContact:", message(step), re.DOTALL):
            assert step.get("retrans") == "500"


# ── counts, from a SIPp that only writes a statistics file ────────────────────────────────────────────────────────

FAKE = """\
#!/bin/sh
while [ $# -gt 0 ]; do
    case $1 in -stf) statistics=$2 ;; esac
    shift
done
cat "$STATISTICS" >"$statistics"
exec %s
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for SIPp's files, with a `sipp` on the PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("PHONE_IP", "198.51.100.200")
    monkeypatch.setenv("PROXY_IP", "198.51.100.10")
    monkeypatch.setenv("STATISTICS", str(tmp_path / "statistics"))
    return tmp_path


def run(folder: Path, statistics: str, then: str = "true", seconds: float = 20.0) -> Counts:
    """Run a SIPp that leaves these statistics."""
    (folder / "statistics").write_text(statistics)
    (folder / "sipp").write_text(FAKE % then)
    (folder / "sipp").chmod(0o755)
    return Sipp("uac_call", folder / "run", "r", []).wait(seconds)


HEAD = "Time;Retransmissions(P);Retransmissions(C);FailedCall(C);FailedCall(P);SuccessfulCall(P);SuccessfulCall(C);\n"


def test_counts_are_cumulative_and_read_by_column_name(folder: Path) -> None:
    assert run(folder, f"{HEAD}a;9;0;0;9;9;1;\nb;9;3;2;9;9;5;\n") == Counts(5, 2, 3, 0)


def test_a_line_that_sipp_did_not_finish_does_not_count(folder: Path) -> None:
    assert run(folder, f"{HEAD}a;9;3;2;9;9;5;\nb;9;4").successful == 5


def test_the_exit_code_is_sipps(folder: Path) -> None:
    assert run(folder, HEAD, "sh -c 'exit 7'") == Counts(0, 0, 0, 7)


def test_a_sipp_that_does_not_end_is_ended(folder: Path) -> None:
    counts = run(folder, f"{HEAD}a;0;0;0;0;0;1;\n", "sleep 60", seconds=0.5)
    assert (counts.successful, counts.exit_code) == (1, -9)


def test_a_sipp_that_names_its_columns_otherwise_is_no_success(folder: Path) -> None:
    with pytest.raises(KeyError, match="Retransmissions"):
        run(folder, "SuccessfulCall(C);FailedCall(C);Again(C);\n1;0;0;\n")
