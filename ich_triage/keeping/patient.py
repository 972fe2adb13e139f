"""One patient: copy out all that is held, or erase it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..domain.audit import AuditEvent, AuditRecord
from ..errors import RemovalError
from ..storage.files import Files
from ..store import audit, held, removal
from ..store.database import Database
from ..store.tables import Revision, Study
from ..telemetry import audit as audit_log
from . import files
from .asides import AnyAside, aside_of
from .remove import take_out

#: how long an erasure waits for retention to finish with what it is at, s
PATIENCE_S = 60.0
_BUSY = "retention is deleting at this moment: try again in a minute"


@dataclass(frozen=True, kw_only=True)
class Found:
    """What is held of one patient."""

    #: every study with exactly that Patient ID
    studies: tuple[Study, ...]
    #: Patient IDs that look like another spelling of it
    similar: tuple[str, ...]
    #: names of destinations that were sent results
    told: tuple[str, ...]


def find(database: Database, patient_id: str) -> Found:
    """What is held; it may be nothing."""
    with database.read() as session:
        studies = held.studies_of(session, patient_id)
        similar = held.similar_ids(session, patient_id)
        told = held.destinations_of(session, studies)
    return Found(studies=tuple(studies), similar=tuple(similar), told=tuple(told))


def require_any(found: Found) -> None:
    """Raise RemovalError where nothing is held."""
    if not found.studies:
        raise RemovalError("no study has exactly this patient ID: give it as `ich-triage study UID` shows it")


def export(database: Database, spool: Files, patient_id: str, out: Path, *, actor: str) -> int:
    """Copy all that is held of a patient into the new folder `out`; returns how many studies.

    Raises RemovalError, OSError.
    """
    found = find(database, patient_id)
    require_any(found)
    if out.exists() and any(out.iterdir()):
        raise RemovalError(f"{out} is not empty: name a new folder")
    out.mkdir(parents=True, exist_ok=True, mode=0o700)
    with aside_of(spool, database).alone(patience_s=PATIENCE_S) as mine:
        if not mine:
            raise RemovalError(_BUSY)
        for study in found.studies:
            _copy(database, spool, study, out / study.study_instance_uid)
    _keep_record(database, AuditEvent.PATIENT_EXPORTED, actor, len(found.studies))
    return len(found.studies)


def _copy(database: Database, spool: Files, study: Study, out: Path) -> None:
    uid = study.study_instance_uid
    with database.snapshot() as session:
        rows = held.rows_of(session, study)
    kinds = {"received": files.received, "masks": files.masks, "reports": files.reports}
    for name, listed in kinds.items():
        for path in listed(spool, uid):
            _, *folders, file = path.split("/")
            target = out / name / (f"{folders[-1]}_{file}" if name == "reports" else file)
            target.parent.mkdir(parents=True, exist_ok=True)
            spool.copy_out(path, target)
    out.mkdir(exist_ok=True)
    (out / "rows.json").write_text(json.dumps(rows, indent=2, ensure_ascii=False), encoding="utf-8")


def require_settled(session: Session, studies: Sequence[Study]) -> None:
    """Raise RemovalError that names every study that cannot go yet, and why."""
    why = [
        f"study {study.study_instance_uid}: {words}"
        for study in studies
        for words in removal.obstacles(session, study)
    ]
    if why:
        raise RemovalError(f"not erased, try again later: {'; '.join(why)}")


def erase(
    database: Database,
    spool: Files,
    patient_id: str,
    *,
    actor: str,
    forget: Callable[[Sequence[Revision]], None],
    patience_s: float = PATIENCE_S,
) -> Found:
    """Erase all that is held of a patient, but for the audit trail; returns what was found.

    `forget` drops revisions out of the queue; retention at work is waited for, `patience_s` at most.
    Raises RemovalError, OSError.
    """
    found = find(database, patient_id)
    require_any(found)
    aside = aside_of(spool, database)
    with aside.alone(patience_s=patience_s) as mine:
        if not mine:
            raise RemovalError(_BUSY)
        with database.read() as session:
            require_settled(session, found.studies)
            ids = [study.id for study in found.studies]
            revisions = session.scalars(select(Revision).where(Revision.study_id.in_(ids))).all()
        forget(revisions)
        with database.write() as session:
            _overwrite_deleted(database, session)
            erased = _erase(session, aside, patient_id)
            record = _record(AuditEvent.PATIENT_ERASED, actor, len(erased))
            audit.append(session, record)
        audit_log.hand_on(record)
        aside.settle(database, grace_s=0, only=erased)
    _end_write_ahead_log(database)
    return found


def _erase(session: Session, aside: AnyAside, patient_id: str) -> set[str]:
    locked = select(Study).where(Study.patient_id == patient_id).order_by(Study.id).with_for_update()
    studies = session.scalars(locked).all()
    require_settled(session, studies)
    for study in studies:
        take_out(session, aside, study)
    return {study.study_instance_uid for study in studies}


def _overwrite_deleted(database: Database, session: Session) -> None:
    """SQLite would leave deleted rows in the file's free pages. PostgreSQL's vacuum sees to its own."""
    if database.is_sqlite:
        session.connection().exec_driver_sql("PRAGMA secure_delete = ON")


def _end_write_ahead_log(database: Database) -> None:
    """Nor may older versions of the pages stay in the log, unless a reader still needs them."""
    if database.is_sqlite:
        with closing(database.engine.raw_connection()) as connection:
            connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _keep_record(database: Database, event: AuditEvent, actor: str, studies: int) -> None:
    record = _record(event, actor, studies)
    with database.write() as session:
        audit.append(session, record)
    audit_log.hand_on(record)


def _record(event: AuditEvent, actor: str, studies: int) -> AuditRecord:
    """Who did so, and how much it was; nothing that says whose."""
    return AuditRecord(at=datetime.now(UTC), event=event, actor=actor, role="console", rows=studies)
