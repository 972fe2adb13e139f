"""Which studies may go, and how their rows go. Files are the business of `keeping`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, delete, exists, func, or_, select, update
from sqlalchemy.orm import Session

from ..domain.states import FINAL_STATES, DeliveryState, StudyState
from ..domain.step import StepState
from . import results
from .account_tables import Audit
from .tables import Delivery, Feedback, Instance, Problem, Revision, Study
from .ups_tables import ProcedureStep, StepEvent, Subscription

#: audit records deleted in one transaction
_BATCH = 1000


@dataclass(frozen=True, kw_only=True)
class Removable:
    """A study that may go."""

    #: row id
    study_id: int
    #: Study Instance UID
    study_instance_uid: str
    #: what its images take, bytes
    image_bytes: int


def removable(
    session: Session, *, before: datetime, with_images: bool = False, limit: int
) -> Sequence[Removable]:
    """Settled studies without news since `before`, the longest settled first.

    `with_images`: only those of which images are left.
    """
    held = (
        select(func.coalesce(func.sum(Instance.size), 0))
        .where(Instance.study_id == Study.id)
        .correlate(Study)
        .scalar_subquery()
    )
    query = select(Study.id, Study.study_instance_uid, held).where(Study.changed_at < before, *_settled())
    if with_images:
        query = query.where(Study.instance_count > 0)
    found = session.execute(query.order_by(Study.changed_at, Study.id).limit(limit))
    return [Removable(study_id=key, study_instance_uid=uid, image_bytes=size) for key, uid, size in found]


def still_removable(session: Session, study_id: int, *, before: datetime) -> Study | None:
    """The study, its row locked, if it may go and had no news since `before`."""
    query = select(Study).where(Study.id == study_id).with_for_update()
    study = session.scalar(query)
    if study is None or study.changed_at >= before:
        return None
    return None if any(obstacles(session, study)) else study


def obstacles(session: Session, study: Study) -> Iterator[str]:
    """Why a study may not go yet, in words."""
    for words, stands in _OBSTACLES.items():
        if session.scalar(select(Study.id).where(Study.id == study.id, stands)) is not None:
            yield words


def _settled() -> list[ColumnElement[bool]]:
    return [~stands for stands in _OBSTACLES.values()]


def _delivery(*conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists().where(Revision.study_id == Study.id, Delivery.revision_id == Revision.id, *conditions)


_OBSTACLES: dict[str, ColumnElement[bool]] = {
    "its slices are still coming in": or_(
        Study.assembling_since.is_not(None), Study.state == StudyState.RECEIVING
    ),
    "it is being analysed": or_(
        exists().where(Revision.study_id == Study.id, Revision.state.not_in(FINAL_STATES)),
        Study.state == StudyState.IN_PROGRESS,
    ),
    "a report of it is on its way": _delivery(Delivery.state == DeliveryState.PENDING),
    "a storage commitment for its report is awaited": _delivery(
        Delivery.state == DeliveryState.SENT, Delivery.next_attempt_at.is_not(None)
    ),
    "a reader has claimed its procedure step": exists().where(
        ProcedureStep.study_id == Study.id, ProcedureStep.state == StepState.IN_PROGRESS
    ),
}


def mark_images(session: Session, study_instance_uid: str, at: datetime | None) -> None:
    """Note that the images of a study go as of `at`, or stay (None); the list takes that for no news.

    Without effect on a study that has none any more: when they went is kept.
    """
    session.execute(
        update(Study)
        .where(Study.study_instance_uid == study_instance_uid)
        .where(exists().where(Instance.study_id == Study.id))
        .values(images_removed_at=at, changed_at=Study.changed_at)
        .execution_options(synchronize_session=False)
    )


def drop_images(session: Session, study: Study) -> int:
    """Delete the rows of a study's images; what reports are derived from stays. Returns how many."""
    for revision in session.scalars(select(Revision).where(Revision.study_id == study.id)):
        revision.objects_sha256 = results.objects_sha256(session, revision)
    session.flush()
    gone = session.scalars(delete(Instance).where(Instance.study_id == study.id).returning(Instance.id)).all()
    session.execute(
        update(Study)
        .where(Study.id == study.id)
        .values(instance_count=0, changed_at=Study.changed_at)
        .execution_options(synchronize_session=False)
    )
    return len(gone)


def drop_study(session: Session, study: Study) -> None:
    """Delete every row of a study, and what was said of it on the way to others; not the audit trail."""
    steps = select(ProcedureStep.id).where(ProcedureStep.study_id == study.id)
    step_uids = select(ProcedureStep.sop_instance_uid).where(ProcedureStep.study_id == study.id)
    revisions = select(Revision.id).where(Revision.study_id == study.id)
    uid = study.study_instance_uid
    for statement in (
        delete(StepEvent).where(StepEvent.sop_instance_uid.in_(step_uids)),
        delete(Subscription).where(Subscription.step_id.in_(steps)),
        delete(ProcedureStep).where(ProcedureStep.study_id == study.id),
        delete(Feedback).where(Feedback.revision_id.in_(revisions)),
        delete(Delivery).where(Delivery.revision_id.in_(revisions)),
        delete(Revision).where(Revision.study_id == study.id),
        delete(Instance).where(Instance.study_id == study.id),
        # others' problems name it where the same object came in both
        delete(Problem).where(
            or_(Problem.study_instance_uid == uid, Problem.detail.contains(f"in study {uid},"))
        ),
        delete(Study).where(Study.id == study.id),
    ):
        session.execute(statement.execution_options(synchronize_session=False))


def drop_problems(session: Session, *, before: datetime) -> int:
    """Delete problems with objects that belong to no study that we know; returns how many."""
    known = exists().where(Study.study_instance_uid == Problem.study_instance_uid)
    gone = delete(Problem).where(Problem.at < before, ~known).returning(Problem.id)
    return len(session.scalars(gone.execution_options(synchronize_session=False)).all())


def drop_audit(session: Session, *, before: datetime) -> int:
    """Delete the oldest audit records from before then, some at a time; returns how many."""
    oldest = select(Audit.id).where(Audit.at < before).order_by(Audit.at).limit(_BATCH)
    gone = delete(Audit).where(Audit.id.in_(oldest.scalar_subquery())).returning(Audit.id)
    return len(session.scalars(gone.execution_options(synchronize_session=False)).all())


@dataclass(frozen=True, kw_only=True)
class Named:
    """What the database says of a study's files."""

    #: paths of its objects, relative to the spool
    objects: frozenset[str]
    #: whether there is such a study
    study: bool


def named(session: Session, study_instance_uid: str) -> Named:
    """Which files of a study are said to be there."""
    of_study = select(Instance.path).join(Study).where(Study.study_instance_uid == study_instance_uid)
    there = select(Study.id).where(Study.study_instance_uid == study_instance_uid)
    objects = frozenset(session.scalars(of_study))
    return Named(objects=objects, study=session.scalar(there) is not None)
