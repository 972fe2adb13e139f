"""Revisions from the queue to their final state."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import Select, func, select, update
from sqlalchemy.orm import Session, aliased

from ..domain.priority import state_once_answered
from ..domain.states import FINAL_STATES, REPORT_KINDS, OutputKind, ReasonCode, StudyState
from . import studies
from .tables import Delivery, Instance, Revision, Study


def waiting(session: Session, *, limit: int = 100) -> Sequence[Revision]:
    """Complete revisions that no queue has yet, urgent ones first; each once the one before it is final."""
    earlier = aliased(Revision)
    before = (
        select(earlier.id)
        .where(earlier.study_id == Revision.study_id, earlier.number < Revision.number)
        .where(earlier.state == StudyState.IN_PROGRESS)
    )
    return session.scalars(
        select(Revision)
        .join(Revision.study)
        .where(Revision.enqueued_at.is_(None), ~before.exists())
        .order_by(Study.stat.desc(), Revision.complete_at)
        .limit(limit)
    ).all()


def in_queue(session: Session) -> Sequence[Revision]:
    """Revisions that the queue has and that are not final."""
    return session.scalars(
        select(Revision).where(Revision.state == StudyState.IN_PROGRESS, Revision.enqueued_at.is_not(None))
    ).all()


def get(session: Session, revision_id: int) -> Revision:
    """The revision."""
    return session.get_one(Revision, revision_id)


def unfinished(session: Session, revision_id: int) -> Revision | None:
    """The revision, its row locked; None when it has its final state, which is given only once.

    Two workers may come here with the same revision, when one was taken for dead and was not.
    """
    revision = session.get_one(Revision, revision_id, with_for_update=True)
    return None if revision.state in FINAL_STATES else revision


def mark_enqueued(session: Session, revision_id: int, now: datetime | None) -> None:
    """The queue has it since `now`; None when it has to be handed over again."""
    session.execute(update(Revision).where(Revision.id == revision_id).values(enqueued_at=now))


def begin(session: Session, revision_id: int, now: datetime) -> Revision:
    """A worker begins, perhaps not for the first time; counts the attempt, keeps the first start."""
    session.execute(
        update(Revision)
        .where(Revision.id == revision_id)
        .values(attempts=Revision.attempts + 1, started_at=func.coalesce(Revision.started_at, now))
    )
    return get(session, revision_id)


def give_attempt_back(session: Session, revision_id: int) -> None:
    """The attempt broke off for a reason that has nothing to do with the study."""
    session.execute(update(Revision).where(Revision.id == revision_id).values(attempts=Revision.attempts - 1))


def instances(session: Session, revision: Revision) -> Sequence[Instance]:
    """What the revision covers; objects in conflict with an earlier one of the same UID are left out."""
    return session.scalars(
        select(Instance)
        .where(
            Instance.study_id == revision.study_id,
            Instance.id <= revision.last_instance_id,
            Instance.conflict.is_(False),
        )
        .order_by(Instance.id)
    ).all()


def objects_sha256(session: Session, revision: Revision) -> str:
    """Hash of the objects that the revision covers, also once retention has removed them."""
    if revision.objects_sha256 is not None:
        return revision.objects_sha256
    objects = sorted(f"{each.sop_instance_uid}/{each.sha256}" for each in instances(session, revision))
    return hashlib.sha256("\n".join(objects).encode()).hexdigest()


def previous(
    session: Session, revision: Revision, *, states: Collection[StudyState] = FINAL_STATES
) -> Revision | None:
    """The latest earlier revision of the study in one of `states`: by default, any final one."""
    return session.scalar(_latest_before(revision, states))


def reported_before(
    session: Session, revision: Revision, *, states: Collection[StudyState] = FINAL_STATES
) -> Revision | None:
    """The latest earlier revision in one of `states` whose structured report was to be sent anywhere."""
    reported = _latest_before(revision, states).join(Revision.deliveries)
    return session.scalar(reported.where(Delivery.kind == OutputKind.SR))


def _latest_before(revision: Revision, states: Collection[StudyState]) -> Select[Revision]:
    return (
        select(Revision)
        .where(
            Revision.study_id == revision.study_id,
            Revision.number < revision.number,
            Revision.state.in_(states),
        )
        .order_by(Revision.number.desc())
        .limit(1)
    )


def report_holders(session: Session, revision: Revision) -> frozenset[str]:
    """Names of the destinations that were to get a report, in whatever form, of any earlier revision."""
    return frozenset(
        session.scalars(
            select(Delivery.destination)
            .join(Delivery.revision)
            .where(
                Revision.study_id == revision.study_id,
                Revision.number < revision.number,
                Delivery.kind.in_(REPORT_KINDS),
            )
        )
    )


def finish(
    session: Session,
    revision: Revision,
    state: StudyState,
    *,
    code: ReasonCode | None = None,
    reason: str | None = None,
) -> bool:
    """Give the revision its final state; returns whether it holds, so that others may be told.

    It does, and the study shows it, unless newer slices wait for their own revision, which will speak then;
    but a flag shows at once, and only another analysis takes it down: the reason
    then says why there was none.
    """
    revision.state = state
    revision.reason_code = code
    revision.reason = reason
    study = session.get_one(Study, revision.study_id, with_for_update=True)
    newest = study.revision == revision.number and study.assembling_since is None
    holds = newest or state is StudyState.FLAGGED
    if holds:
        shown = state_once_answered(StudyState(study.state), state)
        studies.set_state(study, shown, code=code, reason=reason)
    return holds
