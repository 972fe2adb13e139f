"""`ich-triage users` as an admin types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner, Result

from ich_triage.cli import app as cli
from ich_triage.settings import Access
from ich_triage.store import accounts, migrate, passwords, sessions, tokens
from ich_triage.store.account_tables import Audit, WebSession
from ich_triage.store.database import Database
from tests.service import write_config

PASSWORD = "four unrelated words here"
Run = Callable[..., Result]


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """An empty database of this release."""
    database = Database(f"sqlite:///{tmp_path / 'ich.sqlite'}")
    migrate.upgrade(database)
    return database


@pytest.fixture
def run(tmp_path: Path, database: Database) -> Run:
    """Runs `ich-triage users` on that database; `typed` goes to standard input."""
    config = write_config(tmp_path)

    def invoke(*arguments: str, typed: str = "") -> Result:
        return CliRunner().invoke(cli.app, ["--config", str(config), "users", *arguments], input=typed)

    return invoke


def test_an_account_from_its_making_to_its_end(run: Run, database: Database) -> None:
    """Every command does what it says, and each change is recorded."""
    assert run("add", "chief", "--role", "admin", typed=f"{PASSWORD}\n").exit_code == 0
    assert run("add", "reader", typed=f"{PASSWORD}\n").stdout == "reader can log in as radiologist\n"
    with database.write() as session:
        sessions.begin(session, accounts.get(session, "reader"), policy=Access(), now=datetime.now(UTC))
    assert run("logout", "reader").exit_code == 0
    with database.read() as session:
        assert session.scalars(sa.select(WebSession)).all() == []
    for command in (("role", "reader", "admin"), ("disable", "Reader"), ("enable", "reader")):
        assert run(*command).exit_code == 0, command
    assert run("password", "reader", typed="quite another few words\n").exit_code == 0
    with database.read() as session:
        reader = accounts.get(session, "reader")
        assert (reader.role, reader.disabled) == ("admin", False)
        assert passwords.verify(reader.password_hash, "quite another few words")
        recorded = session.scalars(sa.select(Audit).where(Audit.about == "reader")).all()
    assert [each.event for each in recorded] == [
        "account_added",
        "sessions_ended",
        "role_changed",
        "account_disabled",
        "account_enabled",
        "password_changed",
    ]
    assert all(each.role == "console" and each.actor for each in recorded)


def test_a_token_is_printed_once_and_listed_without_itself(run: Run, database: Database) -> None:
    """A script takes it from standard output; the list says when it was used."""
    token = run("token", "dashboard", "--days", "7").stdout.strip()
    with database.read() as session:
        assert tokens.find(session, token, datetime.now(UTC)) is not None
    listed = run("list", "--json").stdout
    assert token not in listed
    assert json.loads(listed)["tokens"][0]["state"] == "valid"
    assert run("revoke", "dashboard").exit_code == 0
    assert "revoked" in run("list").stdout
    with database.read() as session:
        assert tokens.find(session, token, datetime.now(UTC)) is None


@pytest.mark.parametrize(
    ("arguments", "typed", "why"),
    [
        (("add", "reader"), "short\n", "fewer than 12"),
        (("add", "reader"), "", "fewer than 12"),
        (("add", "reader", "--role", "service"), f"{PASSWORD}\n", "radiologist or admin"),
        (("add", "<b>"), f"{PASSWORD}\n", "letters, digits"),
        (("role", "nobody", "admin"), "", "users list"),
        (("disable", "nobody"), "", "users list"),
        (("token", "x", "--days", "0"), "", "1 to 730 days"),
        (("revoke", "x"), "", "no token x"),
    ],
)
def test_what_cannot_be_done_is_said(run: Run, arguments: tuple[str, ...], typed: str, why: str) -> None:
    """The command fails with what to do."""
    result = run(*arguments, typed=typed)
    assert result.exit_code == 1
    assert why in str(result.exception)
