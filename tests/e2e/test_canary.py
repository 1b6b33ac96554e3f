"""Every kind once: the canary of the grids, which `./lab test --all` runs whole."""

from __future__ import annotations

import pytest

from labkit import cells
from labkit.expectations import ALL_ON, EXPECTATIONS
from nat import kinds
from tests.e2e.lab import Lab

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("kind", kinds.PRESETS)
def test_the_router_is_what_it_claims_and_bob_reaches_alice_where_he_should(router: Lab, kind: str) -> None:
    seen = cells.run(router.settings, {"alice": kind}, "bob", router.again)  # which fails for what it only claims to be
    if seen.unsupported:
        pytest.skip(seen.text)
    assert seen.causes == EXPECTATIONS[ALL_ON].causes(kind), seen.text
