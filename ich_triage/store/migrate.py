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
    _require_known(current(database))
    config = _config()
    with _write(database) as connection:
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, version)
        except CommandError as error:
            raise DatabaseVersionError(f"The schema cannot be brought to {version}: {error}.") from error


@contextmanager
def _write(database: Database) -> Iterator[Connection]:
    """A transaction in which tables may be made anew, as SQLite needs it for most changes of a column.

    SQLite takes the removal of the old table for that of its rows and refuses it where others refer to them, so
    that it must not look meanwhile (https://www.sqlite.org/lang_altertable.html, section 7); it looks at the end.
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
                        f"The upgrade would leave rows of {lost[0]} without those of {lost[2]} that they refer to: "
                        "nothing was changed; restore the backup if the service cannot go on, and report this."
                    )
        finally:
            driver.execute("PRAGMA foreign_keys=ON")


def is_known(version: str | None) -> bool:
    """Whether this release knows a schema version: it does not know those of later releases."""
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    return version is None or version in known


def _require_known(have: str | None) -> None:
    if not is_known(have):
        raise DatabaseVersionError(
            f"The database schema is {have}, which this release (up to {head()}) does not know: run the release "
            "that made it, or restore the backup from before it (docs/howto/upgrade.md)."
        )


def require_current(database: Database) -> None:
    """Raise DatabaseVersionError unless the schema is the one that this release needs."""
    have, need = current(database), head()
    _require_known(have)
    if have != need:
        raise DatabaseVersionError(
            f"The database schema is {have or 'empty'}, this release needs {need}: "
            "run `ich-triage db upgrade` with the same --config."
        )
