"""The log-in page in a real browser, and what is refused there in words."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import READER, Open, Site, log_in
from tests.listed import put_on_list

pytestmark = pytest.mark.peer


@pytest.fixture
def stranger(visitor: Open) -> Page:
    """A window of somebody who is not logged in."""
    return visitor()


def test_every_page_leads_to_the_log_in_and_back(site: Site, stranger: Page) -> None:
    """Who asks for a study without a log-in gets nothing of it before, and the study itself after it."""
    uid = put_on_list(site.database, "Phantom^Hidden")
    for path in ("/", "/quality", f"/studies/{uid}", f"/studies/{uid}/report"):
        stranger.goto(path)
        expect(stranger.get_by_role("heading", name="Log in")).to_be_visible()
        assert "Phantom" not in stranger.content()
    log_in(stranger, READER, then=f"/studies/{uid}")
    stranger.wait_for_url(f"**/studies/{uid}")
    expect(stranger.locator("h1")).to_contain_text("Phantom, Hidden")


def test_a_wrong_password_is_told_and_the_form_stays(stranger: Page) -> None:
    """The keyboard alone is enough, the error is announced, and the password is in no address."""
    stranger.goto("/login")
    expect(stranger.get_by_label("Name")).to_be_focused()
    stranger.keyboard.type("dr nobody")
    stranger.keyboard.press("Tab")
    stranger.keyboard.type("not a password")
    stranger.keyboard.press("Enter")
    expect(stranger.get_by_role("alert")).to_contain_text("Name and password do not fit")
    expect(stranger.get_by_label("Password")).to_have_value("")
    assert "password" not in stranger.url


def test_logging_out_closes_every_page(stranger: Page) -> None:
    """Neither the list nor the browser's way back shows a patient to who comes next."""
    log_in(stranger, READER)
    stranger.get_by_role("button", name="Log out").click()
    stranger.wait_for_url("**/login")
    stranger.go_back()
    expect(stranger.get_by_role("heading", name="Log in")).to_be_visible()


def test_a_page_of_an_earlier_log_in_changes_nothing(site: Site, stranger: Page) -> None:
    """Its token is that of another session: the answer is refused in words and not kept."""
    uid = put_on_list(site.database, "Phantom^Kept")
    log_in(stranger, READER)
    expect(stranger.locator(".row")).to_have_count(1)
    later = stranger.context.new_page()
    later.goto("/")
    later.get_by_role("button", name="Log out").click()
    later.wait_for_url("**/login")
    log_in(later, READER)
    stranger.keyboard.press("j")
    stranger.keyboard.press("a")
    expect(stranger.locator("#said")).to_contain_text("the page is of an earlier log-in")
    assert not site.study(uid)["feedback"]
