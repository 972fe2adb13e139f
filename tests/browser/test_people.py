"""Accounts from the first admin's link to a closed one, and a provider that vouches, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Browser, Page, expect

from ich_triage.settings import Oidc, Settings, Web
from ich_triage.store import first_admin
from ich_triage.store.database import Database
from ich_triage.worklist.app import create
from ich_triage.worklist.server import WebServer
from tests.chromium import Watch, accessibility
from tests.openid import CLIENT_ID, CLIENT_SECRET, OpenIdPeer, openid_peer
from tests.web import PASSWORD

pytestmark = pytest.mark.peer

NEW_PASSWORD = ("New password", "New password, again")


@contextmanager
def serving(database: Database, **sections: object) -> Iterator[str]:
    """A web process's server in this one; yields its address."""
    settings = Settings(web=Web(port=0), **sections)  # type: ignore[arg-type]
    server = WebServer(settings.web, create(settings, database))
    server.start()
    try:
        yield server.url
    finally:
        server.stop()


@contextmanager
def window(browser: Browser, url: str) -> Iterator[Page]:
    """Of one person; whatever goes wrong on its pages fails the test."""
    context = browser.new_context(base_url=url)
    watch = Watch(context)
    try:
        yield context.new_page()
    finally:
        context.close()
    assert watch.errors == []


@pytest.fixture
def peer() -> Iterator[OpenIdPeer]:
    """A provider that knows Anna Müller, a reader."""
    with openid_peer() as running:
        yield running


def _log_in(page: Page, name: str, password: str) -> None:
    page.goto("/login")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.keyboard.press("Enter")


def test_from_the_first_link_to_a_closed_account(sqlite: Database, browser: Browser) -> None:
    """The first admin adds a radiologist, who changes the password, works, and is then shut out."""
    with sqlite.write() as session:
        secret = first_admin.renew(session, datetime.now(UTC))
    own = "my own four words"
    with serving(sqlite) as url, window(browser, url) as admin, window(browser, url) as reader:
        admin.goto(f"/first-admin?secret={secret}")
        assert accessibility(admin) == []
        admin.get_by_label("Name").fill("chief")
        for label in NEW_PASSWORD:
            admin.get_by_label(label, exact=True).fill(PASSWORD)
        admin.get_by_role("button", name="Make the account").click()
        admin.goto("/users")
        expect(admin.get_by_role("row", name="chief")).to_contain_text("admin")
        admin.get_by_label("Name", exact=True).fill("dr new")
        admin.get_by_label("First password").fill(PASSWORD)
        admin.get_by_role("button", name="Add user").click()
        expect(admin.get_by_role("heading", name="dr new")).to_be_visible()
        expect(admin.get_by_text("radiologist, open")).to_be_visible()

        _log_in(reader, "dr new", PASSWORD)
        expect(reader.get_by_role("columnheader", name="Patient")).to_be_visible()
        reader.goto("/account")
        reader.get_by_label("Present password").fill(PASSWORD)
        for label in NEW_PASSWORD:
            reader.get_by_label(label, exact=True).fill(own)
        reader.get_by_role("button", name="Change password").click()
        reader.wait_for_load_state()
        reader.goto("/")
        expect(reader.get_by_role("columnheader", name="Patient")).to_be_visible()

        admin.goto("/users")
        admin.get_by_role("link", name="dr new").click()
        admin.get_by_role("button", name="Close the account").click()
        expect(admin.get_by_text("radiologist, closed")).to_be_visible()
        reader.goto("/")
        expect(reader.get_by_role("heading", name="Log in")).to_be_visible()


def test_the_first_link_works_once(sqlite: Database, browser: Browser) -> None:
    """Whoever finds it later is told what to do."""
    with sqlite.write() as session:
        first_admin.renew(session, datetime.now(UTC))
    with serving(sqlite) as url, window(browser, url) as page:
        page.goto("/first-admin?secret=another")
        expect(page.get_by_text("ich-triage users add NAME --role admin")).to_be_visible()
        assert accessibility(page) == []


def test_a_provider_lets_its_people_in(sqlite: Database, browser: Browser, peer: OpenIdPeer) -> None:
    """Over its own site and back, with cookies as a browser keeps them; unknown groups stay out."""
    oidc = Oidc(
        issuer=peer.issuer, client_id=CLIENT_ID, client_secret=CLIENT_SECRET, roles={"readers": "radiologist"}
    )
    with serving(sqlite, oidc=oidc) as url:
        with window(browser, url) as page:
            page.goto("/quality")
            page.get_by_role("link", name="Log in through").click()
            page.wait_for_url("**/quality")
            expect(page.get_by_text("Anna Müller")).to_be_visible()
            page.goto("/account")
            expect(page.get_by_text("Role: radiologist")).to_be_visible()
            page.get_by_role("button", name="Log out").click()
            page.wait_for_url("**/login")
        peer.claims["groups"] = ["porters"]
        with window(browser, url) as page:
            page.goto("/login")
            page.get_by_role("link", name="Log in through").click()
            expect(page.get_by_role("alert")).to_be_visible()
            page.goto("/")
            expect(page.get_by_role("heading", name="Log in")).to_be_visible()
