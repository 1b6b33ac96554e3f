"""The phones obey the headers, wait for nothing for ever, and read their counts by name."""

from __future__ import annotations

import re
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest

from sipp_scenarios import parts
from sipp_scenarios.legs import CALL_S, THIRD_ANSWERS, both_ways, patience
from sipp_scenarios.phone import REGISTER_S
from sipp_scenarios.sipp import END_S, Counts, Sipp, Voice

ALL = sorted(path.stem for path in parts.SCENARIOS.glob("*.xml"))
FLOWS = [scenario for scenario in ALL if scenario.startswith("ua")]
CALLERS = [scenario for scenario in FLOWS if scenario.startswith("uac_")]
CALLED = [scenario for scenario in FLOWS if scenario.startswith("uas_")]
HUNG_UP = [each for each in FLOWS if re.search(r"_(call|big|hold|other-port|prack|reinvite|update)$", each)]
REPETITION_MS = 3500  # after which a request goes out for the fourth time (RFC 3261 §17.1.1.2)


def elements(scenario: str) -> list[ElementTree.Element]:
    """Return the scenario's steps with those of its parts, in their order. Raises ParseError."""
    return list(ElementTree.fromstring(parts.scenario(scenario).encode()))


def message(step: ElementTree.Element) -> str:
    """Return what a step sends, or an empty string."""
    return re.sub(r"\n\s+", "\n", (step.text or "").strip()) if step.tag == "send" else ""


def is_in_dialog(sent: str) -> bool:
    """Say whether a message belongs to a dialog: its To has a tag (RFC 3261 §12.2); not the ACK for a challenge."""
    return bool(sent) and not sent.startswith("SIP/2.0") and "other]\n" in sent


def brings_new_target(step: ElementTree.Element) -> bool:
    """Say whether a step receives a request of the other end whose Contact is the dialog's target from then on."""
    return any(action.get("assign_to") == "refreshed_contact,refreshed" for action in step.iter("ereg"))


def header(sent: str, name: str) -> str:
    """Return the value of a header."""
    found = re.search(rf"^{name}: (.*)$", sent, re.MULTILINE)
    assert found, sent
    return found[1]


def waits(scenario: str) -> list[ElementTree.Element]:
    """Return the steps that receive."""
    return [step for step in elements(scenario) if step.tag == "recv"]


def test_every_flow_has_its_two_scenarios() -> None:
    assert parts.flows() == [
        "attended", "big", "call", "hold", "message", "other-port", "prack", "refer", "reinvite", "subscribe", "update",
    ]  # fmt: skip
    assert {parts.callee(flow) for flow in parts.flows()} <= set(CALLED)
    assert parts.callee("hold") == "uas_hold"
    assert parts.callee("big") == "uas_call"
    assert set(THIRD_ANSWERS) <= set(parts.flows())
    assert {parts.callee(flow) for flow in THIRD_ANSWERS.values()} == {"uas_call", "uas_attended_target"}


def test_a_new_target_is_read_from_whatever_request_may_bring_one() -> None:
    within = [
        (scenario, step) for scenario in FLOWS for step in waits(scenario)
        if step.get("request") in {"INVITE", "UPDATE"} and step.get("timeout")
        and scenario != "uas_attended_target"  # its second INVITE is another dialog's
    ]  # fmt: skip
    assert {scenario.partition("_")[2] for scenario, _ in within} == {"hold", "reinvite", "update"}
    assert all(brings_new_target(step) for _, step in within)


def test_something_can_happen_in_mid_call_before_the_caller_says_more() -> None:
    assert parts.eventful() == ["call", "hold", "reinvite", "update"]
    for flow in parts.eventful():
        steps = elements(f"uac_{flow}")
        assert "eventful" in str(steps[0].get("variables")).split(",")
        said = [message(step).partition(" ")[0] for step in steps]
        logged = [[log.get("message") for log in step.iter("log")] for step in steps]
        up = logged.index(["up"])
        assert "ACK" in said[:up]
        assert not {"BYE", "UPDATE"} & set(said[:up])
        assert {"BYE", "UPDATE", "INVITE"} & set(said[up:])
        assert steps[up + 1].tag == "pause"


