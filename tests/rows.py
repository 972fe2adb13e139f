"""Rows that tests of later stages begin with."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy.orm import Session

from ich_triage.domain.priority import rank
from ich_triage.domain.states import CompletedBy, StudyState
from ich_triage.store.tables import Revision, Study


def add_revision(
    session: Session, study_instance_uid: str, state: StudyState = StudyState.FLAGGED
) -> Revision:
    """The first revision of a new study, in its final `state`."""
    now = datetime.now(UTC)
    study = Study(
        study_instance_uid=study_instance_uid,
        state=state,
        rank=rank(state, stat=False),
        first_slice_at=now,
        last_slice_at=now,
        revision=0,
    )
    session.add(study)
    return later_revision(session, study, state)


def later_revision(session: Session, study: Study, state: StudyState) -> Revision:
    """The next revision of `study`, in its final `state`."""
    now = datetime.now(UTC)
    study.revision += 1
    revision = Revision(
        study=study,
        number=study.revision,
        state=state,
        completed_by=CompletedBy.QUIET,
        last_instance_id=0,
        first_slice_at=now,
        last_slice_at=now,
        complete_at=now,
    )
    session.add(revision)
    session.flush()
    return revision
