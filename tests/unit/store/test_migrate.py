"""The schema: both databases get the same one, and it is the one that the tables declare."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from ich_triage.errors import DatabaseVersionError
from ich_triage.store import account_tables, migrate  # noqa: F401 - declares its tables on Base
from ich_triage.store.database import Database
from ich_triage.store.tables import Base, Worker

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
#: the columns that the table had in the first schema
_WORKERS_0001 = sa.table(
    "workers",
    *(
        sa.column(name, Worker.__table__.c[name].type)
        for name in ("id", "host", "pid", "started_at", "seen_at")
    ),
)


def test_migrations_yield_what_the_tables_declare(database: Database) -> None:
    """After `upgrade` there is nothing left for autogenerate to find."""
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_an_empty_database_is_refused_with_the_remedy(database_url: str) -> None:
    """A service never runs on a schema that is not its own."""
    database = Database(database_url)
    with pytest.raises(DatabaseVersionError, match="ich-triage db upgrade"):
        migrate.require_current(database)
    migrate.upgrade(database)
    migrate.require_current(database)
    database.close()


def test_an_older_schema_is_brought_to_this_one(database_url: str) -> None:
    """A site that has run since the first release loses no row and gets what is new."""
    database = Database(database_url)
    migrate.upgrade(database, "0001")
    with pytest.raises(DatabaseVersionError, match="is 0001, this release needs"):
        migrate.require_current(database)
    with database.write() as session:
        row = {"id": "w", "host": "h", "pid": 1, "started_at": NOW, "seen_at": NOW}
        session.execute(_WORKERS_0001.insert().values(row))
    migrate.upgrade(database)
    migrate.require_current(database)
    with database.read() as session:
        assert session.get_one(Worker, "w").seen_at == NOW
    database.close()
