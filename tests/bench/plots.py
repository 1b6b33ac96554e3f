"""Draws the benchmark's plots: a description on standard input (labkit/bench/page.py), {file: SVG} on its output."""

import json
import re
import sys

import pygal  # type: ignore[import-not-found]  # in the peers' image only
from pygal.style import CleanStyle  # type: ignore[import-not-found]

# A colour for each system, and darker before paler for the lines that it has (p50, p95, p99).
SHADES = (
    ("#08519c", "#4292c6", "#9ecae1"), ("#a63603", "#f16913", "#fdae6b"), ("#252525", "#737373", "#bdbdbd"),
    ("#006d2c", "#41ab5d", "#a1d99b"), ("#54278f", "#807dba", "#bcbddc"),
)  # fmt: skip


def colours(names: list[str]) -> tuple[str, ...]:
    """Return a colour for each line; the first word of its name is its system."""
    systems = [name.split()[0] for name in names]
    order = list(dict.fromkeys(systems))
    return tuple(
        SHADES[order.index(system) % len(SHADES)][systems[:number].count(system) % 3]
        for number, system in enumerate(systems)
    )


drawn = {}
for plot in json.load(sys.stdin):
    style = CleanStyle(font_family="sans-serif", colors=colours(list(plot["lines"])) or SHADES[0])
    chart = pygal.XY(
        title=plot["title"], x_title=plot["x"], y_title=plot["y"], logarithmic=plot["is_logarithmic"], js=(),
        style=style, width=800, height=450, legend_at_bottom=True, dots_size=2,
        no_data_text="not measured", disable_xml_declaration=True,
    )  # fmt: skip
    for name, points in plot["lines"].items():
        chart.add(name, [tuple(point) for point in points])
    drawn[plot["file"]] = re.sub(r"<!--.*?-->", "", chart.render(is_unicode=True), flags=re.DOTALL)
json.dump(drawn, sys.stdout)
