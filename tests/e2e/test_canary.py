"""Every kind once, with sound: the canary of the grids, which `./lab test --all` runs whole."""

from __future__ import annotations

import pytest

from labkit import cells, evidence, experiment, nats, settings
from labkit.expectations import ALL_ON, EXPECTATIONS
from nat import kinds
from tests.e2e.lab import Lab

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def failed(lab_settings: settings.Settings) -> dict[int, str]:
    """What `./lab nats` has found out about this kernel."""
    return nats.ask(f"sip-nat-lab/nat:{lab_settings.values['LAB_TAG']}")


@pytest.mark.parametrize("kind", kinds.PRESETS)
def test_the_router_is_what_it_claims_and_bob_reaches_alice_where_he_should(
    router: Lab, failed: dict[int, str], kind: str
) -> None:
    # Which fails for what it only claims to be.
    seen = cells.run(router.settings, {"alice": kind}, "bob", router.again, has_audio=True)
    supported = nats.here(kinds.PRESETS[kind].profile, failed)
    assert supported.startswith("unsupported" if seen.unsupported else "supported"), seen.unsupported
    if seen.unsupported:
        pytest.skip(seen.text)
    if not experiment.is_as_expected(EXPECTATIONS[ALL_ON], kind, seen):
        pytest.fail(f"{seen.text} {seen.failed} {evidence.fetch(router.settings, seen.run)}")
