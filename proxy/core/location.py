"""Where registered users are: the truth is a dict in memory (RFC 3261 §10)."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.core.flow import Flow

MAX_AORS = 100_000
MAX_BINDINGS_PER_AOR = 10
SCAN_EVERY_S = 10.0


class Full(Exception):
    """A limit of the table is reached."""


@dataclass(slots=True)
class Binding:
    """One Contact of an AOR, and the flow that its REGISTER came by."""

    contact: bytes  # the phone's own URI, never rewritten
    flow: Flow
    expires_at: float  # seconds, on the engine's clock
    call_id: bytes
    cseq: int


class Location:
    """AOR (the user part: all names of the proxy are one domain) -> Contact -> binding."""

    def __init__(self) -> None:
        self._aors: dict[bytes, dict[bytes, Binding]] = {}
        self._scan_at = 0.0

    def bindings(self, aor: bytes, now: float) -> list[Binding] | None:
        """Return an AOR's live bindings, the newest first; None for an AOR that never registered."""
        found = self._aors.get(aor)
        if found is None:
            return None
        for contact in [contact for contact, binding in found.items() if binding.expires_at <= now]:
            del found[contact]
        return list(reversed(found.values()))

    def save(self, aor: bytes, binding: Binding, now: float) -> None:
        """Add a binding, or put it in the place of the one with the same Contact. Raises Full."""
        if aor not in self._aors and len(self._aors) >= MAX_AORS:
            if now < self._scan_at:  # a flood of new users must not have us look through all of them each time
                raise Full
            self._scan_at = now + SCAN_EVERY_S
            self._forget_idle(now)
        found = self._aors.setdefault(aor, {})
        found.pop(binding.contact, None)  # the newest stands last
        if len(found) >= MAX_BINDINGS_PER_AOR:
            raise Full
        found[binding.contact] = binding

    def remove(self, aor: bytes, contact: bytes) -> None:
        """Remove a binding, if it is there."""
        self._aors.get(aor, {}).pop(contact, None)

    def restore(self, aor: bytes, bindings: list[Binding] | None) -> None:
        """Put back what `bindings` returned, in the place of everything that was saved since."""
        if bindings is None:
            self._aors.pop(aor, None)
        else:
            self._aors[aor] = {binding.contact: binding for binding in reversed(bindings)}

    def _forget_idle(self, now: float) -> None:
        for aor in list(self._aors):
            if not self.bindings(aor, now):
                del self._aors[aor]
        if len(self._aors) >= MAX_AORS:
            raise Full
