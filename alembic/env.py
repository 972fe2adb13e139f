"""Run migrations on the connection that `ich_triage.store.migrate` hands over, or on the configured URL."""

from __future__ import annotations

from alembic import context

from ich_triage.settings import load
from ich_triage.store import account_tables, commitment_tables, ups_tables  # noqa: F401 - declare their tables on Base
from ich_triage.store.database import Database
from ich_triage.store.tables import Base, UtcDateTime


def run() -> None:
    """Run online; offline SQL is not offered."""
    connection = context.config.attributes.get("connection")
    if connection is not None:
        _migrate(connection)
        return
    database = Database(load().database.url)
    with database.engine.execution_options(write=True).begin() as own:
        _migrate(own)


def _migrate(connection: object) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,
        compare_type=True,
        render_item=_plain_types,
        include_name=lambda name, kind, _parents: kind != "table" or name in Base.metadata.tables,
    )
    context.run_migrations()


def _plain_types(kind: str, item: object, _context: object) -> str | bool:
    """Migrations name library types alone, so that they stay true when ours change."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcDateTime) else False


run()
