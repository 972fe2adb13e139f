"""Bring the schema to this release's, or say that it is not there."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

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
    """Run every outstanding migration, in one transaction."""
    config = _config()
    with database.engine.execution_options(write=True).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, version)


def require_current(database: Database) -> None:
    """Raise DatabaseVersionError unless the schema is the one that this release needs."""
    have, need = current(database), head()
    if have != need:
        raise DatabaseVersionError(
            f"The database schema is {have or 'empty'}, this release needs {need}: "
            "run `ich-triage db upgrade` with the same --config."
        )
