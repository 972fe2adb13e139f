"""The history of model packages: what is in force after any sequence of promotions and rollbacks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from ich_triage.errors import PromotionError
from ich_triage.store import promotions
from ich_triage.store.database import Database
from ich_triage.store.tables import Promotion

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def _entry(name: str) -> Promotion:
    sha256 = name * 64
    return Promotion(
        at=NOW, package=name, weights_sha256=sha256, manifest_sha256=sha256, synthetic=True, checks=[]
    )


def _promote(database: Database, name: str) -> None:
    with database.write() as session:
        promotions.promote(session, _entry(name), after=promotions.last_number(session))


def _roll_back(database: Database) -> None:
    with database.write() as session:
        promotions.rollback(session, NOW, after=promotions.last_number(session))


def _standing(database: Database) -> list[str | None]:
    with database.read() as session:
        return [each.package for each in promotions.standing(session)]


@pytest.mark.risk("R-014")
def test_rollback_goes_back_one_promotion_each_time(database: Database) -> None:
    """Twice is two back, not there and back again; what was rolled back does not come up again."""
    assert _standing(database) == []
    for name in "abc":
        _promote(database, name)
    _roll_back(database)
    assert _standing(database) == ["b", "a"]
    _promote(database, "d")
    _roll_back(database)
    _roll_back(database)
    assert _standing(database) == ["a"]
    _roll_back(database)
    assert _standing(database) == []
    with pytest.raises(PromotionError, match="the package that ships is in force"):
        _roll_back(database)
    with database.read() as session:
        told = [(each.number, each.action, each.package) for each in promotions.history(session)]
    assert told[3:5] == [(4, "rollback", "b"), (5, "promote", "d")]
    assert told[-1] == (8, "rollback", None)


def test_of_many_promotions_at_the_same_moment_one_is_made(database: Database) -> None:
    """Whoever comes second, however close, finds the next number taken."""

    def attempt(name: str) -> bool:
        try:
            with database.write() as session:
                promotions.promote(session, _entry(name), after=0)
        except PromotionError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(attempt, "abcd"))
    assert made.count(True) == 1
    assert _standing(database) == ["abcd"[made.index(True)]]


def test_a_decision_about_a_package_that_is_no_longer_in_force_is_refused(database: Database) -> None:
    """The gate judged against what was in force before: who comes late is told that this has changed."""
    _promote(database, "a")
    _promote(database, "b")
    with (
        pytest.raises(PromotionError, match="meanwhile"),
        database.write() as session,
    ):
        promotions.promote(session, _entry("c"), after=1)
    with (
        pytest.raises(PromotionError, match="meanwhile"),
        database.write() as session,
    ):
        promotions.rollback(session, NOW, after=1)
    assert _standing(database) == ["b", "a"]
