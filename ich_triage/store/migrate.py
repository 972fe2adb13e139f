"""Bring the schema to this release's, or say that it is not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection

from ..errors import DatabaseVersionError
from .database import Database

#: in a wheel the scripts lie in this package; in a checkout, at the top
_SCRIPTS = next(
    folder
    for folder in (Path(__file__).parent / "alembic", Path(__file__).parents[2] / "alembic")
    if (folder / "env.py").is_file()
)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def head() -> str:
    """The schema version that this release needs."""
    version = ScriptDirectory.from_config(_config()).get_current_head()
    assert version is not None
    return version


def current(database: Database) -> str | None:
    """The schema version that the database has; None before the first migration."""
    with database.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def upgrade(database: Database, version: str = "head") -> None:
    """Run every outstanding migration, in one transaction.

    Raises DatabaseVersionError where the schema, or `version`, is none that this release knows.
    """
    config, have = _config(), current(database)
    with _write(database) as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, version)
        except CommandError as error:
            raise DatabaseVersionError(
                f"The database schema cannot be brought from {have or 'empty'} to {version} ({error}): "
                f"{remedy(have)}."
            ) from error


@contextmanager
def _write(database: Database) -> Iterator[Connection]:
    """A transaction in which tables may be made anew, as SQLite needs it for most changes of a column.

    SQLite takes the removal of the old table for that of its rows and refuses it where others refer to them,
    so that it must not look meanwhile (https://www.sqlite.org/lang_altertable.html, section 7); it looks at
    the end.
    """
    with database.engine.execution_options(write=True).connect() as connection:
        if not database.is_sqlite:
            with connection.begin():
                yield connection
            return
        driver: Any = connection.connection.driver_connection  # within a transaction the pragma does nothing
        driver.execute("PRAGMA foreign_keys=OFF")
        try:
            with connection.begin():
                yield connection
                if lost := connection.exec_driver_sql("PRAGMA foreign_key_check").first():
                    raise DatabaseVersionError(
                        f"The upgrade would leave rows of {lost[0]} without those of {lost[2]} that they "
                        "refer to. Nothing was changed: go on with the release before, and report this."
                    )
        finally:
            driver.execute("PRAGMA foreign_keys=ON")


def remedy(have: str | None) -> str:
    """What to do about a schema that is not this release's; versions are numbers that grow."""
    if have is None or have <= head():
        return "run `ich-triage db upgrade`"
    return "run the release that made it, or restore the backup from before it (docs/howto/upgrade.md)"


def require_current(database: Database) -> None:
    """Raise DatabaseVersionError unless the schema is the one that this release needs."""
    have, need = current(database), head()
    if have != need:
        raise DatabaseVersionError(
            f"The database schema is {have or 'empty'}, this release needs {need}: "
            f"{remedy(have)}, with the same --config."
        )
