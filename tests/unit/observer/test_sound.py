"""The recordings are what they claim to be, and nothing else is taken for one."""

from __future__ import annotations

import itertools
import math
import random
import time

import pytest

from observer import sound

ALICE, BOB = (sound.linear(sound.recording(name)) for name in ("alice", "bob"))
WIDTH = len(ALICE)


def noise(samples: int, loudness: int = 8000) -> list[int]:
    """Return the same noise every time."""
    chance = random.Random(1)
    return [round(chance.gauss(0, loudness)) for _ in range(samples)]


def tone(hertz: float) -> list[int]:
    """Return a tone as long as a recording."""
    return [round(8000 * math.sin(2 * math.pi * hertz * number / sound.RATE)) for number in range(WIDTH)]


def crossings(samples: list[int]) -> int:
    """Return how often these change their sign."""
    return sum((one < 0) != (other < 0) for one, other in itertools.pairwise(samples))


def test_a_recording_is_half_a_second_in_whole_packets() -> None:
    assert len(sound.recording("alice")) == sound.SECONDS * sound.RATE
    assert WIDTH % sound.PACKET == 0


def test_hers_rises_and_his_falls() -> None:
    eighth = WIDTH // 8
    assert crossings(ALICE[:eighth]) < crossings(ALICE[-eighth:]) / 3
    assert crossings(BOB[:eighth]) > crossings(BOB[-eighth:]) * 3


def test_a_phone_that_plays_nothing_has_no_file(tmp_path: object) -> None:
    assert sound.write("carol", tmp_path) == ""  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("byte", "sample"), [(0xFF, 0), (0x7F, 0), (0x80, 32124), (0x00, -32124), (0xFE, 8), (0xF0, 120), (0xEF, 132)]
)
def test_a_byte_stands_for_the_sample_of_g711s_table(byte: int, sample: int) -> None:
    assert sound.linear(bytes([byte])) == [sample]


def test_what_is_compressed_loses_half_a_step_at_the_most() -> None:
    """G.711's steps are wider the louder it is."""
    wished = [
        sound.LOUDNESS * math.sin(2 * math.pi * (sound.LOW + 3000 * at) * at)
        for at in (number / sound.RATE for number in range(WIDTH))
    ]
    for wish, got in zip(wished, ALICE, strict=True):
        assert abs(wish - got) <= (abs(wish) + sound.BIAS) / 32 + 1


@pytest.mark.parametrize(
    "heard",
    [
        ALICE, [sample // 50 for sample in ALICE], ALICE[77:], [*[0] * 403, *ALICE], ALICE * 10,
        ALICE[: WIDTH // 2], ALICE[WIDTH // 2 :], [0 if number // 160 % 10 == 3 else sample
                                                  for number, sample in enumerate(ALICE)],
    ],
    ids=["itself", "quiet", "cut", "late", "over and over", "its first half", "its second half", "with losses"],
)  # fmt: skip
def test_the_recording_is_recognised(heard: list[int]) -> None:
    assert sound.likeness(ALICE, heard) >= sound.ENOUGH


@pytest.mark.parametrize(
    "heard",
    [[], [0] * WIDTH, BOB, noise(WIDTH), noise(WIDTH, 50), noise(4 * WIDTH), tone(1000), tone(50), ALICE[::-1],
     [1] * WIDTH],
    ids=["nothing", "silence", "the other's", "noise", "soft noise", "long noise", "tone", "hum", "backwards", "click"],
)  # fmt: skip
def test_nothing_else_is(heard: list[int]) -> None:
    assert sound.likeness(ALICE, heard) < 0.1


@pytest.mark.parametrize("spoilt", [[one + two for one, two in zip(ALICE, noise(WIDTH), strict=True)],
                                    ALICE[: WIDTH // 2] + BOB[WIDTH // 2 :], ALICE[::2]],
                         ids=["noisy", "half his", "too fast"])  # fmt: skip
def test_what_is_spoilt_is_not_enough(spoilt: list[int]) -> None:
    assert sound.likeness(ALICE, spoilt) < sound.ENOUGH


def test_five_seconds_of_anything_are_judged_in_a_few_seconds() -> None:
    began = time.process_time()
    sound.likeness(ALICE, noise(10 * WIDTH))
    assert time.process_time() - began < 5
