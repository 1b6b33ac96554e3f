"""Which tests belong to one process when `./lab test` runs them side by side (pytest-xdist, --dist loadgroup)."""

from __future__ import annotations

import pytest

SHARED = {"lab", "router"}  # the fixtures of the lab that many files share


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests in the shared lab stay together; of the others those of a file do."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        group = "the shared lab" if fixtures & SHARED else item.path.name
        item.add_marker(pytest.mark.xdist_group(group))
