"""The page: one HTML file that needs nothing else, with a policy by which nothing that a message contains can run.

What comes from messages is in it as JSON, and the script puts it into the document as text.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from observer.view.schema import View

TEMPLATES = Path(__file__).with_name("templates")
SCRIPTS = ("rows.js", "ladder.js", "detail.js", "page.js")


def render(view: View, live: bool = False) -> str:
    """Return the page of this view; a live one asks its server for what comes."""
    style, script = _read("page.css"), "".join(map(_read, SCRIPTS))
    loader = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    page: str = loader.get_template("page.html").render(
        title=view["title"], policy=policy(live), style=style, script=script, view=as_text(view),
        live="yes" if live else "no",
    )  # fmt: skip
    return page


def policy(live: bool = False) -> str:
    """Return the Content-Security-Policy: our own style and script, known by their hashes; a live page's own server."""
    style, script = (_hash(text) for text in (_read("page.css"), "".join(map(_read, SCRIPTS))))
    connect = "'self'" if live else "'none'"
    return (
        f"default-src 'none'; style-src '{style}'; script-src '{script}'; connect-src {connect}; base-uri 'none'; "
        "form-action 'none'"
    )


def as_text(view: View) -> str:
    """Return the view as JSON that may stand in a page: no markup begins or ends in it."""
    return json.dumps(view, separators=(",", ":")).replace("<", "\\u003c").replace(">", "\\u003e")


def _read(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
