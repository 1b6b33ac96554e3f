"""The page is whole by itself, and its policy lets nothing run but its own script."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re

from observer.view import page
from tests.unit.observer.view.test_drawings import NASTY, hostile
from tests.unit.observer.view.views import drawn


def test_the_policy_names_the_style_and_the_script_by_their_hashes() -> None:
    text = page.render(drawn())
    policy = html.unescape(re.findall(r'Content-Security-Policy" content="([^"]+)"', text)[0])
    for element in ("style", "script"):
        (content,) = re.findall(rf"<{element}>(.*?)</{element}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy


def test_the_page_asks_for_nothing_but_a_live_one_its_own_server() -> None:
    text = page.render(drawn())
    assert "connect-src 'none'" in page.policy()
    assert "connect-src 'self'" in page.policy(live=True)
    assert not re.search(r'(src|href)="', text)
    assert "@import" not in text
    assert "url(" not in text


def test_no_markup_of_a_message_is_markup_of_the_page() -> None:
    text = page.render(hostile())
    assert "<script>alert" not in text
    assert text.count("<script") == 2
    (data,) = re.findall(r'<script type="application/json" id="view">(.*?)</script>', text, re.DOTALL)
    assert json.loads(data)["calls"][0]["id"] == NASTY


def test_the_script_never_makes_markup_of_text() -> None:
    scripts = "".join((page.TEMPLATES / name).read_text() for name in page.SCRIPTS)
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "srcdoc"):
        assert way not in scripts


def test_the_page_stays_small() -> None:
    assert len(page.render(drawn([]))) < 80_000
