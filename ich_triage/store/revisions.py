"""Revisions of a study: one for each time that it became complete."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from ..domain.states import CompletedBy, StudyState
from .studies import set_state
from .tables import Instance, Revision, Study


def open_revision(session: Session, study: Study, completed_by: CompletedBy, now: datetime) -> Revision:
    """Declare `study` complete: a new revision over every instance indexed by now.

    The caller holds the study's row lock. A flag of an earlier revision stays up until this one is read.
    """
    revision = Revision(
        study_id=study.id,
        number=study.revision + 1,
        state=StudyState.IN_PROGRESS,
        completed_by=completed_by,
        last_instance_id=_last_instance_id(session, study),
        first_slice_at=study.assembling_since or study.first_slice_at,
        last_slice_at=study.last_slice_at,
        complete_at=now,
    )
    session.add(revision)
    study.revision = revision.number
    study.assembling_since = None
    if study.state != StudyState.FLAGGED:
        set_state(study, StudyState.IN_PROGRESS)
    return revision


def _last_instance_id(session: Session, study: Study) -> int:
    """Row ids of one study's instances only grow, since the index writes them under the study's row lock."""
    return session.scalar(select(func.max(Instance.id)).where(Instance.study_id == study.id)) or 0
