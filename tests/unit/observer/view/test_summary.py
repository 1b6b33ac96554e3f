"""What a CI shows of a run."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from observer.decode import Sighting
from observer.view import summary
from tests.unit.observer.sightings import broken, good_story
from tests.unit.observer.view.test_drawings import hostile
from tests.unit.observer.view.views import drawn, judged


def failing() -> list[Sighting]:
    def is_told(seen: Sighting) -> bool:
        return seen.first_line.startswith("INVITE sip:bob@198.51.100.200") and seen.tap == "proxy"

    return broken(is_told, contact="sip:alice@10.77.1.100:5060")


def test_every_check_is_a_test_case_and_a_failure_names_its_evidence() -> None:
    suite = ElementTree.fromstring(summary.junit(judged(failing())))
    assert suite.get("failures") == "1"
    assert len(suite) == int(suite.get("tests") or 0) > 8
    (failure,) = suite.iter("failure")
    assert "contact-public: Bob was told sip:alice@10.77.1.100:5060" in (failure.get("message") or "")
    assert "evidence in out/a run" in (failure.get("message") or "")
    assert (failure.text or "").endswith("proxy → bob INVITE bob")


def test_a_good_run_has_no_failure() -> None:
    assert ElementTree.fromstring(summary.junit(judged(good_story()))).get("failures") == "0"


def test_the_page_has_verdict_calls_checks_and_the_ladder() -> None:
    text = summary.markdown(judged(failing()))
    assert text.startswith("### a run: ✗ fail\n")
    assert "| ✗ | contact-public | Bob was told sip:alice@10.77.1.100:5060 |" in text
    assert "| INVITE | alice → bob | ended 200 OK | home |" in text
    assert "```mermaid\nsequenceDiagram\n" in text


def test_text_stays_text() -> None:
    view = hostile()
    view["facts"] = ["<script>alert(1)</script> | [x](javascript:y) `z`"]
    text = summary.markdown(view)
    assert "<script" not in text
    assert "\\[x\\]\\(javascript" in text
    assert ElementTree.fromstring(summary.junit(drawn([]))) is not None
