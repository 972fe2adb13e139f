"""The web application for tests: accounts in its database, browsers that log in."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache

import httpx
from fastapi.testclient import TestClient

from ich_triage.domain.roles import Role
from ich_triage.settings import Settings
from ich_triage.store import accounts, passwords
from ich_triage.store.account_tables import Account
from ich_triage.store.database import Database
from ich_triage.worklist.app import create

PASSWORD = "four unrelated words here"


@cache
def _hash(password: str, name: str) -> str:
    """Slow by intent, so that once for each is enough."""
    return passwords.make_hash(password, name)


def add_account(database: Database, name: str, role: Role, *, password: str = PASSWORD) -> None:
    """An account with a password."""
    account = Account(name=name, role=role, password_hash=_hash(password, name))
    with database.write() as session:
        accounts.add(session, account, now=datetime.now(UTC))


def browser(
    database: Database, settings: Settings | None = None, *, base_url: str = "http://ich"
) -> TestClient:
    """A browser without cookies, on an application of its own."""
    app = create(settings or Settings(), database)
    return TestClient(app, base_url=base_url, follow_redirects=False, raise_server_exceptions=True)


def log_in(client: TestClient, name: str, password: str = PASSWORD) -> httpx.Response:
    """Send the form of the log-in page."""
    return client.post("/login", data={"name": name, "password": password})


def csrf_token(page: str) -> str:
    """What the page sends back with every change."""
    found = re.search(r'name="csrf_token" value="([0-9a-f]+)"', page)
    assert found
    return found[1]
