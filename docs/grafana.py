"""Writes docs/grafana.json, a dashboard of the proxy's metrics: `python -m docs.grafana`.

The invariant: every metric that it asks for is in the proxy's table, and a real Prometheus understands every question.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from proxy.metrics import COUNTERS, GAUGES, PREFIX

PAGE = Path(__file__).parent / "grafana.json"
WIDTH, HEIGHT = 12, 8  # of 24 columns

# title, unit, {legend: question}: a name between braces is a metric; of a counter its growth a second.
PANELS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("Messages", "reqps", {"requests": "{requests}", "responses": "{responses}"}),
    ("Registered", "short", {"contacts": "{bindings}"}),
    ("Registrations", "reqps", {"carried out": "{registrations}", "challenged": "{challenges}"}),
    ("Refused", "reqps", {"refused": "{refused}", "wrong passwords": "{wrong-passwords}", "not answered": "{silenced}",
                          "for load": "{shed}"}),
    ("Lost and repeated", "reqps", {"sent again": "{retransmissions}", "absorbed": "{absorbed}",
                                    "not sent": "{send-failures}", "not SIP": "{not-sip}"}),
    ("Behind NATs", "reqps", {"asked (OPTIONS)": "{keep-alives-sent}", "their keep-alives": "{keep-alives}",
                              "gone": "{bindings-dead}"}),
    ("Transactions", "short", {"server": "{transactions-server}", "client": "{transactions-client}"}),
    ("Connections", "short", {"TCP": "{connections-tcp}", "TLS": "{connections-tls}"}),
    ("Media relayed", "pps", {"callers": "{relay-caller-packets}", "who was called": "{relay-callee-packets}",
                              "strangers": "{relay-strangers}"}),
    ("Media lost", "pps", {"of callers": "{relay-caller-lost}", "of who was called": "{relay-callee-lost}"}),
    ("Memory", "bytes", {"resident": "{memory-bytes}"}),
    ("Faults", "short", {"of our own": "{internal-errors}", "of the journal": "{journal-failures}",
                         "lines of the log": "{log-lines-lost}"}),
)  # fmt: skip


def question(text: str) -> str:
    """Return PromQL for a question of the table. Raises KeyError for a metric that the proxy has not."""

    def metric(found: re.Match[str]) -> str:
        name = found[1]
        full = PREFIX + name.replace("-", "_")
        if name in COUNTERS:
            return f"rate({full}_total[$__rate_interval])"
        GAUGES[name]
        return full

    return re.sub(r"{([a-z-]+)}", metric, text)


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana imports it."""
    return {
        "title": "SIP proxy", "uid": "sip-nat-lab-proxy", "schemaVersion": 39, "editable": True, "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"}, "tags": ["sip"],
        "templating": {"list": [{"name": "source", "type": "datasource", "query": "prometheus"}]},
        "panels": [_panel(number, *panel) for number, panel in enumerate(PANELS)],
    }  # fmt: skip


def _panel(number: int, title: str, unit: str, asked: dict[str, str]) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${source}"}
    return {
        "id": number + 1, "type": "timeseries", "title": title, "datasource": source,
        "gridPos": {"x": number % 2 * WIDTH, "y": number // 2 * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + place), "expr": question(text), "legendFormat": legend, "datasource": source}
            for place, (legend, text) in enumerate(asked.items())
        ],
    }  # fmt: skip


def page() -> str:
    """Return docs/grafana.json."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
