"""The pages on which an admin looks after accounts and tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from ich_triage.domain.roles import Role
from ich_triage.store import accounts
from ich_triage.store.account_tables import Audit
from ich_triage.store.database import Database
from tests.web import PASSWORD, add_account, browser, csrf_token, log_in

OTHER = "quite another few words"


@pytest.fixture
def client(sqlite: Database) -> Iterator[TestClient]:
    """The browser of an admin `chief`."""
    add_account(sqlite, "chief", Role.ADMIN)
    with browser(sqlite) as client:
        log_in(client, "chief")
        yield client


def _post(client: TestClient, path: str, **form: str) -> httpx.Response:
    return client.post(path, data=form | {"csrf_token": csrf_token(client.get("/users").text)})


def _number(database: Database, name: str) -> int:
    with database.read() as session:
        return accounts.get(session, name).id


def _add(client: TestClient, database: Database, name: str) -> int:
    answer = _post(client, "/users", name=name, role="radiologist", password=PASSWORD)
    assert answer.headers["location"] == f"/users/{_number(database, name)}"
    return _number(database, name)


def test_an_account_is_made_changed_closed_and_opened(client: TestClient, sqlite: Database) -> None:
    """Each change works at once, and each is recorded with who made it and about whom."""
    number = _add(client, sqlite, "reader")
    with TestClient(client.app, follow_redirects=False) as reader:
        for path, form, then in (
            ("role", {"role": "admin"}, 303),
            ("role", {"role": "radiologist"}, 303),
            ("password", {"password": OTHER}, 401),
            ("disable", {}, 401),
            ("enable", {}, 401),
            ("logout", {}, 401),
        ):
            log_in(reader, "reader", OTHER if path in ("disable", "logout") else PASSWORD)
            assert _post(client, f"/users/{number}/{path}", **form).status_code == 303
            assert reader.get("/account").status_code == 303, path
            assert log_in(reader, "reader").status_code == then, path
    with sqlite.read() as session:
        changes = session.scalars(sa.select(Audit).where(Audit.about == "reader").order_by(Audit.id)).all()
    assert {(each.actor, each.role) for each in changes} == {("chief", "admin")}
    assert [each.event for each in changes] == [
        "account_added",
        "role_changed",
        "role_changed",
        "password_changed",
        "account_disabled",
        "account_enabled",
        "sessions_ended",
    ]


@pytest.mark.parametrize(
    ("path", "form", "why"),
    [
        ("/users", {"name": "<b>x</b>", "role": "radiologist", "password": PASSWORD}, "letters, digits"),
        ("/users", {"name": "CHIEF", "role": "radiologist", "password": PASSWORD}, "already"),
        ("/users", {"name": "reader", "role": "emperor", "password": PASSWORD}, "radiologist or admin"),
        ("/users", {"name": "reader", "role": "service", "password": PASSWORD}, "radiologist or admin"),
        ("/users", {"name": "reader", "role": "admin", "password": "x"}, "12 characters"),
        ("/users", {}, "letters, digits"),
        ("/users/tokens", {"name": "x", "days": "-1"}, "1 to 730 days"),
        ("/users/tokens", {"name": "x", "days": "1e3"}, "1 to 730 days"),
        ("/users/tokens", {"name": "x", "days": "9" * 5000}, "1 to 730 days"),
        ("/users/tokens", {"name": "", "days": "1"}, "letters, digits"),
        ("/users/tokens/revoke", {"name": "unknown"}, "no token"),
    ],
)
def test_what_cannot_be_made_is_refused_on_the_page(
    client: TestClient, path: str, form: dict[str, str], why: str
) -> None:
    """The page says what to give instead, and nothing that was typed runs on it."""
    refused = _post(client, path, **form)
    assert refused.status_code == 400
    assert why in refused.text
    assert "<b>x" not in refused.text


def test_the_last_admin_cannot_lock_everybody_out(client: TestClient, sqlite: Database) -> None:
    """Closing the last admin is refused, with what to do first."""
    refused = _post(client, f"/users/{_number(sqlite, 'chief')}/disable")
    assert refused.status_code == 400
    assert "last admin" in refused.text


def test_a_token_is_shown_once_and_works_until_it_is_taken_back(client: TestClient) -> None:
    """The list never shows it again."""
    page = _post(client, "/users/tokens", name="dashboard", days="30")
    found = re.search(r"<code>(ich_[\w-]{43})</code>", page.text)
    assert (page.status_code, bool(found)) == (201, True)
    assert found
    bearer = {"authorization": f"Bearer {found[1]}", "accept": "application/json"}
    with TestClient(client.app, follow_redirects=False) as program:
        assert program.get("/account", headers=bearer).status_code == 403
        assert found[1] not in client.get("/users").text
        assert _post(client, "/users/tokens", name="dashboard", days="30").status_code == 400
        assert _post(client, "/users/tokens/revoke", name="dashboard").status_code == 303
        assert program.get("/account", headers=bearer).status_code == 401
    assert "revoked" in client.get("/users").text


@pytest.mark.parametrize("number", ["999", str(2**40), "9" * 30])
def test_an_account_that_is_not_there_is_said_to_be_so(client: TestClient, number: str) -> None:
    """A number from an old bookmark or from nowhere is no error of ours."""
    assert client.get(f"/users/{number}").status_code == 404
    assert _post(client, f"/users/{number}/disable").status_code == 404


def test_nobody_but_an_admin_gets_there(client: TestClient, sqlite: Database) -> None:
    """A radiologist reads and changes nothing here, not by a form of their own making either."""
    number = _add(client, sqlite, "reader")
    with TestClient(client.app, follow_redirects=False) as reader:
        log_in(reader, "reader")
        token = csrf_token(reader.get("/account").text)
        for path in ("/users", f"/users/{number}"):
            assert reader.get(path).status_code == 403
        for path in ("/users", "/users/tokens", f"/users/{number}/role", f"/users/{number}/enable"):
            form = {"csrf_token": token, "role": "admin", "name": "x", "password": PASSWORD, "days": "1"}
            assert reader.post(path, data=form).status_code == 403
    with sqlite.read() as session:
        assert accounts.get(session, "reader").role == "radiologist"
