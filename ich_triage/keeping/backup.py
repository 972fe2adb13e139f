"""A copy of database and spool that belong together, taken while the service runs.

The order makes them do so. First the database: whatever it names lies in the spool by then, and is not
removed while the copy is made. Then the inbox before the studies: what moves from the one to the other
meanwhile is in one copy at least, and twice is once. What the copied database does not know yet, the rescan
of a receiver's start finds in the copied spool.
"""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from sqlalchemy import select

from ..errors import SpoolError
from ..outputs.folders import OUTBOX
from ..outputs.masks import FOLDER as MASKS
from ..settings import Settings
from ..storage.files import Files, files_of
from ..storage.folder import Folder
from ..store import migrate
from ..store.database import Database
from ..store.tables import Delivery, Instance
from . import files
from .asides import aside_of

#: how long it waits for a removal under way, s
PATIENCE_S = 60.0
#: file of the database, where that is SQLite
DATABASE = "ich.sqlite"
SPOOL, MODELS = "spool", "models"
#: written last: without it the copy is not whole
MANIFEST = "backup.json"
_FOLDERS = ("inbox", files.STUDIES, "quarantine", OUTBOX, MASKS)


@dataclass(frozen=True, kw_only=True)
class Saved:
    """What a backup holds."""

    #: when it was begun: what was acknowledged before is in it
    begun_at: str
    #: release that made it
    release: str
    #: schema of the database
    schema: str | None
    #: whether the database is in it; PostgreSQL's is saved by its own tools
    database: bool
    #: files of the spool
    files: int
    #: files that the database names and that were lost before
    missing: int


def backup(settings: Settings, database: Database, out: Path, *, patience_s: float = PATIENCE_S) -> Saved:
    """Copy database, spool and registry into the new folder `out`. Raises SpoolError, OSError."""
    if out.exists() and any(out.iterdir()):
        raise SpoolError(f"{out} is not empty: name a new folder")
    out.mkdir(parents=True, exist_ok=True, mode=0o700)
    spool = files_of(settings.spool)
    begun_at = datetime.now(UTC).isoformat()
    with aside_of(spool, database).alone(patience_s=patience_s) as mine:
        if not mine:
            raise SpoolError("retention is deleting at this moment: try again in a minute")
        if database.is_sqlite:
            _copy_database(Path(str(database.url.database)), out / DATABASE)
        named = _named(database)
        copied = sum(_copy(spool, name, out / SPOOL) for name in _FOLDERS)
        _copy(Folder(settings.model.registry), ".", out / MODELS)
    saved = Saved(
        begun_at=begun_at,
        release=version("ich-triage"),
        schema=migrate.current(database),
        database=database.is_sqlite,
        files=copied,
        missing=sum(not (out / SPOOL / path).is_file() for path in named),
    )
    os.sync()
    (out / MANIFEST).write_text(json.dumps(asdict(saved), indent=2), encoding="utf-8")
    os.sync()
    return saved


def _copy_database(source: Path, target: Path) -> None:
    """One moment of a database that is written to meanwhile, in one file without a log beside it."""
    with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(target)) as copy:
        live.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")


def _named(database: Database) -> set[str]:
    """Paths that the database says lie in the spool."""
    with database.snapshot() as session:
        return {*session.scalars(select(Instance.path)), *session.scalars(select(Delivery.path))}


def _copy(spool: Files, folder: str, target: Path) -> int:
    """Copy every file below `folder`; one that moves away meanwhile is found where it went."""
    copied = 0
    for entry in spool.list(folder):
        place = target / entry.path
        place.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            spool.copy_out(entry.path, place)
            copied += 1
    return copied
