"""The database: engine, sessions, and the two kinds of transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.orm import Session

BUSY_TIMEOUT_MS = 30_000
#: for PostgreSQL's client library: when a server that has fallen silent counts as gone. Without it a network
#: that drops packets holds whoever asks for a quarter of an hour, and whoever waits for an answer for ever
PATIENCE = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
}


class Database:
    """One engine on one URL.

    SQLite runs in WAL mode; `write` takes the write lock at once (BEGIN IMMEDIATE), since a transaction
    that reads first and writes later fails with "database is locked" instead of waiting.
    """

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite and self.url.database:
            Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
        self.engine = (
            _sqlite_engine(url)
            if self.is_sqlite
            else create_engine(with_patience(self.url), pool_pre_ping=True, hide_parameters=True)
        )

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session to read with; never commits."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """A session to read with that sees one moment, however many statements it takes.

        SQLite's transactions are such; PostgreSQL's see what was committed before each statement unless told.
        """
        level = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        with Session(self.engine.execution_options(**level), expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session in one transaction: commits at the end, rolls back on error."""
        engine = self.engine.execution_options(write=True)
        with Session(engine, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


def with_patience(url: URL) -> URL:
    """With `PATIENCE` where it names a PostgreSQL server; what the URL says itself stands."""
    if url.get_backend_name() != "postgresql":
        return url
    return url.update_query_dict({key: value for key, value in PATIENCE.items() if key not in url.query})


def _sqlite_engine(url: str) -> Engine:
    engine = create_engine(
        url,
        connect_args={"timeout": BUSY_TIMEOUT_MS / 1000, "check_same_thread": False},
        hide_parameters=True,  # errors are logged; parameters are patient data
    )
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver must not open transactions by its own rules
    for pragma in (
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get("write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
