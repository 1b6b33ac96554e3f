"""A browser that looks at the page as a reader would, and complains of whatever the page complains of."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, Page, sync_playwright

from labkit.settings import OUT
from labkit.test import BROWSERS

QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--disable-component-update",
    "--disable-sync",
)  # fmt: skip
DESK, PHONE = (1280, 800), (390, 844)
SHOTS = OUT / "screenshots"


@contextmanager
def started() -> Iterator[Browser]:
    """This machine's browser, without a window. Raises RuntimeError where there is none."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        raise RuntimeError(f"none of {', '.join(BROWSERS)} is here: `./lab test` installs one")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(QUIET))
        yield browser
        browser.close()


@contextmanager
def looking(
    browser: Browser, address: str, size: tuple[int, int] = DESK, scheme: Literal["light", "dark"] = "light"
) -> Iterator[Page]:
    """A page that is open; at the end nothing was said on its console, and no script has failed."""
    said: list[str] = []
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(f"a dialog: {dialog.message}"))
    page.goto(address)
    try:
        yield page
        assert not said
    finally:
        context.close()


def shoot(page: Page, name: str) -> Path:
    """Keep what is seen."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    path = SHOTS / f"{name}.png"
    page.screenshot(path=path)
    return path


def texts(page: Page, selector: str) -> list[str]:
    """Return the text of each element."""
    return page.locator(selector).all_text_contents()


def value(page: Page, script: str) -> Any:
    """Return what a script says in the page."""
    return page.evaluate(script)


def until(page: Page, script: str, seconds: float = 60.0) -> None:
    """Return when this becomes true in the page. Playwright's own way is to `eval`, which the page's policy forbids."""
    deadline = time.monotonic() + seconds
    while not page.evaluate(script):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {script}"
        page.wait_for_timeout(50)
