"""Whether the web process is alive and ready, for those who ask without a log-in."""

from __future__ import annotations

from sqlalchemy import text

from ich_triage.store.database import Database
from tests.web import browser


def test_ready_while_the_database_is_as_it_should_be(database: Database) -> None:
    """Another schema than this release's is not ready, with the reason; the process is alive all the same."""
    with browser(database) as client:
        assert client.get("/healthz").json() == {"alive": True}
        told = client.get("/readyz")
        assert (told.status_code, told.json()) == (200, {"ready": True, "checks": {"database": "ok"}})
        with database.write() as session:
            session.execute(text("UPDATE alembic_version SET version_num = 'older'"))
        told = client.get("/readyz")
        assert told.status_code == 503
        assert told.json() == {"ready": False, "checks": {"database": "its schema is not this release's"}}
        assert client.get("/healthz").status_code == 200
