"""A verdict for machines and their pages: JUnit, a test case for each check, and Markdown with the ladder in it."""

from __future__ import annotations

import html
import xml.etree.ElementTree as ElementTree

from observer.view import schema
from observer.view.mermaid import mermaid
from observer.view.rows import clean

SIGNS = {"pass": "✓", "fail": "✗", "not-seen": "?"}


def junit(view: schema.View) -> str:
    """Return the checks as JUnit has them; a failure names its evidence and where all of it is kept."""
    wrong = [check for check in view["checks"] if check["result"] != "pass"]
    suite = ElementTree.Element(
        "testsuite", name=clean(view["title"]), tests=str(len(view["checks"])), failures=str(len(wrong)), errors="0",
        time=f"{view['end'] - view['start']:.3f}",
    )  # fmt: skip
    for check in view["checks"]:
        case = ElementTree.SubElement(suite, "testcase", classname="lab", name=clean(check["name"]), time="0")
        if check["result"] != "pass":
            told = clean(f"{check['name']}: {check['evidence']} (evidence in out/{view['title']})")
            failure = ElementTree.SubElement(case, "failure", type=check["result"], message=told)
            failure.text = "\n".join([told, *_arrows(view, check["name"])])
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _arrows(view: schema.View, check: str) -> list[str]:
    """Return the packets that failed a check."""
    ways = [
        (arrow["time"] - view["start"], arrow["origin"]["lane"], arrow["target"]["lane"], arrow["label"])
        for call in view["calls"]
        for arrow in call["arrows"]
        if any(failure["check"] == check for failure in arrow["failed"])
    ]
    return [clean(f"{time:.4f} {origin} → {target} {label}") for time, origin, target, label in ways]


def markdown(view: schema.View) -> str:
    """Return what a CI's page shows of a run: verdict, what happened, calls, checks, and the ladder behind them."""
    verdict = f"{SIGNS.get(view['verdict'], '!')} {view['verdict']}" if view["verdict"] else "captured"
    without = f", without {', '.join(view['without'])}" if view["without"] else ""
    lines = [f"### {_text(view['title'])}: {verdict}{_text(without)}", ""]
    lines += [f"- {_text(fact)}" for fact in (*view["facts"], *view["notes"])]
    lines += ["", "| call | | state | NAT |", "|---|---|---|---|"]
    lines += [
        f"| {_text(call['method'])} | {_text(call['caller'])} → {_text(call['callee'])} "
        f"| {call['state']} {_text(call['status'])} | {_text(call['nat'])} |"
        for call in view["calls"]
    ]
    if view["checks"]:
        lines += ["", "| | check | evidence |", "|---|---|---|"]
        lines += [
            f"| {SIGNS.get(check['result'], '!')} | {check['name']} | {_text(check['evidence'])} |"
            for check in view["checks"]
        ]
    return "\n".join([*lines, "", "```mermaid", mermaid(view).rstrip(), "```", ""])


def _text(text: str) -> str:
    """Return text that is no markup in a cell of a table."""
    escaped = html.escape(clean(text), quote=False)
    return "".join(f"\\{sign}" if sign in "\\`*_{}[]()#|~!" else sign for sign in escaped)
