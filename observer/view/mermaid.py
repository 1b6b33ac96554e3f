"""The ladder as Mermaid, which GitHub, GitLab and many editors draw."""

from __future__ import annotations

from observer.view import schema
from observer.view.rows import Row, rows

MOST_ROWS = 200  # beyond some 500 arrows renderers refuse
MOST_CHARACTERS = 100


def mermaid(view: schema.View) -> str:
    """Return a sequence diagram of the calls that are worth drawing. Whatever a message contains is text in it."""
    numbers = {lane["name"]: f"L{number}" for number, lane in enumerate(view["lanes"])}
    lines = ["sequenceDiagram"]
    for lane in view["lanes"]:
        addresses = " | ".join(edge["address"] for edge in lane["edges"] if edge["address"] not in ("", lane["name"]))
        words = f"{quoted(lane['name'])}<br/>{quoted(addresses)}" if addresses else quoted(lane["name"])
        lines.append(f"    participant {numbers[lane['name']]} as {words}")
    for row in rows(view)[:MOST_ROWS]:
        lines += [f"    {line}" for line in _row(row, numbers)]
    return "\n".join(lines) + "\n"


def _row(row: Row, numbers: dict[str, str]) -> list[str]:
    if row.event is not None:
        return [f"Note over {numbers[row.event['lane']]}: {quoted(row.event['text'])}"]
    if row.folded:
        return []
    if row.stream:
        first, last = numbers[row.stream[0]["origin"]["lane"]], numbers[row.stream[-1]["target"]["lane"]]
        return [f"{first}-){last}: {quoted(row.heard)}"]
    lines = []
    for arrow in row.arrows:
        shaft = ("--" if arrow["status"] else "-") + ("x" if arrow["lost"] else ">>")
        again = f"({arrow['copy'] + 1}) " if arrow["copy"] else ""
        ends = numbers[arrow["origin"]["lane"]], numbers[arrow["target"]["lane"]]
        lines.append(f"{ends[0]}{shaft}{ends[1]}: {again}{quoted(arrow['label'])}")
        if arrow["crossing"]:
            changed = [f"{each['before']} → {each['after']}" for each in arrow["changes"] if each["kind"] == "address"]
            lines += [f"Note over {ends[0]}: {quoted(', '.join(changed))}"] if changed else []
    last = numbers[row.arrows[-1]["target"]["lane"]]
    return lines + [f"Note over {last}: {quoted(text)}" for text in row.wrong[:2]]


def quoted(text: str) -> str:
    """Return text that means nothing to Mermaid: only letters, digits and harmless signs stay as they are."""
    cut = text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"
    return "".join(sign if sign.isalnum() or sign in " .,:@()/→✗!|_=-…" else f"#{ord(sign)};" for sign in cut)