def test_who_is_heard_plays_from_the_port_that_he_names_when_the_call_is_up_and_hangs_up_afterwards() -> None:
    assert parts.audible() == ["call"]
    for scenario in ("uac_call", "uas_call"):
        steps = list(ElementTree.fromstring(parts.scenario(scenario, times=3, sound_ms=1250).encode()))
        plays = [number for number, step in enumerate(steps) for _ in step.iter("exec")]
        played = {each.get("rtp_stream") for number in plays for each in steps[number].iter("exec")}
        assert played == {"[recording],3,0,PCMU/8000"}
        (listens,) = [number for number, step in enumerate(steps) if step.get("milliseconds") == "1250"]
        said = [message(step).partition(" ")[0] for step in steps]
        assert min(plays) < listens
        assert "BYE" not in said[:listens]
        left = [step.get("timeout") for step in steps if step.tag == "recv" and step.get("request") == "BYE"]
        assert str(1250 + 3900) in left  # who is hung up on waits for it, in no pause
        described = [sent for sent in map(message, steps) if "m=audio" in sent]
        assert described
        assert all("\nm=audio [rtpstream_audio_port] RTP/AVP 0\n" in sent for sent in described)


@pytest.mark.parametrize("scenario", HUNG_UP)
def test_a_bye_is_read_wherever_the_scenario_is(scenario: str) -> None:
    """SIPp does one step for each message that it reads: on a busy machine both wait, and the BYE comes between two."""
    steps = elements(scenario)
    (anywhere,) = [number for number, step in enumerate(steps) if step.get("optional") == "global"]
    assert steps[anywhere].get("request") == "BYE"
    said = [message(step).partition(" ")[0] for step in steps]
    up = min(number for number, step in enumerate(steps) if "ACK" in {step.get("request"), said[number]})
    assert anywhere < up  # what follows is further down
    (gone,) = [number for number, step in enumerate(steps) if step.get("id") == steps[anywhere].get("next")]
    assert message(steps[gone + 1]).startswith("SIP/2.0 200 OK")


@pytest.mark.parametrize(("seconds", "times", "milliseconds"), [(0.5, 1, 550), (1.2, 3, 1250), (5.0, 10, 5050)])
def test_a_recording_is_played_as_often_as_it_takes(seconds: float, times: int, milliseconds: int) -> None:
    voice = Voice("/tmp/alice.pcmu", seconds)
    assert (voice.times, voice.milliseconds) == (times, milliseconds)


@pytest.mark.parametrize("scenario", ALL)
def test_who_is_not_to_be_heard_plays_nothing(scenario: str) -> None:
    text = parts.scenario(scenario)
    assert "rtp_stream" not in text
    assert "rtpstream" not in text
    assert "[recording]" not in text


@pytest.mark.parametrize("scenario", ALL)
def test_a_scenario_parses_and_its_labels_meet(scenario: str) -> None:
    steps = elements(scenario)
    labels = [step.get("id") for step in steps if step.tag == "label"]
    assert len(labels) == len(set(labels))
    assert {step.get(to) for step in steps for to in ("next", "ontimeout")} - {None} <= set(labels)


@pytest.mark.parametrize("scenario", ALL)
def test_no_message_has_an_empty_line_among_its_headers(scenario: str) -> None:
    for sent in filter(None, map(message, elements(scenario))):
        assert re.search(r"^Content-Length: ", sent.partition("\n\n")[0], re.MULTILINE), sent


@pytest.mark.parametrize("scenario", FLOWS)
def test_a_request_within_a_dialog_is_aimed_by_its_route_or_contact_before_it_is_sent(scenario: str) -> None:
    aimed: set[str] = set()
    for step in elements(scenario):
        if brings_new_target(step):
            aimed = set()
        hosts = {str(action.get("host")) for action in step.iter("setdest")}
        if hosts == {f"[${'second_' if any('second_' in host for host in hosts) else ''}contact_host]"}:
            aimed = set()  # each aiming begins with the Contact
        aimed |= hosts
        if is_in_dialog(sent := message(step)):
            which = "second_" if "[$second_other]" in sent else ""
            assert aimed == {f"[${which}contact_host]", f"[${which}route_host]"}, f"{sent} goes where SIPp likes"


