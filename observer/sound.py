"""The recordings by which phones are known: a tone that rises is Alice's, one that falls is Bob's; made, not kept.

PCMU (ITU-T G.711, RFC 3551 §4.5.14): 8,000 samples a second, a byte each. What one end heard is held against what the
other plays by their correlation: 1 is the recording itself, whatever its loudness, and 0 has nothing of it.
"""

from __future__ import annotations

import math
import struct
import wave
from collections.abc import Sequence
from operator import mul
from pathlib import Path

RATE = 8000  # samples a second
PACKET = 160  # samples in the 20 ms that a packet carries
SECONDS = 0.5
LOW, HIGH = 300.0, 3300.0  # Hz: what a telephone carries
LOUDNESS = 16_000  # of 32,767
TONES = {"alice": (LOW, HIGH), "bob": (HIGH, LOW)}
BIAS, MOST = 132, 32_635  # of G.711's segments
# Likeness that is recognition. The recording itself has 1; a tenth of it lost leaves 0.95, as much noise as sound 0.7.
# The other phone's, noise, a tone and silence stay below 0.1 (tests/unit/observer/test_sound.py).
ENOUGH = 0.9
COARSE = 8  # of so many samples one is looked at where the recording is looked for everywhere


def recording(name: str) -> bytes:
    """Return what this phone plays, as PCMU. Raises KeyError for a phone that plays nothing."""
    first, last = TONES[name]
    rise = (last - first) / SECONDS
    times = (number / RATE for number in range(round(SECONDS * RATE)))
    phases = (2 * math.pi * (first + rise * time / 2) * time for time in times)
    return bytes(_compressed(round(LOUDNESS * math.sin(phase))) for phase in phases)


def write(name: str, folder: Path) -> str:
    """Write what this phone plays into a folder, and return its path; nothing for a phone that plays nothing."""
    if name not in TONES:
        return ""
    path = folder / f"{name}.pcmu"
    path.write_bytes(recording(name))
    return str(path)


def linear(pcmu: bytes) -> list[int]:
    """Return the samples, of 16 bits."""
    return [_EXPANDED[byte] for byte in pcmu]


def save(samples: Sequence[int], path: Path) -> None:
    """Write samples of 16 bits into a file that any player plays."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(struct.pack(f"<{len(samples)}h", *samples))


def likeness(wanted: Sequence[int], heard: Sequence[int]) -> float:
    """Return how like a recording that is played over and over this is, from 0 to 1, wherever in it that begins.

    Looked for first where a packet begins: a phone plays its file from there, and to look everywhere takes longer.
    """
    if not any(heard):
        return 0.0
    over = [*wanted] * (len(heard) // len(wanted) + 2)
    best = max(_correlation(over[begin : begin + len(heard)], heard) for begin in range(0, len(wanted), PACKET))
    if best >= ENOUGH:
        return best
    some = heard[::COARSE]
    begin = max(
        range(len(wanted)), key=lambda begin: _correlation(over[begin : begin + len(heard) : COARSE], some)
    )
    return max(best, _correlation(over[begin : begin + len(heard)], heard))


def _correlation(wanted: Sequence[int], heard: Sequence[int]) -> float:
    energy = sum(map(mul, wanted, wanted)) * sum(map(mul, heard, heard))
    return abs(sum(map(mul, wanted, heard))) / math.sqrt(energy) if energy else 0.0


def _compressed(sample: int) -> int:
    """Return a sample's byte: sign, segment, and four bits of where in it, all of them turned (G.711 §3)."""
    size = min(abs(sample), MOST) + BIAS
    segment = size.bit_length() - 8
    return ~((0x80 if sample < 0 else 0) | segment << 4 | (size >> (segment + 3)) & 0x0F) & 0xFF


def _sample(byte: int) -> int:
    turned = ~byte & 0xFF
    size = (((turned & 0x0F) << 3) + BIAS << (turned >> 4 & 7)) - BIAS
    return -size if turned & 0x80 else size


_EXPANDED = [_sample(byte) for byte in range(256)]
