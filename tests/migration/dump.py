"""All rows of a database as JSON and back, in the columns that the database itself says it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from ich_triage.store.database import Database

Json = dict[str, Any]
#: the version of the schema is no row of ours
_NOT_OURS = "alembic_version"
#: PostgreSQL counts ids by itself and does not look at those that it is given
_NEXT_ID = "SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}"


def schema(database: Database) -> sa.MetaData:
    """Tables and columns as the database has them; parents before children."""
    found = sa.MetaData()
    with database.engine.connect() as connection:
        found.reflect(connection, only=lambda name, _: name != _NOT_OURS)
    return found


def dump(database: Database, tables: sa.MetaData | None = None) -> dict[str, list[Json]]:
    """Table → its rows, ordered; of `tables` and their columns alone where given."""
    tables = tables or schema(database)
    with database.engine.connect() as connection:
        return {
            table.name: [
                {key: _plain(value) for key, value in row.items()}
                for row in connection.execute(sa.select(table).order_by(*table.primary_key)).mappings()
            ]
            for table in tables.sorted_tables
        }


def fill(database: Database, rows: Mapping[str, Sequence[Json]], tables: sa.MetaData | None = None) -> None:
    """Insert `rows`, each cut to the columns that there are; tables that there are not are left out."""
    tables = tables or schema(database)
    with database.engine.execution_options(write=True).begin() as connection:
        for table in tables.sorted_tables:
            kept = [_typed(table, row) for row in rows.get(table.name, ())]
            if kept:
                connection.execute(sa.insert(table), kept)
            if kept and not database.is_sqlite and _counted(table):
                connection.execute(sa.text(_NEXT_ID.format(table=table.name)))


def _counted(table: sa.Table) -> bool:
    return "id" in table.c and isinstance(table.c.id.type, sa.Integer)


def _plain(value: object) -> object:
    """A time as text in UTC, which SQLite has forgotten and PostgreSQL tells."""
    if isinstance(value, datetime):
        return (value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)).isoformat()
    return value


def _typed(table: sa.Table, row: Json) -> Json:
    return {
        column.name: datetime.fromisoformat(row[column.name]).replace(tzinfo=UTC)
        if isinstance(column.type, sa.DateTime) and row[column.name]
        else row[column.name]
        for column in table.columns
        if column.name in row
    }
