"""Databases of every earlier schema, with what that release left in them, brought to this one."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from ich_triage.domain.states import CompletedBy, StudyState
from ich_triage.errors import DatabaseVersionError
from ich_triage.store import deliveries, feedback, migrate, removal, revisions, studies
from ich_triage.store.database import Database
from ich_triage.store.feedback import Opinion
from tests.migration.dump import dump, fill, schema
from tests.migration.recorded import ROWS, recorded
from tests.migration.recorded import revisions as all_revisions
from tests.service import all_deliveries, study, worklist

NOW = datetime.now(UTC)
#: what changes with the hour, not with the release
_OF_THE_MOMENT = {"waiting_s", "place"}


@pytest.mark.parametrize("revision", all_revisions())
@pytest.mark.risk("R-024")
def test_nothing_is_lost_and_everything_is_read(database_url: str, revision: str) -> None:
    """Every row of every table is there afterwards, each study's document says what the old release said, and
    the service goes on from it."""
    database = Database(database_url)
    migrate.upgrade(database, revision)
    fill(database, recorded(revision)["tables"])
    old, before = schema(database), dump(database)
    migrate.upgrade(database)
    migrate.require_current(database)
    assert dump(database, old) == before
    told = recorded(revision)["studies"]
    assert {each["study_instance_uid"] for each in worklist(database)} == told.keys()
    for uid, document in told.items():
        assert _within(document, study(database, uid)) == []
    _go_on(database, next(uid for uid, document in told.items() if document["state"] == StudyState.FLAGGED))
    database.close()


def _within(expected: Any, found: Any, where: str = "") -> list[str]:
    """Where `found` does not say what `expected` says; it may say more."""
    if isinstance(expected, dict) and isinstance(found, dict):
        keys = expected.keys() - _OF_THE_MOMENT
        return [each for key in keys for each in _within(expected[key], found.get(key), f"{where}.{key}")]
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        pairs = zip(expected, found, strict=True)
        return [each for at, pair in enumerate(pairs) for each in _within(*pair, f"{where}[{at}]")]
    return [] if expected == found else [f"{where}: {expected!r} became {found!r}"]


def _go_on(database: Database, uid: str) -> None:
    """A reader's answer, a repeated delivery, another revision; then all of it goes."""
    with database.write() as session:
        row = studies.get(session, uid)
        opinion = Opinion(reader="Ada", agrees=True, subtypes=None, note="")
        feedback.give(session, row.revisions[0], opinion, NOW)
        assert deliveries.redeliver(session, uid, destination=None, now=NOW)
        assert revisions.open_revision(session, row, CompletedBy.QUIET, NOW).number == row.revision
    assert "Ada" in {each["reader"] for each in study(database, uid)["feedback"]}
    assert {each["state"] for each in all_deliveries(database, uid)} == {"pending"}
    with database.write() as session:
        removal.drop_study(session, studies.get(session, uid))
    assert uid not in {each["study_instance_uid"] for each in worklist(database)}


@pytest.mark.risk("R-024")
def test_an_upgrade_that_would_lose_something_changes_nothing(tmp_path: Path) -> None:
    """SQLite does not look while tables are made anew, so that the upgrade looks before it is kept."""
    database = Database(f"sqlite:///{tmp_path / 'ich.sqlite'}")
    migrate.upgrade(database, "0005")
    fill(database, recorded("0005")["tables"])
    before = dump(database)
    with closing(sqlite3.connect(tmp_path / "ich.sqlite")) as outside:
        outside.execute("UPDATE deliveries SET revision_id = 999 WHERE id = 1")
        outside.commit()
    with pytest.raises(DatabaseVersionError, match="rows of deliveries without those of revisions"):
        migrate.upgrade(database)
    assert migrate.current(database) == "0005"
    assert {name: len(rows) for name, rows in dump(database).items()} == {
        name: len(rows) for name, rows in before.items()
    }
    with pytest.raises(IntegrityError), database.write() as session:  # it looks again
        session.connection().exec_driver_sql("DELETE FROM studies")
    database.close()


def test_every_release_has_left_its_rows() -> None:
    """Who adds a migration has recorded the schema before it (tests/migration/record.py)."""
    known = all_revisions()
    kept = {path.stem for path in ROWS.glob("*.json")}
    assert kept <= set(known)
    assert known[-2] in kept or known[-1] in kept


@pytest.mark.risk("R-024")
def test_a_database_of_a_later_release_is_left_alone(database_url: str) -> None:
    """An older release says that it is the older one, and changes nothing."""
    database = Database(database_url)
    migrate.upgrade(database)
    with database.write() as session:
        session.connection().exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    for attempt in (migrate.require_current, migrate.upgrade):
        with pytest.raises(DatabaseVersionError, match=r"9999.*run the release that made it"):
            attempt(database)
    assert migrate.current(database) == "9999"
    database.close()
