"""What the worklist and the study page read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache

from sqlalchemy import ColumnElement, Select, and_, case, exists, func, literal, or_, select, union
from sqlalchemy.orm import Session, aliased, defer, selectinload
from sqlalchemy.orm.interfaces import ORMOption

from ..domain.priority import RISEN, Order
from ..domain.states import FINAL_STATES, StudyState
from ..domain.step import StepState
from . import feedback, studies
from .tables import Feedback, Revision, Study
from .text import ESCAPE, anywhere
from .ups_tables import ProcedureStep


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

    @property
    def covers_all(self) -> bool:
        """Whether `decided` is about all slices: none came since that another revision is to cover."""
        waiting = self.newest is not None and self.newest.state not in FINAL_STATES
        return not waiting and self.study.assembling_since is None


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which studies."""

    #: with news since: slices, a state, a reader's answer
    since: datetime
    #: in one of these states; none means any
    states: frozenset[StudyState] = frozenset()
    #: each word somewhere in name, id, accession number or description
    words: tuple[str, ...] = ()
    #: only those whose present result no reader has answered
    unanswered: bool = False


def page(session: Session, wanted: Wanted, order: Order, *, limit: int, offset: int = 0) -> list[Row]:
    """Studies in reading order: unanswered ones first, by place, then longest waiting first.

    Of what the model said, their summaries alone are read.
    """
    found = session.scalars(
        select(Study)
        .where(*_matching(wanted))
        .order_by(Study.id.in_(_answered()), _place(order), Study.first_slice_at, Study.id)
        .limit(limit)
        .offset(offset)
    ).all()
    return _rows(session, found, defer(Revision.analysis), defer(Revision.selection))


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
    conditions = [Study.changed_at >= wanted.since]
    if wanted.states:
        conditions.append(Study.state.in_(wanted.states))
    columns = (Study.patient_name, Study.patient_id, Study.accession_number, Study.study_description)
    for word in wanted.words:
        pattern = anywhere(word.strip(",^"))
        conditions.append(or_(*(func.lower(column).like(pattern, escape=ESCAPE) for column in columns)))
    if wanted.unanswered:
        conditions.append(Study.id.not_in(_answered()))
    return conditions


@cache
def _answered() -> Select[int]:
    """Studies whose present result somebody has dealt with: nothing newer has come, or is on its way.

    A reader has answered it, other than by seeing a bleed where none was flagged; or its procedure step
    has been completed. What came to nothing after a flag is no newer result.
    """
    newer = aliased(Revision)
    said_nothing = newer.state.in_([StudyState.NOT_ANALYSED, StudyState.FAILED])
    newer_result = exists().where(
        newer.study_id == Revision.study_id,
        newer.number > Revision.number,
        newer.same_as.is_(None),
        ~(said_nothing & (Revision.state == StudyState.FLAGGED)),
    )
    overlooked = and_(Feedback.agrees.is_(False), Revision.state == StudyState.NOT_FLAGGED)
    answered = (
        select(Revision.id)
        .join(Feedback, Feedback.revision_id == Revision.id)
        .where(Feedback.id.in_(feedback.counting_ids()), ~overlooked)
    )
    completed = select(Revision.id).join(
        ProcedureStep,
        and_(
            ProcedureStep.study_id == Revision.study_id,
            ProcedureStep.ended_revision == Revision.number,
            ProcedureStep.state == StepState.COMPLETED,
        ),
    )
    return (
        select(Revision.study_id)
        .join(Study, Study.id == Revision.study_id)
        .where(
            Revision.id.in_(union(answered, completed)),
            Study.assembling_since.is_(None),
            ~newer_result,
        )
    )


def _place(order: Order) -> ColumnElement[int]:
    """`Order.place` as the database computes it."""
    if order.rise_after is None:
        return Study.rank.expression
    waited = Study.first_slice_at <= order.now - order.rise_after
    risen = [(and_(Study.rank == rank, waited), literal(int(place))) for rank, place in RISEN.items()]
    return case(*risen, else_=Study.rank)


def revisions(session: Session, study: Study) -> Sequence[Revision]:
    """Every revision with its deliveries, oldest first."""
    return session.scalars(
        select(Revision)
        .where(Revision.study_id == study.id)
        .order_by(Revision.number)
        .options(selectinload(Revision.deliveries))
    ).all()


def _rows(session: Session, found: Sequence[Study], *without: ORMOption) -> list[Row]:
    newest: dict[int, Revision] = {}
    decided: dict[int, Revision] = {}
    reported: dict[int, Revision] = {}
    flagged = {study.id for study in found if study.state == StudyState.FLAGGED}
    for revision in session.scalars(
        select(Revision)
        .where(Revision.study_id.in_([study.id for study in found]))
        .order_by(Revision.number)
        .options(selectinload(Revision.deliveries), *without)
    ):
        newest[revision.study_id] = revision
        holds = revision.study_id not in flagged or revision.state == StudyState.FLAGGED
        if revision.state in FINAL_STATES and holds:
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
