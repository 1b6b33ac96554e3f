"""What broke, and what came of it: facts from the wire, each with a code for tests and a sentence for readers.

What happened to fifty calls at once is told once.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from observer import unheard
from observer.case import Case, is_in_dialog, text, transaction
from observer.history import EXPIRED, FORGOTTEN, NEVER
from observer.story import Journey
from observer.whereabouts import DEAF, INTERNET, OUTSIDE, Loss, ends

GIVE_UP_S = 32  # Timers B and F: 64 × T1 (RFC 3261 §17.1.1.2, §17.1.2.2)
RINGING, OK = 180, 200
WORKS = "works"  # all calls were whole; beside it may stand what went wrong and was made good
PRONOUNS = {"alice": "her", "bob": "his"}

Transaction = tuple[str, int, str, str]


@dataclass(slots=True)
class Fact:
    """One thing that happened. `who` is the phone that it happened to; `evidence` numbers journeys of story.json."""

    code: str
    text: str
    who: str = ""
    evidence: list[int] = field(default_factory=list)


def facts(case: Case) -> list[Fact]:
    """Return what happened in these calls."""
    lost, ended = _lost(case), _calls(case)
    found = [_told(one) for one in lost]
    found += [_expiry(one) for one in lost if one.loss.fate and one.loss.fate.code == EXPIRED]
    found += _bypasses(case) + _repeats(case) + ended + _silences(case)
    if not ended and (case.calls or not lost):
        found.append(Fact(WORKS, _well(case)))
    return found


def _well(case: Case) -> str:
    calls = sum(leg["count"] for leg in case.calls)
    if not calls:
        return "nothing was lost"
    which = {1: "the call is", 2: "both calls are"}.get(calls, f"all {calls} calls are")
    return f"{which} set up, and {'ends' if calls == 1 else 'end'}"


# ── what was lost ─────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _Lost:
    """Messages that went the same wrong way: the first of them, and what they are called."""

    loss: Loss
    sender: str
    receiver: str
    called: list[str] = field(default_factory=list)
    evidence: list[int] = field(default_factory=list)

    @property
    def is_answer(self) -> bool:
        """Say whether they are answers."""
        return self.loss.leg.seen.status > 0


def _lost(case: Case) -> list[_Lost]:
    """Return what went no further, grouped by the way that it took; what another copy made good is no loss."""
    reached = {_key(journey) for journey in case.journeys if _reached(case, journey)}
    received = {_key(journey) for journey in case.journeys if _is_at_proxy(journey)}
    owners = {transaction(one.first): case.sender(one) for one in reversed(case.journeys) if one.first.is_request}
    groups: dict[tuple[str, ...], _Lost] = {}
    for number, journey in enumerate(case.journeys):
        if _key(journey) in reached or (_key(journey) in received and not _is_at_proxy(journey)):
            continue
        first = journey.first
        # A proxy too sends again: what it repeats is the phone's request all the same.
        sender = case.sender(journey) if first.status else owners[transaction(first)]
        if sender == "proxy" and first.is_request and first.method != "OPTIONS":
            continue  # of a call before this run: its own messages, keep-alives, are OPTIONS
        receiver = owners.get(transaction(first), "") if first.status else _addressee(case, journey, sender)
        name, method = (str(first.status), first.method) if first.status else (first.method, "")
        for loss in case.around.losses(journey):
            asked = "" if first.status else sender  # the proxy's answers and the other phone's go one way
            way = (loss.place, loss.lane, text(loss.leg.seen.destination), asked, receiver, method)
            group = groups.setdefault(way, _Lost(loss, sender, receiver))
            if name not in group.called:
                group.called.append(name)
            group.evidence.append(number)
    return list(groups.values())


def _key(journey: Journey) -> tuple[object, ...]:
    return *transaction(journey.first), journey.first.status


def _is_at_proxy(journey: Journey) -> bool:
    return any("proxy" in leg.taps for leg in journey.legs)


def _reached(case: Case, journey: Journey) -> str:
    """Return the phone that a message came to at last; nothing where it came to none."""
    target = ends(journey.legs[-1], case.topology)[1]
    is_heard = all(loss.place != DEAF for loss in case.around.losses(journey))
    return target if is_heard and target in case.topology.phones else ""


def _addressee(case: Case, journey: Journey, sender: str) -> str:
    """Return which phone a request is for, as far as its Request-URI or the number of phones says."""
    others = [name for name in case.topology.phones if name != sender]
    named = next((name for name in others if f":{name}@" in journey.first.request_uri), "")
    return named or (others[0] if len(others) == 1 and journey.first.method != "REGISTER" else "")


def _told(one: _Lost) -> Fact:
    loss, address = one.loss, text(one.loss.leg.seen.destination)
    goes = f"{_subject(one)} {'go' if len(one.called) > 1 else 'goes'} to {address}"
    if loss.lane == "core":
        them = "them" if len(one.called) > 1 else "it"
        what, words = "to-private", f"{goes}, a private address: the Internet drops {them}"
    elif loss.place == DEAF:
        what, words = "unheard", f"{_subject(one)}: {loss.text}"
    elif loss.place == INTERNET:
        what, words = "elsewhere", f"{_subject(one)}: {loss.text}"
    elif loss.place == OUTSIDE and (loss.fate is None or loss.fate.code in (NEVER, EXPIRED, FORGOTTEN)):
        reason = f": {loss.fate.text}" if loss.fate and loss.fate.code != NEVER else ""
        what, words = "lost-at-router", f"{goes}, where the router has no mapping{reason}"
    else:
        what, words = "lost-at-router", f"{_subject(one)}: {loss.text}"
    return Fact(f"{'answers' if one.is_answer else 'request'}-{what}", words, one.receiver or one.sender, one.evidence)


def _subject(one: _Lost) -> str:
    """Return what was lost, in words: "100 and 180", "401 to the REGISTER", "Bob's BYE to Alice"."""
    what, method = _and(one.called), one.loss.leg.seen.method
    if one.is_answer:
        return what if method == "INVITE" else f"{what} to the {method}"
    whose = f"{_possessive(one.sender)} " if one.sender in PRONOUNS else ""
    return f"{whose}{what}{f' to {_name(one.receiver)}' if one.receiver else ''}"


def _expiry(one: _Lost) -> Fact:
    assert one.loss.fate is not None
    mapping = f"the mapping of {text(one.loss.leg.seen.destination)}"
    words = f"{mapping} expired {one.loss.fate.ago:.1f} s before the {one.called[0]}"
    return Fact("expired", words, one.receiver, one.evidence)


# ── what came of it ───────────────────────────────────────────────────────────────────────────────────────────────


def _bypasses(case: Case) -> list[Fact]:
    """Return which requests went past the proxy, and whether they got where they were to go."""
    found: dict[tuple[str, str, bool], tuple[list[str], list[int]]] = {}
    for number, journey in enumerate(case.journeys):
        first, sender = journey.first, case.sender(journey)
        passes = any(case.topology.proxy in (leg.seen.source[0], leg.seen.destination[0]) for leg in journey.legs)
        if not first.is_request or sender not in case.topology.phones or passes:
            continue
        called, evidence = found.setdefault(
            (sender, text(first.destination), bool(_reached(case, journey))), ([], [])
        )
        if first.method not in called:
            called.append(first.method)
        evidence.append(number)
    told = []
    for (sender, address, got_there), (called, evidence) in found.items():
        go, get = ("go", "get") if len(called) > 1 else ("goes", "gets")
        words = f"{_possessive(sender)} {_and(called)} {go} straight to {address}, past the proxy"
        told.append(Fact("bypasses-proxy", f"{words}, and {get} there" if got_there else words, sender, evidence))
    return told


def _repeats(case: Case) -> list[Fact]:
    """Return what phones sent again because nothing came back, and after how many seconds each time."""
    answered = {
        transaction(journey.first)
        for journey in case.journeys
        if journey.first.status and _reached(case, journey) in case.topology.phones
    }
    copies: dict[tuple[object, ...], list[int]] = {}
    for number, journey in enumerate(case.journeys):
        first = journey.first
        if first.transport == "udp" and case.sender(journey) in case.topology.phones and first.method != "ACK":
            copies.setdefault(_key(journey), []).append(number)
    told: dict[tuple[str, str, int], Fact] = {}
    for numbers in copies.values():
        journey = case.journeys[numbers[0]]
        what = case.sender(journey), journey.first.method, journey.first.status
        if len(numbers) > 1 and what not in told:
            told[what] = _repeat(case, numbers, is_answered=transaction(journey.first) in answered)
    return list(told.values())


def _repeat(case: Case, numbers: list[int], is_answered: bool) -> Fact:
    journey = case.journeys[numbers[0]]
    sender, method, status = case.sender(journey), journey.first.method, journey.first.status
    times = [case.journeys[number].first.time for number in numbers]
    waits = ", ".join(_seconds(after - before) for before, after in itertools.pairwise(times))
    words = f"{_name(sender)} repeats {PRONOUNS.get(sender, 'its')} {status or method} after {waits} s"
    if status:
        code = "callee-repeats-200" if (method, status) == ("INVITE", OK) else "answer-repeated"
        return Fact(code, words, sender, numbers)
    gives_up = "" if is_answered else f" and would give up after {GIVE_UP_S} s"
    return Fact("caller-repeats" if method == "INVITE" else "request-repeated", words + gives_up, sender, numbers)


@dataclass(slots=True)
class _Call:
    """How far a call came."""

    caller: str
    numbers: list[int]  # of the INVITE's journeys
    invites: set[Transaction]  # with passwords there are two
    rang: str = ""  # the phone that did
    is_heard: bool = False  # the caller had the 180
    is_taken: bool = False  # the 200 was sent
    is_answered: bool = False  # and the caller had it
    refusal: str = ""  # the last answer that is no success
    is_acknowledged: bool = False
    hung_up: str = ""  # who did
    is_ended: bool = False  # the other one had the BYE

    def begin(self, invite: Transaction) -> None:
        """Take an INVITE: a new one, with a password, makes good that the one before was refused."""
        if invite not in self.invites:
            self.invites.add(invite)
            self.refusal = ""

    def follow(self, journey: Journey, sender: str, reached: str) -> None:
        """Take one more message of this call: who sent it, and the phone that it came to, if any."""
        first = journey.first
        if first.status and transaction(first) in self.invites:
            self._answer(first.status, first.first_line, sender, reached == self.caller)
        elif first.method == "ACK" and sender == self.caller:
            self.is_acknowledged |= bool(reached)
        elif first.method == "BYE" and first.is_request:
            self.hung_up = self.hung_up or sender
            self.is_ended |= bool(reached)

    def _answer(self, status: int, line: str, sender: str, came: bool) -> None:
        if RINGING <= status <= OK:
            self.rang = sender
            self.is_taken |= status == OK
            self.is_heard |= status < OK and came
            self.is_answered |= status == OK and came
        elif status > OK and came:
            self.refusal = line.removeprefix("SIP/2.0 ")

    def end(self) -> Iterator[Fact]:
        """Yield what is not as it should be."""
        if not self.is_answered:
            yield self._unanswered()
        elif not self.is_acknowledged:
            yield Fact("never-acknowledged", f"no ACK comes to {_possessive(self.rang)} phone", self.rang)
        if self.hung_up and not self.is_ended:
            words = "hangs up, and the other phone does not hear of it: for that one the call is still up"
            yield Fact("call-up-not-ended", f"{_name(self.hung_up)} {words}", self.hung_up)
        elif self.is_answered and not self.is_ended:
            yield Fact("call-up-not-ended", f"{_possessive(self.caller)} call is up, and nobody ends it", self.caller)

    def _unanswered(self) -> Fact:
        unheard = f", and {_name(self.caller)} does not hear of it"
        if self.rang and not self.is_heard:
            return Fact("callee-rings", f"{_possessive(self.rang)} phone rings{unheard}", self.rang)
        if self.is_taken:
            return Fact("callee-rings", f"{_name(self.rang)} answers{unheard}", self.rang)
        if self.refusal:
            return Fact("call-refused", f"{_possessive(self.caller)} call ends with {self.refusal}", self.caller)
        if self.rang:
            return Fact("callee-rings", f"{_possessive(self.rang)} phone rings, and is not answered", self.rang)
        return Fact("callee-never-rings", f"{_possessive(self.caller)} call rings nowhere", self.caller)


def _calls(case: Case) -> list[Fact]:
    """Return how the calls that were not whole ended, and how many never began."""
    calls: dict[str, _Call] = {}
    for number, journey in enumerate(case.journeys):
        first, sender = journey.first, case.sender(journey)
        if first.method == "INVITE" and first.is_request and sender in case.topology.phones:
            call = calls.setdefault(first.call_id, _Call(sender, [], set()))
            if sender == call.caller and not is_in_dialog(first):
                call.numbers.append(number)
                call.begin(transaction(first))
        if first.call_id in calls:
            calls[first.call_id].follow(journey, sender, _reached(case, journey))
    found: dict[str, Fact] = {}
    for call in calls.values():
        for fact in call.end():
            found.setdefault(fact.text, fact).evidence.extend(call.numbers)
    missing = sum(leg["count"] for leg in case.calls) - len(calls)
    if missing > 0:
        words = f"{missing} of the calls that were asked for never began"
        found[words] = Fact("calls-missing", words)
    return list(found.values())


def _silences(case: Case) -> list[Fact]:
    """Return who was not heard, or not whole, and where the sound went no further."""
    return [
        Fact(f"audio-{'broken' if one.direction.heard else 'lost'}-to-{one.direction.listener}", one.text,
             one.direction.listener)
        for one in unheard.losses(case)
    ]  # fmt: skip


# ── words ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _name(name: str) -> str:
    return name.capitalize()


def _possessive(name: str) -> str:
    return f"{_name(name)}'s"


def _and(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _seconds(duration: float) -> str:
    """Return a duration as a reader says it: 0.5, 1, 2; from 10 s on without tenths."""
    return f"{round(duration, 1):g}" if duration < 10 else f"{duration:.0f}"
