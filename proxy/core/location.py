"""Where registered users are: the truth is a dict in memory, and every change of it goes to the journal (RFC 3261 §10).

Invariant: a binding is in `by_id`, in its AOR's list and in the journal, or in none of them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from proxy.core.effects import Effect, Forget, Record, Save
from proxy.core.flow import Address, Flow
from proxy.sip.errors import SipError
from proxy.sip.uri import parse_uri

MAX_AORS = 1_000_000
MAX_BINDINGS_PER_AOR = 10
SCAN_EVERY_S = 10.0


class Full(Exception):
    """A limit of the table is reached."""


@dataclass(slots=True)
class Binding:
    """One Contact of an AOR, and the flow that its REGISTER came by."""

    aor: bytes
    contact: bytes  # the phone's own URI, never rewritten
    key: bytes  # what is the same for two Contacts that are one phone's
    flow: Flow
    expires_at: float  # Unix seconds
    call_id: bytes
    cseq: int
    q: int = 1000  # thousandths
    natted: bool = False
    instance: bytes = b""  # +sip.instance, without its quotes
    reg_id: int = 0
    path: bytes = b""
    id: int = 0  # given by `replace`; unique for ever, also in the journal
    misses: int = 0  # keep-alives that were not answered

    def record(self) -> Record:
        """Return the binding as the journal keeps it."""
        return Record(
            self.id, self.aor, self.contact, self.expires_at, self.q, self.call_id, self.cseq, self.instance,
            self.reg_id, self.path, self.flow.transport, *self.flow.local, *self.flow.remote, self.natted,
        )  # fmt: skip


class Location:
    """AOR (the user part: all names of the proxy are one domain) -> its bindings, the newest last."""

    def __init__(self, journal: list[Effect] | None = None, first_id: int = 1, step: int = 1) -> None:
        """`first_id` and `step`: which ids new bindings get, where others give ids too."""
        self.by_id: dict[int, Binding] = {}
        self.targets: Counter[Address] = Counter()  # where registered phones are, by Contact and by flow
        self.behind_nat: Counter[Address] = Counter()  # of the flows, those of phones behind a NAT
        self._aors: dict[bytes, list[Binding]] = {}
        self._journal: list[Effect] = [] if journal is None else journal
        self.last_id, self._step = first_id - step, step
        self._scan_at = 0.0

    def load(self, records: Iterable[Record], now: float) -> int:
        """Take over what the journal kept; return how many bindings live. Connections of before are gone."""
        for record in records:
            self.know(record.id)
            if record.expires_at > now:
                for gone in self.take(record, 0 if record.transport == "udp" else -1):
                    self._journal.append(Forget(gone, record.expires_at))
            else:
                self._journal.append(Forget(record.id, record.expires_at))
        return len(self.by_id)

    def take(self, record: Record, connection: int) -> list[int]:
        """Take over a binding that is kept elsewhere too, in the place of the one with its id.

        `connection` is its flow's. Of two that are one phone's, taken by two workers at one moment, all keep the same:
        that which expires last. Returns the ids of those that went for it, or its own. Nothing goes to the journal.
        """
        self.drop(record.id)
        self.know(record.id)
        local, remote = (record.local_host, record.local_port), (record.remote_host, record.remote_port)
        binding = Binding(
            record.aor, record.contact, binding_key(record.contact, record.instance, record.reg_id),
            Flow(record.transport, local, remote, connection), record.expires_at, record.call_id, record.cseq, record.q,
            bool(record.natted), record.instance, record.reg_id, record.path, record.id,
        )  # fmt: skip
        found = self._aors.setdefault(binding.aor, [])
        twins = [each for each in found if each.key == binding.key]
        if any((each.expires_at, each.id) > (binding.expires_at, binding.id) for each in twins):
            return [binding.id]
        for twin in twins:
            self.drop(twin.id)
        found.append(binding)
        self._enter(binding)
        return [twin.id for twin in twins]

    def drop(self, id: int, until: float = math.inf) -> bool:
        """Let a binding go that was removed elsewhere, if it is here, and not for longer than it was known there."""
        binding = self.by_id.get(id)
        if binding is None or binding.expires_at > until:
            return False
        self._aors[binding.aor].remove(binding)
        self._leave(binding, forget=False)
        return True

    def know(self, id: int) -> None:
        """Give no id up to this one any more."""
        if id > self.last_id:
            self.last_id += (id - self.last_id) // self._step * self._step

    def bindings(self, aor: bytes, now: float) -> list[Binding] | None:
        """Return an AOR's live bindings, the newest first; None for an AOR that never registered."""
        found = self._aors.get(aor)
        if found is None:
            return None
        for binding in [binding for binding in found if binding.expires_at <= now]:
            self._leave(binding)
            found.remove(binding)
        return found[::-1]

    def replace(self, aor: bytes, wanted: list[Binding], now: float) -> None:
        """Give an AOR these bindings, the newest last, in the place of all it had: all at once. Raises Full.

        A binding that takes the place of another bears its id; a new one has id 0. Those of the AOR's bindings that
        are not wanted are removed.
        """
        before = self._aors.get(aor)
        if before is None:
            if not wanted:
                return
            self._make_room(now)
        if len(wanted) > MAX_BINDINGS_PER_AOR:
            raise Full
        kept = {binding.id for binding in wanted}
        for binding in before or ():
            if binding.id not in kept:
                self._leave(binding)
        for binding in wanted:
            old = self.by_id.get(binding.id)
            if old is not None and _place(old) == _place(binding):
                self.by_id[binding.id] = binding  # a refresh, as most are
                continue
            if old is not None:
                self._leave(old, forget=False)
            else:
                self.last_id += self._step
                binding.id = self.last_id
            self._enter(binding)
        self._aors[aor] = wanted

    def save(self, binding: Binding) -> None:
        """Write a binding that was replaced into the journal."""
        self._journal.append(Save(binding.record()))

    def remove(self, binding: Binding) -> None:
        """Remove one binding, if it is still there."""
        found = self._aors.get(binding.aor)
        if found is not None and self.by_id.get(binding.id) is binding:
            found.remove(binding)
            self._leave(binding)

    def _enter(self, binding: Binding) -> None:
        self.by_id[binding.id] = binding
        for address in _addresses(binding):
            self.targets[address] += 1
        if binding.natted:
            self.behind_nat[binding.flow.remote] += 1

    def _leave(self, binding: Binding, forget: bool = True) -> None:
        del self.by_id[binding.id]
        for address in _addresses(binding):
            _take_one(self.targets, address)
        if binding.natted:
            _take_one(self.behind_nat, binding.flow.remote)
        if forget:
            self._journal.append(Forget(binding.id, binding.expires_at))

    def _make_room(self, now: float) -> None:
        if len(self._aors) < MAX_AORS:
            return
        if now < self._scan_at:  # a flood of new users must not have us look through all of them each time
            raise Full
        self._scan_at = now + SCAN_EVERY_S
        for aor in list(self._aors):
            if not self.bindings(aor, now):
                del self._aors[aor]
        if len(self._aors) >= MAX_AORS:
            raise Full


def binding_key(contact: bytes, instance: bytes, reg_id: int) -> bytes:
    """Return what makes two Contacts one binding: instance and reg-id (RFC 5626 §6), else the URI."""
    if instance and reg_id:
        return b"%b %d" % (instance, reg_id)
    try:
        return parse_uri(contact).key()
    except SipError:
        return contact


def _place(binding: Binding) -> tuple[bytes, Flow, bool]:
    return binding.contact, binding.flow, binding.natted


def _take_one(counter: Counter[Address], address: Address) -> None:
    counter[address] -= 1
    if not counter[address]:
        del counter[address]


def _addresses(binding: Binding) -> set[Address]:
    """Return where requests for a phone may be sent: its flow, and a Contact on the same host.

    Another host could be anybody's: who registers it must not open it to strangers.
    """
    try:
        contact = parse_uri(binding.contact).address
    except SipError:
        return {binding.flow.remote}
    return {binding.flow.remote, contact} if contact[0] == binding.flow.remote[0] else {binding.flow.remote}
