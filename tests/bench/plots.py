"""Draws the benchmark's plots: a description on standard input (labkit/bench/page.py), {file: SVG} on its output."""

import json
import re
import sys

import pygal  # type: ignore[import-not-found]  # in the peers' image only
from pygal.style import CleanStyle  # type: ignore[import-not-found]

drawn = {}
for plot in json.load(sys.stdin):
    chart = pygal.XY(
        title=plot["title"], x_title=plot["x"], y_title=plot["y"], logarithmic=plot["is_logarithmic"], js=(),
        style=CleanStyle(font_family="sans-serif"), width=800, height=450, legend_at_bottom=True, dots_size=2,
        no_data_text="not measured", disable_xml_declaration=True,
    )  # fmt: skip
    for name, points in plot["lines"].items():
        chart.add(name, [tuple(point) for point in points])
    drawn[plot["file"]] = re.sub(r"<!--.*?-->", "", chart.render(is_unicode=True), flags=re.DOTALL)
json.dump(drawn, sys.stdout)
