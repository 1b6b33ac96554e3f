"""Writes docs/view.md from observer/view/schema.py: `python -m docs.view`. A test holds the two together."""

from __future__ import annotations

from pathlib import Path

from observer.view.schema import document

PAGE = Path(__file__).parent / "view.md"

if __name__ == "__main__":
    PAGE.write_text(document(), encoding="utf-8")
