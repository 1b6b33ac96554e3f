"""A run's folder is read again as it was judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from observer.view import media, run
from tests.unit.observer.sightings import TWO_HOMES, good_story, made, topology


@pytest.mark.parametrize("more", [{}, TWO_HOMES])
def test_a_run_comes_back_as_it_was(more: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = topology(more)
    story = good_story()
    run.save(tmp_path, where, story)
    (tmp_path / "verdict.json").write_text(json.dumps({"verdict": "pass", "checks": []}))
    said = {"name": "home", "profile": {"lifetime": 30}, "events": [made(1)]}
    (tmp_path / "router.json").write_text(json.dumps(said))
    stray = good_story()[0]
    stray.time, stray.call_id = -1.0, "before"
    monkeypatch.setattr(run, "decode", lambda _: [stray, *story])
    monkeypatch.setattr(media, "streams", lambda *_: [])
    seen = run.load(tmp_path)
    assert seen.topology == where
    assert seen.sightings == story
    assert seen.kinds == {"nat": "home"}
    assert seen.histories["nat"].profile == {"lifetime": 30}