@pytest.mark.parametrize("scenario", FLOWS)
def test_a_request_within_a_dialog_bears_the_remote_target_and_the_route_set(scenario: str) -> None:
    sent, target = [], "[next_url]"
    for step in elements(scenario):
        if brings_new_target(step):
            target = "[$refreshed]"  # RFC 3261 §12.2.2
        if not is_in_dialog(request := message(step)):
            continue
        sent.append(request)
        if "[$second_other]" in request:
            assert request.split()[1] == "[$second_target]"
        else:
            assert request.split()[1] == target
            assert "\n[routes]\n" in request
    routed = [request.split()[0] for request in sent if "\nRoute: [$second_record_route]\n" in request]
    assert sorted(routed * 2) == sorted(request.split()[0] for request in sent if "[$second_other]" in request)


@pytest.mark.parametrize("scenario", CALLERS)
def test_the_ack_for_a_challenge_has_the_via_and_the_request_uri_of_its_invite(scenario: str) -> None:
    sent = list(filter(None, map(message, elements(scenario))))
    refused = [number for number, text in enumerate(sent) if re.match(r"ACK sip:", text)]
    invites = [text for text in sent if text.startswith("INVITE sip:")]
    assert len(invites) == 2 * len(refused)
    for number in refused:
        asked, again = (text for text in invites if header(text, "Call-ID") == header(sent[number], "Call-ID"))
        assert header(asked, "Via") == header(sent[number], "Via") != header(again, "Via")
        assert asked.split()[1] == sent[number].split()[1]
        assert "\n[authentication]\n" in again


@pytest.mark.parametrize("scenario", FLOWS)
def test_route_and_contact_are_read_from_what_sets_up_the_dialog(scenario: str) -> None:
    if not any(is_in_dialog(message(step)) for step in elements(scenario)):
        return
    reading = [step for step in waits(scenario) if re.search("contact_host", ElementTree.tostring(step, "unicode"))]
    assert reading
    for step in reading:
        if brings_new_target(step):
            assert step.get("request") in {"INVITE", "UPDATE"}
            continue
        assert step.get("response") in {"183", "200"} or step.get("request") in {"INVITE", "SUBSCRIBE"}
        text = ElementTree.tostring(step, "unicode")
        assert "route_host" in text
        assert (step.get("rrs") == "true") == ("second_" not in text)


@pytest.mark.parametrize("scenario", CALLED)
def test_an_answer_that_makes_a_dialog_copies_the_record_route(scenario: str) -> None:
    for answer in (sent for sent in map(message, elements(scenario)) if re.match(r"SIP/2\.0 (180|183|200)", sent)):
        if "\nContact:" in answer and "[last_To:]\n" not in answer:  # within a dialog the To has its tag already
            assert "\n[last_Record-Route:]\n" in answer or "\n[$vias]\n" in answer


@pytest.mark.parametrize("scenario", [*CALLERS, "register", "leave"])
def test_who_calls_or_registers_waits_for_nothing_for_ever(scenario: str) -> None:
    assert [step.attrib for step in waits(scenario) if not step.get("timeout")] == []


@pytest.mark.parametrize("scenario", FLOWS)
def test_who_gets_no_answer_has_asked_three_times_more_and_gives_up_soon_after(scenario: str) -> None:
    counted = [int(step.get("timeout", REPETITION_MS + 1)) for step in waits(scenario)]
    if scenario == "uas_call":
        counted = [wait for wait in counted if wait < 4000]  # the rest is for people who talk
    assert min(counted) > REPETITION_MS
    assert max(counted) < REPETITION_MS + 500


