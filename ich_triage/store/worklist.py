"""What the worklist and the study page read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session, selectinload

from ..domain.priority import Rank
from ..domain.states import FINAL_STATES, StudyState
from . import studies
from .tables import Revision, Study


@dataclass(frozen=True, kw_only=True)
class Row:
    """One study with the revisions that matter for showing it."""

    #: the study
    study: Study
    #: its newest revision; None while the first is being received
    newest: Revision | None
    #: what is known so far: its newest revision with a final state; while it is flagged, the one that flagged
    decided: Revision | None
    #: the revision that was reported: `decided`, or the earlier one whose result it shares
    reported: Revision | None


def page(session: Session, *, since: datetime, limit: int, offset: int = 0) -> list[Row]:
    """Studies received after `since` in reading order: by rank, then longest waiting first."""
    found = session.scalars(
        select(Study)
        .where(Study.rank.in_(list(Rank)), Study.first_slice_at >= since)
        .order_by(Study.rank, Study.first_slice_at)
        .limit(limit)
        .offset(offset)
    ).all()
    return _rows(session, found)


def one(session: Session, study_instance_uid: str) -> Row:
    """One study. Raises UnknownStudyError."""
    return _rows(session, [studies.get(session, study_instance_uid)])[0]


def counts(session: Session, *, since: datetime) -> dict[str, int]:
    """Number of studies in each state, of those received after `since`."""
    found = session.execute(
        select(Study.state, func.count()).where(Study.first_slice_at >= since).group_by(Study.state)
    )
    return {state: number for state, number in found}  # noqa: C416 - a Row is no pair to dict()'s types


def revisions(session: Session, study: Study) -> Sequence[Revision]:
    """Every revision with its deliveries, oldest first."""
    return session.scalars(
        select(Revision)
        .where(Revision.study_id == study.id)
        .order_by(Revision.number)
        .options(selectinload(Revision.deliveries))
    ).all()


def _rows(session: Session, found: Sequence[Study]) -> list[Row]:
    newest: dict[int, Revision] = {}
    decided: dict[int, Revision] = {}
    reported: dict[int, Revision] = {}
    flagged = {study.id for study in found if study.state == StudyState.FLAGGED}
    for revision in session.scalars(
        select(Revision)
        .where(Revision.study_id.in_([study.id for study in found]))
        .order_by(Revision.number)
        .options(selectinload(Revision.deliveries))
    ):
        newest[revision.study_id] = revision
        if revision.state in FINAL_STATES:
            if revision.study_id not in flagged or revision.state == StudyState.FLAGGED:
                decided[revision.study_id] = revision
            if revision.same_as is None:
                reported[revision.study_id] = revision
    return [
        Row(
            study=study,
            newest=newest.get(study.id),
            decided=decided.get(study.id),
            reported=reported.get(study.id),
        )
        for study in found
    ]
