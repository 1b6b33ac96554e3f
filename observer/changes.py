"""What differs between two sightings of one message: addresses, first line, headers, body."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Final, Literal

from observer.decode import Sighting

Kind = Literal["address", "transport", "added", "removed", "changed"]

ADDRESS: Final = "address"
TRANSPORT: Final = "transport"
ADDED: Final = "added"
REMOVED: Final = "removed"
CHANGED: Final = "changed"
FIRST_LINE, LINE_ENDS = "first line", "line ends"
VIAS = {"via", "v"}
SAME_LINE = 0.5  # how alike two lines of one name must be for the second to be the first, edited


@dataclass(slots=True, frozen=True)
class Change:
    """One difference. `name` is `source`, `destination`, `first line`, a header's name, or `c=` and the like of SDP."""

    kind: Kind
    name: str
    before: str  # empty for what was added; of a header without its name
    after: str

    def __str__(self) -> str:
        """Return it as the ladder has it: + added, - removed, ~ changed."""
        if self.kind in (ADDRESS, TRANSPORT):
            return f"{self.name} {self.before} → {self.after}"
        if self.name == LINE_ENDS:
            return "~ line ends of the body"
        header = "" if self.name == FIRST_LINE or self.name[1:] == "=" else f"{self.name}: "
        if self.kind == CHANGED:
            return f"~ {header}{self.before} → {self.after}"
        return f"+ {header}{self.after}" if self.kind == ADDED else f"- {header}{self.before}"


def differences(before: Sighting, after: Sighting) -> list[Change]:
    """Return what differs: transport, addresses, first line, then lines of the headers and of the body."""
    found = []
    if before.transport != after.transport:
        found.append(Change(TRANSPORT, "transport", before.transport, after.transport))
    for name, old, new in (
        ("source", before.source, after.source),
        ("destination", before.destination, after.destination),
    ):
        if old != new:
            found.append(Change(ADDRESS, name, "%s:%d" % old, "%s:%d" % new))
    if before.first_line != after.first_line:
        found.append(Change(CHANGED, FIRST_LINE, before.first_line, after.first_line))
    found += _header_changes(before.headers, after.headers)
    if before.body != after.body:
        found += _body_changes(before.body.splitlines(), after.body.splitlines())
        if before.body.splitlines() == after.body.splitlines():
            found.append(Change(CHANGED, LINE_ENDS, "", ""))
    return found


def _body_changes(before: list[str], after: list[str]) -> list[Change]:
    if len(before) == len(after):  # whoever rewrites addresses in SDP leaves its lines where they are
        pairs = zip(before, after, strict=True)
        return [Change(CHANGED, _type(new), old, new) for old, new in pairs if old != new]
    found = []
    for line in difflib.ndiff(before, after):
        if line.startswith("+ "):
            found.append(Change(ADDED, _type(line[2:]), "", line[2:]))
        elif line.startswith("- "):
            found.append(Change(REMOVED, _type(line[2:]), line[2:], ""))
    return found


def _type(line: str) -> str:
    """Return `c=` and the like, of a line of SDP (RFC 8866 §5) or of whatever else a body has."""
    return line[:2] if line[1:2] == "=" else "?="


def _header_changes(before: list[str], after: list[str]) -> list[Change]:
    if before == after:
        return []
    removed, added = [], []
    for line in difflib.ndiff(_one_via_a_line(before), _one_via_a_line(after)):
        if line.startswith("- "):
            removed.append(line[2:])
        elif line.startswith("+ "):
            added.append(line[2:])
    # Of several lines with one name (a new Via above an edited one), those most alike are the same line, edited.
    pairs = sorted(
        (
            (_likeness(old, new), old, new)
            for old in removed
            for new in added
            if _name(old) == _name(new)
        ),
        reverse=True,
    )
    edited: dict[str, str] = {}
    for likeness, old, new in pairs:
        alone = [_name(line) for line in removed + added].count(_name(new)) == 2
        if (alone or likeness > SAME_LINE) and old in removed and new not in edited:
            edited[new] = old
            removed.remove(old)
    found = [
        Change(CHANGED, _spelled(edited[new]), _value(edited[new]), _value(new))
        if new in edited
        else Change(ADDED, _spelled(new), "", _value(new))
        for new in added
    ]
    return found + [Change(REMOVED, _spelled(old), _value(old), "") for old in removed]


def _likeness(old: str, new: str) -> float:
    """Return how much of one line is in the other, from 0 to 1. A Via is known by its branch (RFC 3261 §8.1.1.7)."""
    branches = [re.findall(r";\s*branch=([^;,\s]+)", line) for line in (old, new)]
    if _name(old) in VIAS and all(branches):
        return float(branches[0] == branches[1])
    return difflib.SequenceMatcher(None, old, new).ratio()


def _one_via_a_line(lines: list[str]) -> list[str]:
    """Some phones write all Vias into one line; that is no change (RFC 3261 §7.3.1)."""
    found = []
    for line in lines:
        name, _, value = line.partition(":")
        if _name(line) in VIAS:
            found += [f"{name}: {via.strip()}" for via in re.split(r",\s*(?=SIP\s*/)", value)]
        else:
            found.append(line)
    return found


def _name(line: str) -> str:
    return line.partition(":")[0].strip().lower()


def _spelled(line: str) -> str:
    return line.partition(":")[0].strip()


def _value(line: str) -> str:
    return line.partition(":")[2].strip()
