"""The verdict: named checks on the story, each with its evidence.

A check that the calls which were asked for cannot show (Alice's INVITE when only Bob called) is not listed. One that
they should have shown and did not is `not-seen`, and that is no pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from observer import audio, lab_checks, wire_checks
from observer.case import FAIL, NOT_SEEN, PASS, Case, Check, transaction
from observer.decode import Sighting
from observer.story import Journey, message

T1_S = 0.5  # after which a message is sent again over UDP (RFC 3261 §17.1.1.2)
LAB = ("nat-kind", "no-leak", "router-alive", "router-keeps-bytes")  # one failing means: the lab is broken


def judge(case: Case) -> dict[str, Any]:
    """Return verdict.json: `verdict` is pass, fail or lab-broken; `checks` is the list of all checks."""
    checks = [found for planned, check in CHECKS if (found := _listed(case, planned(case), check))]
    checks += [found for check in MENTIONED_WHEN_THEY_FAIL if (found := check(case)).result == FAIL]
    checks += audio.checks(case)
    checks += [_sipp(case, name) for name in ("alice", "bob") if _counted(case, name, "successful")]
    checks += [_baresip(case, name) for name in ("alice", "bob") if _counted(case, name, "up")]
    broken = any(check.name in LAB and check.result != PASS for check in checks)
    passed = all(check.result == PASS for check in checks)
    verdict = "lab-broken" if broken else "pass" if passed else "fail"
    return {"verdict": verdict, "checks": [asdict(check) for check in checks]}


def _listed(case: Case, planned: bool, check: Callable[[Case], Check]) -> Check | None:
    """Return the check where these calls were to show it; where nobody was called, when something showed it."""
    if not planned and len(case.calls) == len(case.legs):
        return None
    found = check(case)
    return found if planned or found.result != NOT_SEEN else None


def _sipp(case: Case, name: str) -> Check:
    """SIPp at this end: all calls successful, none failed, nothing repeated without cause."""
    counted = _counted(case, name, "successful")
    calls = sum(count for count, _ in counted)
    successful, failed, again = (
        sum(counts[key] for _, counts in counted) for key in ("successful", "failed", "retransmissions")
    )
    caused = min(again, _with_cause(case, name)) if again else 0
    fine = successful == calls and failed == 0 and again == caused
    evidence = f"{successful} of {calls} calls successful, {failed} failed, {again} retransmissions"
    why = f", {caused} of them because somebody took longer than {T1_S} s: nothing was lost" if caused else ""
    return Check(f"sipp-{name}", PASS if fine else FAIL, evidence + why)


def _with_cause(case: Case, name: str) -> int:
    """Return how often this phone repeated a message whose answer came whole, and late, or was itself asked twice: a
    machine was busy, or the line is long. Where a copy, an answer or a question went nowhere, that is why."""
    said: dict[tuple[object, ...], list[Journey]] = {}
    for journey in case.journeys:
        if case.sender(journey) == name:
            said.setdefault(message(journey.first), []).append(journey)
    return sum(_caused(case, copies) for copies in said.values() if len(copies) > 1)


def _caused(case: Case, copies: list[Journey]) -> int:
    """Return how many of a message's copies but the first had a cause."""
    first = copies[0].first
    answers = [journey for journey in case.journeys if _answers(journey.first, first)]
    asked = [journey for journey in case.journeys if _answers(first, journey.first)]
    if any(case.around.losses(journey) for journey in (*copies, *answers, *asked)):
        return 0
    came, asked_at = _arrivals(answers, first), _arrivals(asked, first)
    is_slow = bool(came) and min(came) > first.time + T1_S
    return max(len(copies) - 1 if is_slow else 0, min(len(copies), len(asked_at)) - 1)


def _arrivals(journeys: list[Journey], first: Sighting) -> list[float]:
    """Return when these messages came to who sent the first one, at its tap."""
    return [seen.time for journey in journeys for leg in journey.legs for seen in leg.sightings
            if seen.tap == first.tap and seen.destination == first.source]  # fmt: skip


def _answers(seen: Sighting, said: Sighting) -> bool:
    """Say whether this is an answer to what somebody said: a response to a request, an ACK to a final response."""
    if said.is_request:
        return not seen.is_request and transaction(seen) == transaction(said)
    is_acknowledged = said.method == "INVITE" and said.status >= 200
    return is_acknowledged and (seen.call_id, seen.cseq, seen.method) == (said.call_id, said.cseq, "ACK")


def _baresip(case: Case, name: str) -> Check:
    """baresip at this end: all calls were up, and all have ended."""
    counted = _counted(case, name, "up")
    calls = sum(count for count, _ in counted)
    up, ended = (sum(counts[key] for _, counts in counted) for key in ("up", "ended"))
    fine = up == ended == calls
    return Check(f"baresip-{name}", PASS if fine else FAIL, f"{up} of {calls} calls were up, {ended} ended")


def _counted(case: Case, name: str, key: str) -> list[tuple[int, dict[str, int]]]:
    """Return (calls asked for, the phone's counts) of the legs in which this phone counted that."""
    return [(leg["count"], leg[name]) for leg in case.legs if key in leg.get(name, {})]


def _always(_: Case) -> bool:
    return True


def _with_calls(case: Case) -> bool:
    return bool(case.calls) or not case.legs


Planned = Callable[[Case], bool]

# (could these calls show it?, the check), in the order in which they are printed
CHECKS: tuple[tuple[Planned, Callable[[Case], Check]], ...] = (
    (_always, lab_checks.nat_kind),
    (_always, lab_checks.no_leak),
    (lambda case: any(map(case.calls_from, case.homely)), wire_checks.invite_translated),
    (lambda case: any(case.calls_from(name) or case.hangs_up(name) for name in case.homely),
     wire_checks.answers_to_source),
    (_with_calls, wire_checks.via_received_rport),
    (_with_calls, wire_checks.record_route),
    (_with_calls, wire_checks.in_dialog_through_proxy),
    (_with_calls, wire_checks.contact_public),
    (lambda case: any(map(case.is_asked_by_others, case.homely)), wire_checks.contact_restored),
    (_always, wire_checks.no_private_on_internet),
)  # fmt: skip
MENTIONED_WHEN_THEY_FAIL: tuple[Callable[[Case], Check], ...] = (lab_checks.router_alive, lab_checks.router_keeps_bytes)
