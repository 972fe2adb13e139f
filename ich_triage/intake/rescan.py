"""What a start does: bring the database up to the spool, whichever of the two was lost or cut off."""

from __future__ import annotations

from datetime import datetime
from threading import Event

import structlog
from sqlalchemy.exc import SQLAlchemyError

from ..store import instances
from ..store.database import Database
from .indexer import Indexer
from .spool import Spool

log = structlog.get_logger(__name__)

#: objects that may wait for the indexer before the next study is looked at
_BACKLOG = 2000
_RETRY_S = 2.0


def rescan_inbox(spool: Spool, indexer: Indexer, *, before: datetime | None = None) -> None:
    """Queue what was acknowledged, `before` then if given, and has not reached its study. Raises OSError."""
    arrivals = [each for each in spool.inboxed() if before is None or each.received_at < before]
    if arrivals:
        log.info("inbox_rescanned", objects=len(arrivals))
    indexer.put(arrivals)


def rescan_studies(spool: Spool, database: Database, indexer: Indexer, stopping: Event) -> None:
    """Queue the files of every study whose folder and index differ, study by study.

    A study goes into the queue whole, so that assembly never sees half of it as silent. Raises OSError.
    """
    known = _retry_until(stopping, database)
    for folder in spool.study_folders():
        while indexer.pending() > _BACKLOG and not stopping.is_set():
            indexer.wait_idle(_RETRY_S)
        if stopping.is_set():
            return
        files = spool.study_files(folder)
        if len(files) == known.get(folder.name, 0):
            continue
        with database.read() as session:
            indexed = instances.indexed_paths(session, folder.name)
        missing = [file for file in files if spool.relative(file.path) not in indexed]
        log.info("study_rescanned", study_instance_uid=folder.name, objects=len(missing))
        indexer.put(missing)


def _retry_until(stopping: Event, database: Database) -> dict[str, int]:
    while not stopping.is_set():
        try:
            with database.read() as session:
                return instances.counts(session)
        except SQLAlchemyError as error:
            log.error("rescan_waits", error=type(error).__name__)
            stopping.wait(_RETRY_S)
    return {}
