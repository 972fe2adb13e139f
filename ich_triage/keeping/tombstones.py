"""Files on their way out of an object store, where nothing can be renamed: first a note of what shall go.

::

    removed/<study>/<random>.json    paths below the spool, one list

The note is written within the transaction that deletes the rows, the files are deleted after it. As with
`aside`, the database says afterwards whether that was committed: what it still names stays. Received objects
have a name for each arrival, so one that comes again meanwhile is not the one that goes.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import groupby

import structlog
from sqlalchemy import Connection, text

from ..storage.bucket import Bucket
from ..storage.entry import Entry
from ..store import removal
from ..store.database import Database
from ..store.tables import Instance, Study
from . import files
from .aside import GRACE_S

log = structlog.get_logger(__name__)

_FOLDER = "removed"
#: key of our advisory lock in PostgreSQL
_LOCK = 0x1C4_0001
_POLL_S = 0.1


class Tombstones:
    """What is on its way out, in one bucket. One process at a time works at it."""

    def __init__(self, spool: Bucket, database: Database) -> None:
        self._spool = spool
        self._database = database

    @contextmanager
    def alone(self, *, patience_s: float = 0.0) -> Iterator[bool]:
        """Whether this process may remove; if not at once, within `patience_s`.

        PostgreSQL lets go of a dead process's lock. With SQLite nobody is on another machine, and a run too
        many does no harm: each removal has its transaction. Raises SQLAlchemyError.
        """
        if self._database.is_sqlite:
            yield True
            return
        deadline = time.monotonic() + patience_s
        engine = self._database.engine.execution_options(isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            asked = text("SELECT pg_try_advisory_lock(:key)")
            while (
                not (mine := bool(connection.scalar(asked, {"key": _LOCK}))) and time.monotonic() < deadline
            ):
                time.sleep(_POLL_S)
                mine = _locked(connection)
            try:
                yield mine
            finally:
                if mine:
                    connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})

    def put_images(self, study: Study, instances: Iterable[Instance]) -> None:
        """Note the objects of a study that have a row, and what was made of their pixels. Raises OSError."""
        uid = study.study_instance_uid
        self._note(uid, [*(each.path for each in instances), *files.masks(self._spool, uid)])

    def put_results(self, study: Study) -> None:
        """Note the reports of a study. Raises OSError."""
        uid = study.study_instance_uid
        self._note(uid, files.reports(self._spool, uid))

    def bytes(self) -> int:
        """Nothing lies aside."""
        return 0

    def settle(
        self, database: Database, *, grace_s: float = GRACE_S, only: Container[str] | None = None
    ) -> int:
        """Delete what was noted and the database does not name; returns how many files were deleted.

        A note of what it still names is kept for `grace_s`. `only`: of these studies.
        Raises OSError, SQLAlchemyError.
        """
        deleted = 0
        for uid, notes in groupby(self._spool.list(_FOLDER), key=lambda entry: entry.path.split("/")[1]):
            if only is None or uid in only:
                deleted += self._settle(database, uid, list(notes), grace_s)
        return deleted

    def _settle(self, database: Database, uid: str, notes: list[Entry], grace_s: float) -> int:
        noted = {path for note in notes for path in self._read(note)}
        with database.read() as session:
            named = removal.named(session, uid)
        gone = [path for path in sorted(noted) if not files.is_named(named, path)]
        self._spool.delete(gone)
        if len(gone) < len(noted):
            old = datetime.now(UTC) - timedelta(seconds=grace_s)
            if not all(note.modified <= old for note in notes):
                return len(gone)
            with database.write() as session:
                removal.mark_images(session, uid, None)
            log.warning("removal_undone", study_instance_uid=uid, files=len(noted) - len(gone))
        self._spool.delete([note.path for note in notes])
        return len(gone)

    def _note(self, uid: str, paths: list[str]) -> None:
        if paths:
            content = json.dumps(paths).encode()
            self._spool.write(f"{_FOLDER}/{uid}/{secrets.token_hex(8)}.json", content)

    def _read(self, note: Entry) -> list[str]:
        (local,) = self._spool.local([note.path])
        found = json.loads(local.read_bytes())
        self._spool.release([note.path])
        return [str(path) for path in found]


def _locked(connection: Connection) -> bool:
    return bool(connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK}))