@pytest.mark.parametrize("scenario", CALLED)
def test_who_is_called_waits_for_ever_only_to_be_asked_or_called(scenario: str) -> None:
    endless = [step for step in waits(scenario) if not step.get("timeout")]
    assert endless[0].get("request") == "OPTIONS"
    assert [step.get("request") for step in endless[1:] if step.get("optional") != "true"] in (
        ["INVITE"], ["MESSAGE"], ["SUBSCRIBE"],
    )  # fmt: skip


def test_who_is_told_to_be_patient_asks_whether_the_caller_is_still_there() -> None:
    patient = next(step for step in waits("uas_call") if step.get("ontimeout"))
    assert (patient.get("request"), patient.get("ontimeout")) == ("BYE", "ask")


def test_who_watches_a_scenario_is_more_patient_than_it_is() -> None:
    register = [step for step in waits("register") if not step.get("optional")]
    assert sum(int(step.get("timeout", "0")) for step in register) / 1000 < REGISTER_S
    for scenario in FLOWS:
        counted = [step for step in waits(scenario) if not step.get("ontimeout")]  # who is patient is not counted
        longest = max(int(step.get("timeout", "0")) for step in counted) / 1000
        assert longest < END_S
        assert 3 * longest < CALL_S  # up to the answer, to the other's request, and to the end
    assert all(patience(leg) > CALL_S for leg in both_ways())


def steps_taken(scenario: str, variables: set[str], most: int) -> list[ElementTree.Element]:
    """Return the first steps that a scenario takes when each request is answered by 200 and these variables are set."""
    steps, known = elements(scenario), set(variables)
    labels = {step.get("id"): number for number, step in enumerate(steps) if step.tag == "label"}
    taken: list[ElementTree.Element] = []
    at = 0
    while at < len(steps) and len(taken) < most:
        step = steps[at]
        at += 1
        if step.get("response", "200") != "200":
            continue
        taken.append(step)
        known |= {str(action.get("assign_to")) for action in step.iter("todouble") if action.get("variable") in known}
        if step.get("next") and ("test" not in step.attrib or step.get("test") in known):
            at = labels[step.get("next")]
    return taken


def test_who_keeps_a_connection_refreshes_as_often_as_it_is_told_and_says_once_that_it_has_registered() -> None:
    taken = steps_taken("register", {"refresh_ms"}, most=100)
    pauses = [step for step in taken if step.tag == "pause"]
    sent = [step for step in taken if message(step).startswith("REGISTER ")]
    assert len(pauses) > 3
    assert len(sent) - len(pauses) in (0, 1)
    assert {(step.get("variable"), step.get("milliseconds")) for step in pauses} == {("pause_ms", None)}
    assert [log.get("message") for step in taken for log in step.iter("log")] == ["registered"]


def test_who_registers_by_udp_does_so_once() -> None:
    taken = steps_taken("register", set(), most=100)
    assert len([step for step in taken if message(step).startswith("REGISTER ")]) == 1
    assert not [step for step in taken if step.tag == "pause"]


@pytest.mark.parametrize("scenario", ALL)
def test_every_branch_and_tag_of_a_phones_own_bears_the_run(scenario: str) -> None:
    """In a container SIPp's process id repeats, and with it its branches and tags."""
    for sent in map(message, elements(scenario)):
        own = re.findall(r"^(?!Replaces).*;(?:branch|tag)=(\S+)", sent, re.MULTILINE)
        assert all("[run]" in value for value in own)


@pytest.mark.parametrize("scenario", ALL)
def test_what_needs_an_answer_is_sent_again_until_it_comes(scenario: str) -> None:
    for step in elements(scenario):
        sent = message(step)
        if sent.startswith("SUBSCRIBE sip:"):
            assert step.get("retrans") == "0"  # SIPp would answer no NOTIFY before its own request is answered
        elif re.match(r"(?!ACK|SIP/)|SIP/2\.0 (?:183|200 OK\n.*\nv=0)", sent, re.DOTALL) and sent:
            assert step.get("retrans") == "500", sent
        else:
            assert step.get("retrans") is None


