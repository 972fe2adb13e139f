"""Studies of long ago, settled, and what is left of them in spool and database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import func, inspect, select, text, update

from ich_triage.domain.states import StudyState
from ich_triage.settings import Settings
from ich_triage.store import studies
from ich_triage.store.database import Database
from ich_triage.store.deliveries import Planned, plan
from ich_triage.store.tables import Delivery, Revision, Study
from tests.analysed import add_analysed
from tests.files import files_below

NOW = datetime.now(UTC)


def keeping(folder: Path, **retention: Any) -> Settings:
    """Settings with a spool in `folder` and this `[retention]`; no watermark unless it says so."""
    values = {"free_bytes": 0} | retention
    spool = {"path": folder / "spool", "reserve_bytes": 0}
    return Settings(spool=spool, retention=values)  # type: ignore[arg-type]


def add_old(
    database: Database, folder: Path, uid: str, *, days: float = 100, state: StudyState = StudyState.FLAGGED
) -> None:
    """A small head with result, mask and a report that has arrived; its last news was `days` ago."""
    spool = folder / "spool"
    add_analysed(database, spool, uid, state, name=f"NAME{uid.replace('.', '')}^ERASED")
    outbox = spool / "outbox" / uid / "1"
    outbox.mkdir(parents=True)
    (outbox / "sr_9.dcm").write_bytes(b"report")
    with database.write() as session:
        revision = session.scalars(select(Revision).join(Study).where(Study.study_instance_uid == uid)).one()
        path = f"outbox/{uid}/1/sr_9.dcm"
        sent = Planned(
            destination="pacs", kind="sr", sop_class_uid="1.2", sop_instance_uid=f"{uid}.9", path=path
        )
        plan(session, revision, [sent])
        session.flush()
        session.execute(update(Delivery).values(state="sent", next_attempt_at=None, sent_at=NOW))
    age(database, uid, days=days)


def age(database: Database, uid: str, *, days: float) -> None:
    """Let the last news of a study be so long ago."""
    with database.write() as session:
        at = NOW - timedelta(days=days)
        session.execute(update(Study).where(Study.study_instance_uid == uid).values(changed_at=at))


def files(folder: Path) -> list[str]:
    """Every file of the spool, relative to it, but for locks."""
    return [str(path) for path in files_below(folder / "spool") if path.name != ".lock"]


def rows(database: Database) -> dict[str, int]:
    """Table → rows, of those that have any; the schema's own left out."""
    with database.engine.connect() as connection:
        tables = [name for name in inspect(connection).get_table_names() if name != "alembic_version"]
        counted = {name: connection.scalar(select(func.count()).select_from(text(name))) for name in tables}
    return {name: number for name, number in counted.items() if number}


def study_row(database: Database, uid: str) -> Study:
    """The study's row."""
    with database.read() as session:
        return studies.get(session, uid)
