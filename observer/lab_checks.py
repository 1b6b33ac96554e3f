"""Checks of the lab itself: what they find makes a verdict on the calls worthless, whatever the calls did."""

from __future__ import annotations

from observer.case import FAIL, NOT_SEEN, PASS, Case, Check, Judged, verdict
from observer.story import Leg

NO_RESULT = "the start probe left no result"


def nat_kind(case: Case) -> Check:
    """Every router is measured, is of the kind that it claims to be, and was not changed since."""
    missing = [name for name in case.homely if name not in case.probes]
    if missing:
        return Check("nat-kind", NOT_SEEN, f"{NO_RESULT} for {', '.join(missing)}")
    judged = [_kind(case, name) for name in case.homely]
    wrong = [words for fine, words in judged if not fine]
    return Check("nat-kind", FAIL if wrong else PASS, "; ".join(wrong or [words for _, words in judged]))


def _kind(case: Case, name: str) -> tuple[bool, str]:
    probe, home = case.probes[name], case.topology.home_of(name)
    assert home is not None
    whose = "" if len(case.homely) == 1 else f"{name}'s "
    declared, measured, unmeasured = probe["declared"], probe["measured"], probe["unmeasured"]
    wrong = list(probe["wrong"])
    if not wrong:
        untold = [axis for axis in declared if axis not in measured and axis not in unmeasured]
        wrong += [f"{axis}: not measured, and no reason given" for axis in untold]
    if home.router in case.histories and case.histories[home.router].profile != declared:
        now = case.histories[home.router].profile
        axes = ", ".join(f"{axis} {now.get(axis)}" for axis in declared if now.get(axis) != declared[axis])
        wrong.append(f"the router was changed since it was measured: {axes} now")
    if wrong:
        return False, f"{whose}{'; '.join(wrong)}"
    words = ", ".join(f"{axis} {value}" for axis, value in measured.items())
    rest = ", ".join(f"{axis} ({reason})" for axis, reason in unmeasured.items())
    return True, f"{whose}{probe['kind']}: {words}{'; not measured: ' if rest else ''}{rest}"


def no_leak(case: Case) -> Check:
    """There is no way to a phone behind a router but that router."""
    missing = [name for name in case.homely if name not in case.probes]
    if missing:
        return Check("no-leak", NOT_SEEN, f"{NO_RESULT} for {', '.join(missing)}")
    if any("silence" in case.probes[name] for name in case.homely):
        return Check("no-leak", NOT_SEEN, "the probe could not ask")
    leaks = [leak for name in case.homely for leak in case.probes[name]["leaks"]]
    fine = f"no way to {' or '.join(name.capitalize() for name in case.homely)} but the router"
    return Check("no-leak", FAIL if leaks else PASS, "; ".join(dict.fromkeys(leaks)) or fine)


def router_alive(case: Case) -> Check:
    """Every router answers still. One that was killed in mid-run fails the calls, and nobody else is to blame."""
    judged = [(False, f"{router} does not answer: {why}") for router, why in case.silent.items()]
    judged += [(True, f"{router} answers") for router in case.histories]
    return verdict("router-alive", judged)


def router_keeps_bytes(case: Case) -> Check:
    """A router without an application layer gateway changes addresses and ports of packets, and nothing in them."""
    judged: list[Judged] = []
    for journey in case.journeys:
        for leg in journey.legs:
            home = case.topology.behind(leg.by)
            if home is not None and home.profile.get("alg") != "on":
                what = f"{leg.by} changed {leg.seen.first_line}"
                judged += [(False, f"{what}: {change}", leg.seen) for change in _inner(leg)]
                judged.append((True, f"{leg.by} changed addresses only", leg.seen))
    return verdict("router-keeps-bytes", judged)


def _inner(leg: Leg) -> list[str]:
    return [change for change in leg.changes if not change.startswith(("source ", "destination "))]
