"""Whether the database is there and has this release's schema."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from . import migrate
from .database import Database


def check(database: Database) -> Callable[[], str | None]:
    """Looks now, each time that it is called: what is wrong, None when nothing is."""
    needed = migrate.head()

    def look() -> str | None:
        try:
            return None if migrate.current(database) == needed else "its schema is not this release's"
        except SQLAlchemyError:
            return "does not answer"

    return look