# ── parts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """A function that writes a scenario and its parts, and returns the scenario as SIPp reads it."""
    monkeypatch.setattr(parts, "SCENARIOS", tmp_path)
    (tmp_path / "parts").mkdir()

    def write(scenario: str, **texts: str) -> str:
        (tmp_path / "uac_x.xml").write_text(scenario)
        for name, text in texts.items():
            (tmp_path / "parts" / f"{name}.xml").write_text(text)
        return parts.scenario("uac_x")

    return write


def test_a_part_stands_where_it_is_named_with_what_it_is_given(written: Callable[..., str]) -> None:
    part = '<!-- why -->\n<?default b="2"?>\n<send>{a} {b}\n{c}\n</send>'
    assert written('<?part p a="1" c=""?>\n', p=part) == "<send>1 2\n</send>\n"


def test_the_same_part_twice_has_labels_of_its_own(written: Callable[..., str]) -> None:
    found = written("<?part p?><?part p?>", p='<label id="up{here}"/>')
    assert len(set(re.findall(r'id="(\w+)"', found))) == 2


def test_a_variable_that_is_named_once_is_named_again_at_the_end(written: Callable[..., str]) -> None:
    found = written('<scenario><?part p?>\n</scenario>', p='<ereg assign_to="one,two"/>')
    assert found.endswith('<Reference variables="one,two"/>\n</scenario>')


@pytest.mark.parametrize(
    ("scenario", "complaint"),
    [("<?part p?>", "part p is not told a"), ('<?part p a="1" z="2"?>', "part p has no place for z")],
)
def test_a_part_that_is_told_too_little_or_too_much_is_refused(
    written: Callable[..., str], scenario: str, complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        written(scenario, p="{a}")


# ── counts, from a SIPp that only writes a statistics file ────────────────────────────────────────────────────────

FAKE = """\
#!/bin/sh
while [ $# -gt 0 ]; do
    case $1 in -stf) statistics=$2 ;; -log_file) export LOG=$2 ;; esac
    shift
done
cat "$STATISTICS" >"$statistics"
exec %s
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for SIPp's files, with a `sipp` on the PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("PROXY_IP", "127.0.0.1")
    monkeypatch.setenv("STATISTICS", str(tmp_path / "statistics"))
    return tmp_path


def started(folder: Path, statistics: str, then: str) -> Sipp:
    """Start a SIPp that leaves these statistics."""
    (folder / "statistics").write_text(statistics)
    (folder / "sipp").write_text(FAKE % then)
    (folder / "sipp").chmod(0o755)
    return Sipp("uac_call", folder / "run", "r", [])


def run(folder: Path, statistics: str, then: str = "true", seconds: float = 20.0) -> Counts:
    """Run a SIPp that leaves these statistics."""
    return started(folder, statistics, then).wait(seconds)


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


# In the place of SIPp: its call is up until it is told to go on.
UP = r"""trap "kill \$!; exit 7" CONT; echo up >$LOG; sleep 60 & wait"""


def test_while_something_happens_in_its_call_sipp_stands_still_and_then_goes_on(folder: Path) -> None:
    state = folder / "pid"
    sipp = started(folder, f"{HEAD}a;0;0;0;0;0;1;\n", f"sh -c 'echo $$ >{state}; {UP}'")
    happened = []

    def happen() -> None:
        deadline = time.monotonic() + 10
        while "State:\tT" not in Path(f"/proc/{state.read_text().strip()}/status").read_text():
            assert time.monotonic() < deadline
        happened.append(sipp.is_running())

    sipp.when_up(happen)
    assert happened == [True]
    assert sipp.wait(20) == Counts(1, 0, 0, 7)


def test_nothing_happens_in_a_call_that_never_comes_up(folder: Path) -> None:
    started(folder, HEAD, "sh -c 'echo begun >$LOG'").when_up(lambda: pytest.fail("it happened"))


def test_a_sipp_is_not_left_standing_when_what_should_happen_cannot(folder: Path) -> None:
    def cannot() -> None:
        raise OSError("nobody is there")

    sipp = started(folder, HEAD, f"sh -c '{UP}'")
    with pytest.raises(OSError, match="nobody"):
        sipp.when_up(cannot)
    assert sipp.wait(20).exit_code == 7
