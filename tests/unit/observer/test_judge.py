"""The verdict in words: a line per check, and a last one that says it all."""

from __future__ import annotations

from typing import Any

from observer.checks import judge
from observer.judge import EXIT_CODES, words
from tests.unit.observer.sightings import both_legs, case, good_probe


def verdict(without: tuple[str, ...] = (), **given: Any) -> dict[str, Any]:
    """Return the verdict on the good case, but for what is given."""
    judged = case(**given)
    return {**judge(judged), "legs": judged.legs, "without": list(without)}


def test_a_pass_is_one_word() -> None:
    *checks, last = words(verdict()).splitlines()
    assert last == "verdict: PASS  alice → bob, bob → alice"
    assert all(line.startswith("  ✓ ") for line in checks if line)


def test_a_failure_names_what_failed_and_what_was_switched_off() -> None:
    legs = both_legs()
    legs[0]["bob"]["failed"] = 1
    assert words(verdict(("rport",), legs=legs)).splitlines()[-1] == (
        "verdict: FAIL  alice → bob, bob → alice (without rport): sipp-bob"
    )


def test_every_verdict_has_its_exit_code() -> None:
    broken = good_probe() | {"leaks": ["a public host, on-link"]}
    found = [verdict(), verdict(sightings=[]), verdict(probe=broken)]
    assert [EXIT_CODES[one["verdict"]] for one in found] == [0, 1, 3]
