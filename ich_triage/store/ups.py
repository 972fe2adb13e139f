"""Procedure steps: make them, find them, claim and end them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, Select, and_, exists, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, aliased, contains_eager

from ..domain.states import FINAL_STATES, StudyState
from ..domain.step import FINAL_STEP_STATES, StepState
from .study_query import Narrowing, conditions
from .tables import Revision, Study
from .ups_tables import ProcedureStep

#: study ids grow, but two receivers may commit theirs in another order; so far back a gap is looked for
_MARGIN = 1000
#: studies that get their step in one transaction
_BATCH = 500
#: Transaction UID of a step that nobody has claimed: "" is no UID, so nobody can give it
NOBODY = ""


def uncovered(session: Session) -> list[tuple[Study, int]]:
    """Studies that need a step, some at a time, each with the number that its step will have."""
    return [*((study, 1) for study in _without_step(session)), *_to_be_read_again(session)]


def make(
    session: Session, wanted: Sequence[tuple[Study, int]], now: datetime, uid_of: Callable[[str, int], str]
) -> list[ProcedureStep]:
    """Make the wanted steps; returns those that are new: of two processes, each is new to one.

    `uid_of`: SOP Instance UID from Study Instance UID and number of the step.
    """
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    rows = [_row(study, number, now, uid_of(study.study_instance_uid, number)) for study, number in wanted]
    made = session.scalars(
        dialect.insert(ProcedureStep)
        .values(rows)
        .on_conflict_do_nothing(index_elements=["study_id", "number"])
        .returning(ProcedureStep.id)
    ).all()
    return list(session.scalars(select(ProcedureStep).where(ProcedureStep.id.in_(made)).order_by("id")))


def _row(study: Study, number: int, now: datetime, uid: str) -> dict[str, Any]:
    return {
        "study_id": study.id,
        "number": number,
        "sop_instance_uid": uid,
        "state": StepState.SCHEDULED,
        "created_at": now,
        "changed_at": now,
        "reported_state": study.state,
        "reported_rank": study.rank,
        "reported_ready": study.assembling_since is None,
    }


def _without_step(session: Session) -> Sequence[Study]:
    covered = session.scalar(select(func.max(ProcedureStep.study_id))) or 0
    none = ~exists().where(ProcedureStep.study_id == Study.id)
    query = select(Study).where(Study.id > covered - _MARGIN, none).order_by(Study.id).limit(_BATCH)
    return session.scalars(query).all()


def _to_be_read_again(session: Session) -> Iterator[tuple[Study, int]]:
    """Its reader went away, or it was read or canceled and then late images brought a flag."""
    later = aliased(ProcedureStep)
    newer = exists().where(later.study_id == ProcedureStep.study_id, later.number > ProcedureStep.number)
    flag = exists().where(
        Revision.study_id == Study.id,
        Revision.number > ProcedureStep.ended_revision,
        Revision.state == StudyState.FLAGGED,
        Revision.same_as.is_(None),
    )
    flagged = and_(Study.state == StudyState.FLAGGED, Study.revision > ProcedureStep.ended_revision)
    found = session.execute(
        select(Study, ProcedureStep.number + 1)
        .join(ProcedureStep, ProcedureStep.study_id == Study.id)
        .where(ProcedureStep.state.in_(FINAL_STEP_STATES), ~newer)
        .where(or_(ProcedureStep.abandoned, and_(flagged, flag)))
        .limit(_BATCH)
    )
    yield from ((study, number) for study, number in found)


def find(session: Session, sop_instance_uid: str, *, lock: bool = False) -> ProcedureStep | None:
    """The step with that SOP Instance UID, its row locked if wanted."""
    query = select(ProcedureStep).where(ProcedureStep.sop_instance_uid == sop_instance_uid)
    return session.scalar(query.with_for_update() if lock else query)


def narrowed(
    session: Session,
    by: Narrowing,
    *,
    states: Collection[str] | None,
    uids: Collection[str] | None,
    waiting_since: datetime | None,
) -> Iterator[ProcedureStep]:
    """Steps that have not ended, then others; by rank, then newest first, since the answer may be cut.

    `states` and `uids` narrow where given, and so does `waiting_since`: steps that nobody has claimed are
    left out when the last image of their study is older.
    """
    query = _with_study(select(ProcedureStep)).where(*conditions(by))
    if states is not None:
        query = query.where(ProcedureStep.state.in_(states))
    if uids is not None:
        query = query.where(ProcedureStep.sop_instance_uid.in_(uids))
    if waiting_since is not None:
        claimed = ProcedureStep.state != StepState.SCHEDULED
        query = query.where(or_(claimed, Study.last_slice_at >= waiting_since))
    ended = ProcedureStep.ended_at.is_not(None)
    query = query.order_by(ended, Study.rank, Study.first_slice_at.desc(), ProcedureStep.id.desc())
    yield from session.scalars(query.execution_options(yield_per=_BATCH))


def changed(session: Session) -> Sequence[ProcedureStep]:
    """Open steps of which watchers have been told something else than what is so now; some at a time."""
    query = _with_study(select(ProcedureStep)).where(_OPEN, _STALE).order_by(ProcedureStep.id)
    return session.scalars(query.limit(_BATCH)).all()


def mark_reported(session: Session, step: ProcedureStep, now: datetime) -> bool:
    """Note that watchers are told what is so now; False where another process has just done so."""
    study = step.study
    done = session.execute(
        update(ProcedureStep)
        .where(
            ProcedureStep.id == step.id,
            ProcedureStep.reported_state == step.reported_state,
            ProcedureStep.reported_rank == step.reported_rank,
            ProcedureStep.reported_ready == step.reported_ready,
        )
        .values(
            reported_state=study.state,
            reported_rank=study.rank,
            reported_ready=study.assembling_since is None,
            changed_at=now,
        )
        .execution_options(synchronize_session=False)
    )
    return bool(done.rowcount)  # type: ignore[attr-defined]


def settle(session: Session) -> None:
    """Take everything for told: there was nobody to tell until now."""

    def of_study(column: Any) -> Any:
        return select(column).where(Study.id == ProcedureStep.study_id).scalar_subquery()

    session.execute(
        update(ProcedureStep)
        .where(_OPEN)
        .values(
            reported_state=of_study(Study.state),
            reported_rank=of_study(Study.rank),
            reported_ready=of_study(Study.assembling_since.is_(None)),
        )
        .execution_options(synchronize_session=False)
    )


def silent(session: Session, *, since: datetime) -> Sequence[ProcedureStep]:
    """Claimed steps of which there was no news since then; some at a time."""
    claimed = ProcedureStep.state == StepState.IN_PROGRESS
    query = select(ProcedureStep).where(claimed, ProcedureStep.changed_at <= since).order_by(ProcedureStep.id)
    return session.scalars(query.limit(_BATCH)).all()


def claim(
    session: Session, sop_instance_uid: str, *, transaction_uid: str, performer: str, now: datetime
) -> bool:
    """SCHEDULED → IN PROGRESS for one reader; False where it is not SCHEDULED any more.

    One conditional UPDATE: of two readers who ask at the same time one gets it.
    """
    return _changed_one(
        session,
        ProcedureStep.sop_instance_uid == sop_instance_uid,
        ProcedureStep.state == StepState.SCHEDULED,
        values={
            "state": StepState.IN_PROGRESS,
            "transaction_uid": transaction_uid,
            "performer": performer,
            "claimed_at": now,
            "changed_at": now,
        },
    )


def end(
    session: Session,
    step: ProcedureStep,
    state: StepState,
    *,
    performed: dict[str, Any],
    now: datetime,
    abandoned: bool = False,
) -> bool:
    """IN PROGRESS → COMPLETED or CANCELED under the transaction of `step`; False where it has moved on.

    An `abandoned` one gets a successor.
    """
    return _changed_one(
        session,
        ProcedureStep.id == step.id,
        ProcedureStep.state == StepState.IN_PROGRESS,
        ProcedureStep.transaction_uid == step.transaction_uid,
        values={
            "state": state,
            "performed": performed,
            "abandoned": abandoned,
            "ended_at": now,
            "ended_revision": _answered_revision(step.study_id),
            "changed_at": now,
        },
    )


def _answered_revision(study_id: int) -> ScalarSelect[int]:
    """Number of the newest revision that has an answer, 0 for none: a reader knows of no later one."""
    newest = func.coalesce(func.max(Revision.number), 0)
    answered = select(newest).where(Revision.study_id == study_id, Revision.state.in_(FINAL_STATES))
    return answered.scalar_subquery()


def _changed_one(session: Session, *where: ColumnElement[bool], values: dict[str, Any]) -> bool:
    done = session.execute(
        update(ProcedureStep).where(*where).values(values).execution_options(synchronize_session=False)
    )
    session.expire_all()
    return bool(done.rowcount)  # type: ignore[attr-defined]


def _with_study(query: Select[ProcedureStep]) -> Select[ProcedureStep]:
    return query.join(ProcedureStep.study).options(contains_eager(ProcedureStep.study))


_OPEN = ProcedureStep.state.not_in(FINAL_STEP_STATES)
_STALE = or_(
    ProcedureStep.reported_state != Study.state,
    ProcedureStep.reported_rank != Study.rank,
    and_(ProcedureStep.reported_ready.is_(True), Study.assembling_since.is_not(None)),
    and_(ProcedureStep.reported_ready.is_(False), Study.assembling_since.is_(None)),
)
