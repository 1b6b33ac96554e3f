"""What parsers keep."""

from __future__ import annotations

import pytest

from proxy.sip import memory
from proxy.sip.memory import remembered, remembered_by_parts


class Asked:
    """A function that counts how often it is asked."""

    def __init__(self) -> None:
        self.texts: list[bytes] = []

    def __call__(self, text: bytes) -> list[bytes]:
        self.texts.append(text)
        if text == b"wrong":
            raise ValueError(text)
        return [text]


def test_a_text_is_read_once_and_its_result_shared() -> None:
    asked = Asked()
    read = remembered(asked)
    assert read(b"a") is read(bytes(bytearray(b"a")))
    assert read(b"b") == [b"b"]
    assert asked.texts == [b"a", b"b"]


def test_what_is_raised_is_not_kept() -> None:
    asked = Asked()
    read = remembered(asked)
    for _ in range(2):
        with pytest.raises(ValueError, match="wrong"):
            read(b"wrong")
    assert asked.texts == [b"wrong"] * 2


def test_a_long_text_is_not_kept() -> None:
    asked = Asked()
    read = remembered(asked)
    for _ in range(2):
        read(b"x" * memory.LONGEST)
        read(b"x" * (memory.LONGEST + 1))
    assert [len(text) - memory.LONGEST for text in asked.texts] == [0, 1, 1]


def test_of_a_tuple_all_its_texts_count() -> None:
    asked: list[tuple[bytes, str, int]] = []
    read = remembered_by_parts(lambda parts: asked.append(parts))
    for length in (memory.LONGEST, memory.LONGEST + 1):
        for _ in range(2):
            read((b"x" * (length - 1), "y", 10**9))
    assert [len(parts[0]) + 1 - memory.LONGEST for parts in asked] == [0, 1, 1]


def test_few_are_kept_whatever_strangers_send(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MOST", 10)
    results = memory._Memory(asked := Asked())
    for number in range(20):
        results[b"%d" % number]
        assert len(results) <= 10
        results[b"often"]
    assert asked.texts.count(b"often") <= 3
