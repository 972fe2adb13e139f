"""The worklist as a radiologist has it open all day, in a real browser, on the whole service."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Site
from tests.heads import tiny_head

pytestmark = pytest.mark.peer


def row(page: Page, uid: str) -> Locator:
    """A study's row."""
    return page.locator(f'.row[data-uid="{uid}"]')


def order(page: Page) -> list[str]:
    """UIDs of the rows from the top."""
    return page.locator(".row").evaluate_all("rows => rows.map(row => row.dataset.uid)")


def test_a_study_appears_and_rises_without_reload(site: Site, page: Page) -> None:
    """From the scanner's C-STORE to its place on top: the page that was open all the while is the same one."""
    page.evaluate("window.stayed = true")
    quiet = site.send(tiny_head(name="Phantom^Quiet"))
    expect(row(page, quiet)).to_contain_text("Not flagged")
    site.hold.touch()
    bleed = site.send(tiny_head(name="Phantom^Bleed", clot=True))
    expect(row(page, bleed)).to_contain_text("In progress")
    site.hold.unlink()
    expect(row(page, bleed)).to_contain_text("Flagged")
    expect(row(page, bleed)).to_contain_text("IPH left")
    expect(page.locator(".row").first).to_have_attribute("data-uid", bleed)
    assert order(page) == [bleed, quiet]
    assert page.evaluate("window.stayed")
