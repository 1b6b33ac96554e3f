"""The ladder as a picture: SVG, which stands by itself, and PNG."""

from __future__ import annotations

import itertools
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from observer.view import schema
from observer.view.rows import Row, clean, rows

TEMPLATES = Path(__file__).with_name("templates")
WIDTH_OF_STEP, WIDTH_OF_ROUTER, GUTTER, HEAD = 190, 60, 100, 64
MOST_ROWS = 400  # a picture that nobody can look at helps nobody
COLOURS = ("#0072b2", "#b84a00", "#00795c", "#a3478a", "#7a6400", "#3d5a99", "#4a4f57")
ZOOM = "1.5"


@dataclass(slots=True)
class Place:
    """A lane on the picture: the x of its edges."""

    lane: schema.Lane
    edges: list[float]

    @property
    def middle(self) -> float:
        """Halfway between its edges."""
        return (self.edges[0] + self.edges[-1]) / 2


def svg(view: schema.View) -> str:
    """Return the ladder as SVG. Whatever a message contains is text in it."""
    places = _places(view["lanes"])
    found = rows(view)
    drawn, y = [], float(HEAD)
    for row in found[:MOST_ROWS]:
        drawn.append(_row(row, places, view["start"], y))
        y += _height(row)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, finalize=lambda value: clean(value) if isinstance(value, str) else value,
    )  # fmt: skip
    picture: str = environment.get_template("ladder.svg").render(
        view=view, places=places.values(), rows=drawn, width=_width(places), height=y + 30, head=HEAD,
        left_out=max(0, len(found) - MOST_ROWS),
    )  # fmt: skip
    return picture


def png(picture: Path, target: Path) -> None:
    """Make a PNG of an SVG file. Raises CalledProcessError."""
    command = ["rsvg-convert", "--zoom", ZOOM, "--background-color", "white", "--output", str(target), str(picture)]
    subprocess.run(command, check=True, capture_output=True)


def _places(lanes: list[schema.Lane]) -> dict[str, Place]:
    found, x = {}, float(GUTTER + WIDTH_OF_STEP / 2)
    for lane in lanes:
        wide = WIDTH_OF_ROUTER if len(lane["edges"]) > 1 else 0
        found[lane["name"]] = Place(lane, [x, x + wide] if wide else [x])
        x += WIDTH_OF_STEP + wide
    return found


def _width(places: dict[str, Place]) -> float:
    return max((place.edges[-1] for place in places.values()), default=GUTTER) + WIDTH_OF_STEP / 2


def _height(row: Row) -> float:
    if not row.arrows:
        return 44 if row.stream else 24
    return 36 + (13 if row.translation else 0) + 15 * len(row.wrong[:2])


def _x(end: schema.End, places: dict[str, Place]) -> float:
    edges = places[end["lane"]].edges
    return edges[min(end["edge"], len(edges) - 1)]


def _row(row: Row, places: dict[str, Place], start: float, y: float) -> dict[str, Any]:
    """Return what the template draws of a row."""
    made: dict[str, Any] = {"y": y, "time": f"{row.time - start:.4f}", "colour": COLOURS[row.tag % len(COLOURS)]}
    if row.event is not None:
        place = places.get(row.event["lane"])
        return made | {"kind": "event", "text": row.event["text"], "x": place.edges[-1] if place else GUTTER}
    if row.folded:
        return made | {"kind": "event", "text": row.kept, "x": float(GUTTER)}
    if row.stream:
        start_x, end_x = _x(row.stream[0]["origin"], places), _x(row.stream[-1]["target"], places)
        way = 1 if end_x >= start_x else -1
        body = end_x - start_x - way * 10
        return made | {
            "kind": "stream", "middle": (start_x + end_x) / 2, "label": row.heard,
            "path": f"M{start_x} 8h{body}l{way * 10} 9l{-way * 10} 9h{-body}z",
        }  # fmt: skip
    segments = [_segment(arrow, places) for arrow in row.arrows]
    ends = [x for segment in segments for x in (segment["from"], segment["to"])]
    first = row.arrows[0]
    again = f"↻ {first['copy'] + 1}  " if first["copy"] else ""
    below = [(row.translation, False)] if row.translation else []
    return made | {
        "kind": "arrows", "tag": row.tag + 1, "label": again + first["label"], "segments": segments,
        "middle": (min(ends) + max(ends)) / 2, "is_answer": first["status"] > 0, "is_again": first["copy"] > 0,
        "gaps": [(one["to"], other["from"]) for one, other in itertools.pairwise(segments)],
        "below": [*below, *((text, True) for text in row.wrong[:2])],
    }  # fmt: skip


def _segment(arrow: schema.Arrow, places: dict[str, Place]) -> dict[str, Any]:
    start, end = _x(arrow["origin"], places), _x(arrow["target"], places)
    way = 1 if end >= start else -1
    tip = start + (end - start) * 0.82 if arrow["lost"] else end - way * 2
    return {"from": start, "to": end, "tip": tip, "way": way, "lost": bool(arrow["lost"])}
