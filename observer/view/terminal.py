"""The ladder in a terminal, coloured when it is one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from observer.view import schema
from observer.view.rows import Row, clean, rows

GUTTER = 11  # characters of the time
LEAST, MOST, LONGEST_NAME = 16, 30, 26  # characters between two lanes, and of a name
RESET, DIM, BOLD, RED = "\x1b[0m", "\x1b[2m", "\x1b[1m", "\x1b[31m"
COLOURS = tuple(f"\x1b[{number}m" for number in (36, 33, 32, 35, 34, 96, 93))


def draw(view: schema.View, coloured: bool, columns: int = 120) -> Iterator[str]:
    """Yield the ladder's lines: heads, rows, and under each arrow what was changed by whom."""
    pen = Pen(view["lanes"], view["start"], coloured, columns)
    yield from pen.head()
    for row in rows(view):
        yield from pen.row(row)
    for note in view["notes"]:
        yield pen.paint(DIM, f"note: {note}")


class Pen:
    """Draws rows between these lanes."""

    def __init__(self, lanes: Sequence[schema.Lane], start: float, coloured: bool, columns: int) -> None:
        self.lanes = lanes
        self.start = start
        self.coloured = coloured
        room = (columns - GUTTER - LONGEST_NAME // 2) // max(1, len(lanes))
        self.step = max(LEAST, min(MOST, room))
        self.places = {lane["name"]: GUTTER + number * self.step for number, lane in enumerate(lanes)}

    def paint(self, colour: str, text: str) -> str:
        """Return text in a colour, where there are colours."""
        return f"{colour}{text}{RESET}" if self.coloured else text

    def head(self) -> list[str]:
        """Return names and addresses."""
        names = "".join(clean(lane["name"])[: self.step - 1].ljust(self.step) for lane in self.lanes)
        addresses = [" | ".join(filter(None, (edge["address"] for edge in lane["edges"]))) for lane in self.lanes]
        told = ["" if text == lane["name"] else text for text, lane in zip(addresses, self.lanes, strict=True)]
        lines = [" " * GUTTER + self.paint(BOLD, names.rstrip())]
        if any(len(text) >= self.step for text in told):  # one below the other, where there is no room
            told = [f"{lane['name']} {text}" for lane, text in zip(self.lanes, told, strict=True) if text]
            return [*(self.paint(DIM, f"{' ' * GUTTER}{text}") for text in told), *lines]
        return [*lines, self.paint(DIM, (" " * GUTTER + "".join(text.ljust(self.step) for text in told)).rstrip())]

    def row(self, row: Row) -> Iterator[str]:
        """Yield a row's lines."""
        time = f"{row.time - self.start:{GUTTER - 2}.4f}  "
        if row.event is not None:
            yield self.paint(DIM, f"{time}· {row.event['lane']}: {clean(row.event['text'])}")
        elif row.folded:
            yield self.paint(DIM, f"{time}· {row.kept}")
        elif row.stream:
            ends = [row.stream[0]["origin"]["lane"], row.stream[-1]["target"]["lane"]]
            yield self.paint(DIM, time) + self._line(ends, clean(row.heard), "═", "▶", COLOURS[2])
        else:
            colour = COLOURS[row.tag % len(COLOURS)]
            yield self.paint(DIM, time) + self._arrow(row, colour)
            yield from self._changes(row)
            for text in row.wrong:
                yield self.paint(RED, f"{' ' * GUTTER}{clean(text)}")

    def _arrow(self, row: Row, colour: str) -> str:
        first, last = row.arrows[0], row.arrows[-1]
        again = f"({first['copy'] + 1}) " if first["copy"] else ""
        ends = [end["lane"] for arrow in row.arrows for end in (arrow["origin"], arrow["target"])]
        return self._line(ends, f"{again}{clean(first['label'])}", "─", "✗" if last["lost"] else "▶", colour)

    def _line(self, lanes: list[str], label: str, stroke: str, tip: str, colour: str) -> str:
        """Return a line from the first of these lanes to the last, by way of the others; beyond them lanes go on."""
        ends = [self.places[lane] for lane in lanes]
        left, right, is_right = min(ends), max(ends), ends[-1] >= ends[0]
        width = right - left - 1
        shaft = f"{stroke * 2} {label} "[: max(width - 1, 0)].ljust(max(width - 1, 0), stroke)
        tip = "◀" if tip == "▶" and not is_right else tip
        cells = list(" " * (right + 1))
        for place in self.places.values():
            if place < len(cells):
                cells[place] = "│"
            else:
                cells += [*" " * (place - len(cells)), "│"]
        drawn = list(shaft + tip if is_right else tip + shaft)
        for number, _ in enumerate(drawn):
            at = left + 1 + number
            if at in self.places.values() and drawn[number] == stroke:  # through the router
                drawn[number] = "┼" if stroke == "─" else "╪"
        cells[left + 1 : left + 1 + len(drawn)] = drawn
        text = "".join(cells)[GUTTER:]
        middle = slice(left + 1 - GUTTER, left + 1 - GUTTER + len(drawn))
        return text[: middle.start] + self.paint(colour, text[middle]) + text[middle.stop :]

    def _changes(self, row: Row) -> Iterator[str]:
        for arrow in row.arrows:
            said = ""
            for change in arrow["changes"]:
                if change["name"] == "source" and change["by"] != "router":
                    continue  # whoever forwards sends from his own address: no news
                who, said = ("" if said == change["by"] else f"{change['by']}:"), change["by"]
                yield f"{' ' * (GUTTER + 2)}{self.paint(BOLD, f'{who:<8}')} {self._change(change)}"

    def _change(self, change: schema.Change) -> str:
        header = "" if change["name"] == "first line" or change["name"][1:] == "=" else f"{change['name']}: "
        before, after = shorten(clean(change["before"])), shorten(clean(change["after"]))
        section = self.paint(DIM, f"  [{change['rfc']}]") if change["rfc"] and self.coloured else ""
        if change["kind"] in ("address", "transport"):
            return f"{change['name']} {before} → {after}{section}"
        if change["kind"] == "changed":
            return f"{self.paint(COLOURS[1], '~')} {header}{before} → {after}{section}"
        if change["kind"] == "added":
            return f"{self.paint(COLOURS[2], '+')} {header}{after}{section}"
        return f"{self.paint(RED, '-')} {header}{before}{section}"


def shorten(text: str) -> str:
    """Cut signatures and branches, which would hide what they sign."""
    return re.sub(r"([=.][A-Za-z0-9_-]{8})[A-Za-z0-9_-]{8,}(?:[.-][A-Za-z0-9_-]+)*", r"\1…", text)


def follow(view: schema.View, calls: Iterable[schema.Call], known: set[str], pen: Pen) -> Iterator[str]:
    """Yield the rows of these calls in which there is an arrow that was not drawn yet; add them to `known`."""
    for row in rows(view, calls):
        new = [arrow for arrow in row.arrows if arrow["id"] not in known]
        if new:
            known.update(arrow["id"] for arrow in new)
            yield from pen.row(row)
