"""One study, or its images alone, out of spool and database. The caller has `Aside.alone`."""

from __future__ import annotations

from datetime import UTC, datetime

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from ..domain.states import DeliveryState
from ..store import deliveries, removal
from ..store.database import Database
from ..store.removal import Removable
from ..store.tables import Instance, Study
from .asides import AnyAside

log = structlog.get_logger(__name__)


def remove_images(database: Database, aside: AnyAside, what: Removable, *, before: datetime) -> bool:
    """Remove what can be seen of a study, unless it got news since `before`; whether that was done."""
    if not _announced(database, what, before):
        return False
    with database.write() as session:
        study = removal.still_removable(session, what.study_id, before=before)
        if study is None:
            removal.mark_images(session, what.study_instance_uid, None)
            return False
        aside.put_images(study, session.scalars(select(Instance).where(Instance.study_id == study.id)).all())
        objects = removal.drop_images(session, study)
    log.info("study_images_removed", study_instance_uid=what.study_instance_uid, objects=objects)
    return True


def remove_study(database: Database, aside: AnyAside, what: Removable, *, before: datetime) -> bool:
    """Remove all that is known of a study, unless it got news since `before`; whether that was done."""
    if not _announced(database, what, before):
        return False
    with database.write() as session:
        study = removal.still_removable(session, what.study_id, before=before)
        if study is None:
            removal.mark_images(session, what.study_instance_uid, None)
            return False
        given_up = [
            each.id
            for each in deliveries.of_study(session, what.study_instance_uid)
            if each.state == DeliveryState.DEAD
        ]
        take_out(session, aside, study)
    log.info("study_removed", study_instance_uid=what.study_instance_uid, undelivered=len(given_up))
    return True


def take_out(session: Session, aside: AnyAside, study: Study) -> None:
    """Move the files of a study aside and delete its rows, in the caller's transaction. Raises OSError."""
    aside.put_images(study, session.scalars(select(Instance).where(Instance.study_id == study.id)).all())
    aside.put_results(study)
    removal.drop_study(session, study)


def _announced(database: Database, what: Removable, before: datetime) -> bool:
    """Say so before the first file goes: whoever misses one then knows why."""
    with database.write() as session:
        study = removal.still_removable(session, what.study_id, before=before)
        if study is not None:
            removal.mark_images(session, what.study_instance_uid, datetime.now(UTC))
        return study is not None
