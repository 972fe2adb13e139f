"""What the worklist and the study page read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import ColumnElement, Select, and_, case, exists, func, literal, or_, select
from sqlalchemy.orm import Session, aliased, selectinload

from ..domain.priority import Order
from ..domain.states import FINAL_STATES, StudyState
from . import feedback, studies
from .tables import Feedback, Revision, Study


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
    #: feedback that counts, by name of the reader
    feedback: Sequence[Feedback] = ()


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which studies."""

    #: received after
    since: datetime
    #: in one of these states; none means any
    states: frozenset[StudyState] = frozenset()
    #: each word somewhere in name, id, accession number or description
    words: tuple[str, ...] = ()
    #: only those whose present result no reader has answered
    unanswered: bool = False


def page(session: Session, wanted: Wanted, order: Order, *, limit: int, offset: int = 0) -> list[Row]:
    """Studies in reading order: unanswered ones first, by place, then longest waiting first."""
    found = session.scalars(
        select(Study)
        .where(*_matching(wanted))
        .order_by(Study.id.in_(_answered()), _place(order), Study.first_slice_at)
        .limit(limit)
        .offset(offset)
    ).all()
    return _rows(session, found)


def one(session: Session, study_instance_uid: str) -> Row:
    """One study. Raises UnknownStudyError."""
    return _rows(session, [studies.get(session, study_instance_uid)])[0]


def counts(session: Session, wanted: Wanted) -> dict[str, int]:
    """Number of studies in each state, whatever `wanted.states` says."""
    every = replace(wanted, states=frozenset())
    found = session.execute(select(Study.state, func.count()).where(*_matching(every)).group_by(Study.state))
    return {state: number for state, number in found}  # noqa: C416 - a Row is no pair to dict()'s types


def changed_since(session: Session, moment: datetime) -> dict[int, datetime]:
    """Studies written since, by id, and when."""
    found = session.execute(select(Study.id, Study.changed_at).where(Study.changed_at >= moment))
    return {study: at for study, at in found}  # noqa: C416 - as above


def _matching(wanted: Wanted) -> list[ColumnElement[bool]]:
    conditions = [Study.first_slice_at >= wanted.since]
    if wanted.states:
        conditions.append(Study.state.in_(wanted.states))
    columns = (Study.patient_name, Study.patient_id, Study.accession_number, Study.study_description)
    for word in wanted.words:
        conditions.append(or_(*(column.icontains(word, autoescape=True) for column in columns)))
    if wanted.unanswered:
        conditions.append(Study.id.not_in(_answered()))
    return conditions


def _answered() -> Select[int]:
    """Studies whose present result a reader has answered: none that is newer has come, or is on its way."""
    newer = aliased(Revision)
    superseded = exists().where(
        newer.study_id == Revision.study_id, newer.number > Revision.number, newer.same_as.is_(None)
    )
    return select(Revision.study_id).join(Feedback, Feedback.revision_id == Revision.id).where(~superseded)


def _place(order: Order) -> ColumnElement[int]:
    """`Order.place` as the database computes it."""
    risen = [
        (and_(Study.rank == rank, Study.first_slice_at <= order.now - waited), literal(int(place)))
        for rank, waited, place in order.rises()
    ]
    return case(*risen, else_=Study.rank) if risen else Study.rank.expression


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
    answers: defaultdict[int, list[Feedback]] = defaultdict(list)
    for answer in feedback.of_studies(session, [study.id for study in found]):
        answers[answer.revision.study_id].append(answer)
    return [
        Row(
            study=study,
            newest=newest.get(study.id),
            decided=decided.get(study.id),
            reported=reported.get(study.id),
            feedback=answers[study.id],
        )
        for study in found
    ]
