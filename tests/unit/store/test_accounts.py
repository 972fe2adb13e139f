"""Accounts: names, roles, and that there is always somebody who looks after them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from ich_triage.domain.roles import Role
from ich_triage.errors import AccountError
from ich_triage.settings import Access
from ich_triage.store import accounts, first_admin, sessions
from ich_triage.store.account_tables import Account
from ich_triage.store.database import Database

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def _add(database: Database, name: str, role: str = Role.RADIOLOGIST) -> None:
    with database.write() as session:
        accounts.add(session, Account(name=name, role=role, password_hash="x"), now=NOW)


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "a" * 65,
        "a\x00b",
        "<script>alert(1)</script>",
        "'; DROP TABLE accounts; --",
        "a\nb",
        "a\u202eb",
    ],
)
def test_a_name_that_could_do_harm_is_refused(sqlite: Database, name: str) -> None:
    """What stands in lists, logs and reports is a name and nothing else."""
    with pytest.raises(AccountError, match="1 to 64 letters"):
        _add(sqlite, name)
    with sqlite.read() as session:
        assert accounts.find(session, name) is None


def test_a_name_is_one_persons_in_whatever_case(database: Database) -> None:
    """Nobody passes for another by a capital letter or a wide one."""
    _add(database, "Änne O'Brien-Müller")
    for same in (
        "änne o'brien-müller",
        "ÄNNE O'BRIEN-MÜLLER",
        " Änne O'Brien-Müller ",
        "Ａ\u0308nne O'Brien-Müller",
    ):
        with pytest.raises(AccountError, match="already"):
            _add(database, same)


def test_a_service_is_no_role_of_a_person(sqlite: Database) -> None:
    """Programs have tokens."""
    with pytest.raises(AccountError, match="radiologist or admin"):
        _add(sqlite, "robot", Role.SERVICE)


def test_the_last_admin_stays_one(sqlite: Database) -> None:
    """Nobody locks everybody out by mistake."""
    _add(sqlite, "chief", Role.ADMIN)
    with sqlite.write() as session:
        chief = accounts.get(session, "chief")
        with pytest.raises(AccountError, match="last admin"):
            accounts.set_role(session, chief, Role.RADIOLOGIST)
        with pytest.raises(AccountError, match="last admin"):
            accounts.set_disabled(session, chief, disabled=True)
    _add(sqlite, "deputy", Role.ADMIN)
    with sqlite.write() as session:
        accounts.set_disabled(session, accounts.get(session, "chief"), disabled=True)
        assert accounts.has_admin(session)


def test_a_new_link_ends_the_one_before_and_none_is_made_beside_an_admin(sqlite: Database) -> None:
    """A link from yesterday's console opens nothing."""
    with sqlite.write() as session:
        first = first_admin.renew(session, NOW)
        second = first_admin.renew(session, NOW)
        assert first and second
        with pytest.raises(AccountError, match="a later start"):
            first_admin.require(session, first, NOW)
        first_admin.require(session, second, NOW + timedelta(hours=23))
        with pytest.raises(AccountError, match="older than 24 hours"):
            first_admin.require(session, second, NOW + timedelta(hours=25))
    _add(sqlite, "chief", Role.ADMIN)
    with sqlite.write() as session:
        with pytest.raises(AccountError, match="has been used"):
            first_admin.use(session, second, Account(name="late", password_hash="x"), now=NOW)
        assert first_admin.renew(session, NOW) is None


def test_of_many_uses_of_the_link_at_the_same_moment_one_makes_an_admin(database: Database) -> None:
    """Whoever comes second, however close, is told that the link is used."""
    with database.write() as session:
        secret = first_admin.renew(session, NOW)
    assert secret

    def use(name: str) -> bool:
        try:
            with database.write() as session:
                first_admin.use(session, secret, Account(name=name, password_hash="x"), now=NOW)
        except AccountError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(use, ("one", "two", "three", "four"))).count(True) == 1
    with database.read() as session:
        assert [each.role for each in accounts.everybody(session)] == ["admin"]


def test_all_sessions_of_one_account_end_and_no_others(database: Database) -> None:
    """The number says from how many browsers somebody was logged out."""
    _add(database, "one")
    _add(database, "two")
    with database.write() as session:
        one, two = accounts.get(session, "one"), accounts.get(session, "two")
        for account in (one, one, two):
            cookie = sessions.begin(session, account, policy=Access(), now=NOW)
    with database.write() as session:
        assert sessions.end_all(session, one) == 2
        found = sessions.find(session, cookie, policy=Access(), now=NOW)
        assert found is not None and found.account.name == "two"


def test_two_admins_who_close_each_other_leave_one(database: Database) -> None:
    """However close the two come, somebody can still look after the accounts."""
    for _ in range(3):
        names = ("one", "two")
        with database.write() as session:
            session.execute(sa.delete(Account))
        for name in names:
            _add(database, name, Role.ADMIN)

        def close(name: str) -> bool:
            try:
                with database.write() as session:
                    accounts.set_disabled(session, accounts.get(session, name), disabled=True)
            except AccountError:
                return False
            return True

        with ThreadPoolExecutor(2) as pool:
            assert sorted(pool.map(close, names)) == [False, True]
