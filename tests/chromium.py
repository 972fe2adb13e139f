"""A real headless Chromium, and what it says about our pages while they are used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.peers import program

_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--font-render-hinting=none",
)
#: what the browser itself writes when an answer is not 2xx; pages meet such answers on purpose
_ANSWERED = "Failed to load resource"
#: everything that axe-core knows: WCAG 2 A and AA, and best practices
_RULES = {"resultTypes": ["violations"]}


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium; skips the test where it is absent."""
    path = program("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_FLAGS))
        try:
            yield browser
        finally:
            browser.close()


class Watch:
    """What went wrong on the pages of one browser context."""

    def __init__(self, context: BrowserContext) -> None:
        #: errors of scripts, refusals of the content security policy, dialogs that a page opened
        self.errors: list[str] = []
        context.on("console", lambda message: self._said(message.type, message.text))
        context.on("weberror", lambda error: self.errors.append(str(error.error)))
        context.on("dialog", lambda dialog: (self.errors.append(f"dialog {dialog.message}"), dialog.accept()))

    def forget(self) -> None:
        """What was said so far was to be expected."""
        self.errors.clear()

    def _said(self, kind: str, words: str) -> None:
        if kind in ("error", "warning") and not words.startswith(_ANSWERED):
            self.errors.append(words)


def accessibility(page: Page) -> list[str]:
    """What axe-core finds against a page: rule, element, why."""
    found = Axe().run(page, options=_RULES).response["violations"]
    return [
        f"{rule['id']}: {node['html'][:200]} {node['failureSummary']}"
        for rule in found
        for node in rule["nodes"]
    ]
