"""Who hears of which procedure step, and the events that are on their way there."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, insert, or_, select, update
from sqlalchemy.orm import Session

from ..settings import Delivery as Policy
from .ups_tables import GlobalSubscription, ProcedureStep, StepEvent, Subscription

#: steps that a new watcher is told of at a time
GREETED_AT_ONCE = 200


def subscribe(session: Session, ae_title: str, step: ProcedureStep, *, deletion_lock: bool) -> None:
    """Let an AE hear of one step, whatever its global subscription says."""
    session.merge(
        Subscription(ae_title=ae_title, step_id=step.id, subscribed=True, deletion_lock=deletion_lock)
    )


def unsubscribe(session: Session, ae_title: str, step: ProcedureStep) -> None:
    """Let an AE hear no more of one step."""
    session.merge(Subscription(ae_title=ae_title, step_id=step.id, subscribed=False, deletion_lock=False))


def subscribe_globally(session: Session, ae_title: str, *, deletion_lock: bool) -> None:
    """Let an AE hear of every step; with the lock it is first told the state of each (CC.2.4.3)."""
    session.execute(
        delete(Subscription).where(Subscription.ae_title == ae_title, Subscription.subscribed.is_(False))
    )
    greeted = 0 if deletion_lock else None
    session.merge(
        GlobalSubscription(
            ae_title=ae_title, deletion_lock=deletion_lock, last_step_id=None, greeted_step_id=greeted
        )
    )


def suspend_globally(session: Session, ae_title: str) -> None:
    """Leave an AE the steps that it hears of by now, and no new ones."""
    last = session.scalar(select(func.max(ProcedureStep.id))) or 0
    session.execute(
        update(GlobalSubscription).where(GlobalSubscription.ae_title == ae_title).values(last_step_id=last)
    )


def unsubscribe_globally(session: Session, ae_title: str) -> None:
    """Let an AE hear of nothing any more; what is on its way to it is dropped."""
    for table in (GlobalSubscription, Subscription, StepEvent):
        session.execute(delete(table).where(table.ae_title == ae_title))


def anybody(session: Session) -> bool:
    """Whether there is any subscription."""
    return any(
        session.scalar(select(table.ae_title).limit(1)) is not None
        for table in (GlobalSubscription, Subscription)
    )


def watchers(session: Session, step: ProcedureStep) -> set[str]:
    """AE titles that hear of a step."""
    own = {
        each.ae_title: each.subscribed
        for each in session.scalars(select(Subscription).where(Subscription.step_id == step.id))
    }
    covers = or_(GlobalSubscription.last_step_id.is_(None), GlobalSubscription.last_step_id >= step.id)
    everywhere = session.scalars(select(GlobalSubscription.ae_title).where(covers))
    return {ae for ae, subscribed in own.items() if subscribed} | {ae for ae in everywhere if ae not in own}


def to_be_greeted(session: Session, *, lock: bool) -> Sequence[GlobalSubscription]:
    """Global subscriptions that have still to be told of steps, their rows locked if wanted."""
    query = select(GlobalSubscription).where(GlobalSubscription.greeted_step_id.is_not(None))
    return session.scalars(query.with_for_update() if lock else query).all()


def not_greeted(session: Session, subscription: GlobalSubscription) -> Sequence[ProcedureStep]:
    """The next steps of which it has to be told."""
    return session.scalars(
        select(ProcedureStep)
        .where(ProcedureStep.id > subscription.greeted_step_id)
        .order_by(ProcedureStep.id)
        .limit(GREETED_AT_ONCE)
    ).all()


def publish(
    session: Session,
    step: ProcedureStep,
    event_type: int,
    information: dict[str, Any],
    *,
    now: datetime,
    to: Collection[str] | None = None,
) -> int:
    """Put an event on its way to every watcher of the step, or to those named; returns how many."""
    receivers = watchers(session, step) if to is None else to
    rows = [
        {
            "ae_title": ae_title,
            "sop_instance_uid": step.sop_instance_uid,
            "event_type": event_type,
            "information": information,
            "at": now,
            "attempts": 0,
            "next_attempt_at": now,
        }
        for ae_title in sorted(receivers)
    ]
    if rows:
        session.execute(insert(StepEvent), rows)
    return len(rows)


def is_due(session: Session, ae_title: str, now: datetime) -> bool:
    """Whether the oldest event of an AE is due."""
    oldest = select(StepEvent.next_attempt_at).where(StepEvent.ae_title == ae_title).order_by(StepEvent.id)
    due = session.scalar(oldest.limit(1))
    return due is not None and due <= now


def claim_due(
    session: Session, ae_title: str, *, owner: str, now: datetime, limit: int, lease: timedelta
) -> Sequence[StepEvent]:
    """Take the oldest events of an AE for `lease`; none before the oldest is due: none overtakes another.

    None either while another process has some.
    """
    oldest = select(StepEvent).where(StepEvent.ae_title == ae_title).order_by(StepEvent.id).limit(limit)
    batch = session.scalars(oldest.with_for_update()).all()
    taken = any(each.claimed_until is not None and each.claimed_until > now for each in batch)
    if not batch or taken or batch[0].next_attempt_at > now:
        return []
    for each in batch:
        each.claimed_by, each.claimed_until = owner, now + lease
    return batch


def arrived(session: Session, event: StepEvent, *, until: datetime) -> None:
    """The AE has it; what its process has claimed beside it stays claimed until then."""
    session.execute(delete(StepEvent).where(StepEvent.id == event.id))
    own = update(StepEvent).where(StepEvent.claimed_by == event.claimed_by)
    session.execute(own.values(claimed_until=until).execution_options(synchronize_session=False))


def failed(session: Session, ids: Collection[int], *, error: str, policy: Policy, now: datetime) -> list[int]:
    """An attempt failed: all wait longer each time, and are given up after `policy.max_attempts`.

    Returns the ids that were given up.
    """
    given_up = []
    for event in session.scalars(select(StepEvent).where(StepEvent.id.in_(ids))):
        event.attempts += 1
        event.last_error = error
        event.claimed_by = event.claimed_until = None
        wait = min(policy.backoff_s * 2 ** min(event.attempts - 1, 30), policy.backoff_max_s)
        event.next_attempt_at = now + timedelta(seconds=wait)
        if event.attempts >= policy.max_attempts:
            session.delete(event)
            given_up.append(event.id)
    return given_up


def release(session: Session, owner: str) -> None:
    """Drop every claim of a process."""
    session.execute(
        update(StepEvent).where(StepEvent.claimed_by == owner).values(claimed_by=None, claimed_until=None)
    )


def waiting(session: Session) -> dict[str, tuple[int, str | None]]:
    """AE title → number of events on their way to it, and why one of them could not be told."""
    rows = session.execute(
        select(StepEvent.ae_title, func.count(), func.max(StepEvent.last_error)).group_by(StepEvent.ae_title)
    )
    return {ae_title: (count, error) for ae_title, count, error in rows}


def has_unknown(session: Session, known: Collection[str]) -> bool:
    """Whether there are events for AEs that are not in the configuration."""
    return session.scalar(select(StepEvent.id).where(StepEvent.ae_title.not_in(known)).limit(1)) is not None


def drop_unknown(session: Session, known: Collection[str]) -> int:
    """Forget events for AEs that are not in the configuration any more; returns how many."""
    gone = delete(StepEvent).where(StepEvent.ae_title.not_in(known)).returning(StepEvent.id)
    return len(session.scalars(gone.execution_options(synchronize_session=False)).all())
