"""Debian's chromium, headless, for tests of pages: offline, with a profile of its own, and nothing in its console."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@contextmanager
def chromium() -> Iterator[Any]:
    """The browser; a test that asks for it is skipped where there is none."""
    reason = "playwright is not installed; `make setup` installs it"
    driver = pytest.importorskip("playwright.sync_api", reason=reason)
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is not installed; `make setup-browser` installs it")
    with driver.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Any, path: Path, *, width: int = 1280, scheme: str = "light") -> Iterator[Any]:
    """A page that is read from its file alone, once its data are unpacked. What it complains of fails the test."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    page = context.new_page()
    messages: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("dialog", lambda dialog: (messages.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: messages.append(request.url) if request.url != path.as_uri() else None)
    try:
        page.goto(path.as_uri())
        page.wait_for_selector("body[data-ready]", state="attached")
        yield page
        assert messages == []
    finally:
        context.close()
