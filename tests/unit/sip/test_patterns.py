"""The proxy's regular expressions: what every Python that may run it reads alike."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from re import _constants, _parser  # type: ignore[attr-defined]  # what `re` itself is made of

import pytest

import proxy

MISREAD = (_constants.ATOMIC_GROUP, _constants.POSSESSIVE_REPEAT)  # by PyPy 7.3: it finds no match where there is one


def patterns() -> Iterator[tuple[str, re.Pattern[bytes] | re.Pattern[str]]]:
    """Yield every pattern that a module of the proxy has at its top, and its name."""
    for found in pkgutil.walk_packages(proxy.__path__, "proxy."):
        if not found.name.endswith("__main__"):
            for name, value in vars(importlib.import_module(found.name)).items():
                if isinstance(value, re.Pattern):
                    yield f"{found.name}.{name}", value


def misread(pattern: bytes | str) -> bool:
    """Say whether a pattern has a possessive quantifier or an atomic group, at any depth."""

    def has(part: object) -> bool:
        if isinstance(part, tuple | list | _parser.SubPattern):
            return any(map(has, part))
        return any(part is each for each in MISREAD)  # they are equal to the codes of some characters

    return has(_parser.parse(pattern))


@pytest.mark.parametrize("pattern", [b"a++", b"(?:a|b)*+c", b"(?>a|b)c", b"x(?:y|(z?+))"])
def test_what_is_misread_is_found(pattern: bytes) -> None:
    assert misread(pattern)


def test_no_pattern_is_one_that_pypy_misreads() -> None:
    found = dict(patterns())
    assert "proxy.sip.headers._NAME_ADDR" in found
    assert [name for name, pattern in found.items() if misread(pattern.pattern)] == []
