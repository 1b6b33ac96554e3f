"""Who asks too much: guessing of passwords is slowed down, floods of refused requests are met with silence.

Only failed or unauthenticated requests count, so that a busy peer whose requests succeed never meets a limit. Penalties
are kept by source and user together: phones behind one NAT do not lock each other out. Everything is bounded: of the
sources, the one heard of longest ago is forgotten.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

MAX_SOURCES = 20_000
MAX_NAME = 64  # bytes of a user's name that are told apart: what a stranger can make us keep


@dataclass(slots=True, frozen=True)
class Allowance:
    """The limits. Rates are per source address (IPv6: per /64)."""

    free_failures: int = 5  # wrong passwords of one user from one source before they cost time
    free_failures_of_source: int = 50  # of all users together
    most_penalty_s: int = 300  # each failure beyond doubles the penalty up to this
    refused_per_s: float = 100.0  # requests refused or challenged, on the average
    refused_burst: float = 2000.0


@dataclass(slots=True)
class _Failures:
    count: int = 0
    until: float = 0.0


class Admission:
    """What is remembered of sources that failed."""

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._failures: dict[tuple[str, bytes | None], _Failures] = {}  # (source, user or None: of all users)
        self._buckets: dict[str, tuple[float, float]] = {}  # source -> (requests on credit, when that was so)

    @property
    def is_wary(self) -> bool:
        """Say whether anybody has failed of late."""
        return bool(self._failures)

    def is_flooding(self, host: str, now: float) -> bool:
        """Say whether a source has used up its credit of refused requests."""
        bucket = self._buckets.get(source_of(host))
        if bucket is None:
            return False
        return self._level(bucket, now) >= self._allowance.refused_burst

    def refused(self, host: str, now: float) -> None:
        """Count a request that was refused or challenged."""
        source = source_of(host)
        bucket = self._buckets.pop(source, (0.0, now))
        self._buckets[source] = (self._level(bucket, now) + 1, now)
        if len(self._buckets) > MAX_SOURCES:
            del self._buckets[next(iter(self._buckets))]

    def penalty(self, host: str, user: bytes, now: float) -> int:
        """Return for how many seconds this user's passwords are not looked at; 0: they are."""
        entries = (self._failures.get((source_of(host), name)) for name in (user[:MAX_NAME], None))
        return max((int(entry.until - now) + 1 for entry in entries if entry and entry.until > now), default=0)

    def failed(self, host: str, user: bytes, now: float) -> None:
        """Count a wrong password."""
        source = source_of(host)
        self._fail((source, user[:MAX_NAME]), self._allowance.free_failures, now)
        self._fail((source, None), self._allowance.free_failures_of_source, now)

    def succeeded(self, host: str, user: bytes, now: float) -> None:
        """A right password: the failures of this user from there are forgotten, and so is the challenge before it."""
        source = source_of(host)
        if self._failures:
            self._failures.pop((source, user[:MAX_NAME]), None)
        bucket = self._buckets.get(source)
        if bucket is not None:
            level = self._level(bucket, now) - 1
            if level > 0:
                self._buckets[source] = (level, now)
            else:
                del self._buckets[source]

    def _fail(self, key: tuple[str, bytes | None], free: int, now: float) -> None:
        entry = self._failures.pop(key, None) or _Failures()
        entry.count += 1
        if entry.count > free:
            entry.until = now + min(2.0 ** min(entry.count - free, 30), self._allowance.most_penalty_s)
        self._failures[key] = entry
        if len(self._failures) > MAX_SOURCES:
            del self._failures[next(iter(self._failures))]

    def _level(self, bucket: tuple[float, float], now: float) -> float:
        return max(0.0, bucket[0] - (now - bucket[1]) * self._allowance.refused_per_s)


def source_of(host: str) -> str:
    """Return what counts as one source: an IPv4 address, an IPv6 /64."""
    if ":" not in host:
        return host
    return str(ipaddress.ip_network(f"{host.partition('%')[0]}/64", strict=False))
