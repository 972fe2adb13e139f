"""Deliveries: plan, claim, and record what became of each object at each destination.

A delivery is due when it is pending, or sent with a commitment still to be asked for or overdue, and its
`next_attempt_at` has come. Workers claim with one conditional UPDATE, so that each due delivery goes to
one worker at a time; a claim that is not renewed runs out. A delivery that is sent twice after all (the
worker died between the destination's answer and our commit) carries the same bytes and UID. A message has
an id in the place of the UID.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import CTE, ColumnElement, Update, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from ..domain.commitment import CommitmentResult
from ..domain.states import ANALYSED_STATES, MESSAGE_KINDS, DeliveryState, OutputKind, StudyState
from ..settings import Delivery as Policy
from .tables import Delivery, Revision, Study

#: of every so many requests for commitment without success, one is preceded by sending again
_RESEND_EVERY = 3
_JITTER = (0.75, 1.25)


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One object that one destination shall get."""

    #: name of the destination in the configuration
    destination: str
    #: what it is
    kind: OutputKind
    #: SOP Class UID of the object; empty for a message
    sop_class_uid: str
    #: SOP Instance UID of the object; of a message the id under which it goes
    sop_instance_uid: str
    #: path of the file, relative to the spool
    path: str


def plan(session: Session, revision: Revision, planned: Collection[Planned]) -> None:
    """Add pending deliveries of `revision`; those that are there already stay as they are."""
    rows = session.execute(
        select(Delivery.sop_instance_uid, Delivery.destination).where(
            Delivery.sop_instance_uid.in_([each.sop_instance_uid for each in planned])
        )
    )
    there = {(uid, destination) for uid, destination in rows}
    for each in planned:
        if (each.sop_instance_uid, each.destination) in there:
            continue
        delivery = Delivery(revision_id=revision.id, state=DeliveryState.PENDING)
        delivery.destination = each.destination
        delivery.kind = each.kind
        delivery.sop_class_uid = each.sop_class_uid
        delivery.sop_instance_uid = each.sop_instance_uid
        delivery.path = each.path
        delivery.next_attempt_at = datetime.now(UTC)
        session.add(delivery)


def claim_due(
    session: Session, destination: str, *, worker_id: str, now: datetime, limit: int, lease_s: float
) -> Sequence[Delivery]:
    """Take up to `limit` due deliveries of `destination` for `lease_s`; flagged ones first, then oldest.

    No message that would overtake an earlier one of its study, which another worker is about to send.
    """
    due = (
        select(Delivery.id)
        .join(Revision, Revision.id == Delivery.revision_id)
        .join(Study, Study.id == Revision.study_id)
        .where(Delivery.destination == destination, _due(now))
        .order_by(Study.rank, Delivery.revision_id, Delivery.id)
        .limit(limit)
        .with_for_update(of=Delivery, skip_locked=True)
        .cte("due")
    )
    claimed = session.scalars(
        update(Delivery)
        .where(Delivery.id.in_(select(due.c.id)), _unclaimed(now), ~_overtakes(due, now))
        .values(claimed_by=worker_id, claimed_until=now + timedelta(seconds=lease_s))
        .returning(Delivery.id)
        .execution_options(synchronize_session=False)
    ).all()
    return session.scalars(
        select(Delivery)
        .join(Revision, Revision.id == Delivery.revision_id)
        .join(Study, Study.id == Revision.study_id)
        .where(Delivery.id.in_(claimed))
        .order_by(Study.rank, Delivery.revision_id, Delivery.id)
    ).all()


def next_due_at(session: Session, destination: str, *, now: datetime) -> datetime | None:
    """When the next unclaimed delivery of `destination` becomes due; None when nothing waits."""
    return session.scalar(
        select(func.min(Delivery.next_attempt_at)).where(
            Delivery.destination == destination, Delivery.state.in_(_OPEN), _unclaimed(now)
        )
    )


def renew(session: Session, worker_ids: Collection[str], *, until: datetime) -> None:
    """Extend every claim of these workers."""
    session.execute(update(Delivery).where(Delivery.claimed_by.in_(worker_ids)).values(claimed_until=until))


def bring_forward(session: Session, *, now: datetime, until: datetime) -> None:
    """The clock was set back: nothing waits for a time that was near then; no claim outlasts `until`."""
    session.execute(_without_waiting(now))
    session.execute(update(Delivery).where(Delivery.claimed_until > until).values(claimed_until=until))


def due_again(session: Session, destination: str, *, now: datetime) -> int:
    """What has failed at `destination` waits no longer; returns how many. Answers are waited for."""
    failed = (
        _without_waiting(now)
        .where(Delivery.destination == destination, Delivery.transaction_uid.is_(None), _unclaimed(now))
        .returning(Delivery.id)
        .execution_options(synchronize_session=False)
    )
    return len(session.scalars(failed).all())


def release(session: Session, worker_id: str) -> None:
    """Drop every claim of a worker."""
    session.execute(
        update(Delivery).where(Delivery.claimed_by == worker_id).values(claimed_by=None, claimed_until=None)
    )


def mark_sent(
    session: Session, delivery_id: int, *, now: datetime, commitment: bool, note: str | None = None
) -> None:
    """The destination has stored it; `commitment` leaves it due for the request that follows."""
    session.execute(
        _one(delivery_id).values(
            state=DeliveryState.SENT,
            attempts=Delivery.attempts + 1,
            sent_at=func.coalesce(Delivery.sent_at, now),
            last_error=note,
            transaction_uid=None,
            next_attempt_at=now if commitment else None,
        )
    )


def mark_failed(
    session: Session,
    ids: Collection[int],
    *,
    error: str,
    policy: Policy,
    now: datetime,
    wait_s: float = 0.0,
) -> list[int]:
    """An attempt to send failed: wait longer each time, give up after `policy.max_attempts`.

    Those that failed together are due together again. `wait_s` is what the destination asked for at least.
    Returns the ids that were given up.
    """
    retry = _Retry(policy, now, at_least_s=wait_s)
    failed = session.scalars(select(Delivery).where(Delivery.id.in_(ids))).all()
    for delivery in failed:
        delivery.attempts += 1
        delivery.last_error = error
        retry(delivery, DeliveryState.PENDING, delivery.attempts)
    return [delivery.id for delivery in failed if delivery.state == DeliveryState.DEAD]


def mark_dead(session: Session, delivery_id: int, *, error: str) -> None:
    """Nothing can come of another attempt."""
    _give_up(session.get_one(Delivery, delivery_id), error)


def supersede(session: Session, delivery_id: int) -> bool:
    """End a message that a later revision's message to the same destination makes obsolete; whether it was.

    A revision without an analysis does so to no message that says "flagged".
    """
    delivery = session.get_one(Delivery, delivery_id)
    says = delivery.revision
    after = (
        select(Delivery.id)
        .join(Revision, Revision.id == Delivery.revision_id)
        .where(Revision.study_id == says.study_id, Revision.number > says.number)
        .where(Delivery.destination == delivery.destination, Delivery.kind == delivery.kind)
        .limit(1)
    )
    if says.state == StudyState.FLAGGED:
        after = after.where(Revision.state.in_(ANALYSED_STATES))
    if delivery.kind not in MESSAGE_KINDS or session.scalar(after) is None:
        return False
    delivery.state = DeliveryState.SUPERSEDED
    delivery.last_error = None
    delivery.next_attempt_at = None
    return True


def give_up_elsewhere(session: Session, destinations: Collection[str]) -> int:
    """End what waits for a destination that is not among the configured `destinations`."""
    waiting = session.scalars(
        select(Delivery)
        .where(Delivery.state.in_(_OPEN), Delivery.next_attempt_at.is_not(None))
        .where(Delivery.destination.not_in(destinations))
    ).all()
    for delivery in waiting:
        _give_up(delivery, f"destination {delivery.destination} is not in the configuration")
    return len(waiting)


def commitment_requested(
    session: Session, ids: Collection[int], *, transaction_uid: str, answer_due_at: datetime
) -> None:
    """Commitment is about to be asked for; without an answer by then, the request counts as failed."""
    session.execute(
        update(Delivery)
        .where(Delivery.id.in_(ids))
        .values(
            transaction_uid=transaction_uid,
            commitment_attempts=Delivery.commitment_attempts + 1,
            next_attempt_at=answer_due_at,
            claimed_by=None,
            claimed_until=None,
        )
    )


def close_without_commitment(session: Session, ids: Collection[int], *, why: str) -> None:
    """There is nobody to ask for commitment: what the destination has stored counts as sent, with a note."""
    session.execute(
        update(Delivery)
        .where(Delivery.id.in_(ids))
        .values(
            next_attempt_at=None,
            transaction_uid=None,
            last_error=f"stored; {why}",
            claimed_by=None,
            claimed_until=None,
        )
    )


def commitment_failed(
    session: Session, ids: Collection[int], *, error: str, policy: Policy, now: datetime
) -> None:
    """A request was refused or went unanswered: ask again, now and then send again, in the end give up."""
    retry = _Retry(policy, now)
    for delivery in session.scalars(select(Delivery).where(Delivery.id.in_(ids))):
        _commitment_failed(delivery, error, retry, resend=False)


def commitment_result(session: Session, result: CommitmentResult, *, policy: Policy, now: datetime) -> None:
    """Record the answer to a request; one to a request that was since repeated is no longer looked for.

    What the destination will not commit to is sent again.
    """
    retry = _Retry(policy, now)
    asked = select(Delivery).where(Delivery.transaction_uid == result.transaction_uid)
    for delivery in session.scalars(asked):
        reason = result.failed.get(delivery.sop_instance_uid)
        if delivery.sop_instance_uid in result.committed:
            delivery.state = DeliveryState.COMMITTED
            delivery.committed_at = now
            delivery.next_attempt_at = None
            delivery.last_error = None
        elif reason is not None:
            error = f"not committed: failure reason 0x{reason:04X}"
            _commitment_failed(delivery, error, retry, resend=True)


def redeliver(session: Session, study_instance_uid: str, *, destination: str | None, now: datetime) -> int:
    """Make a study's deliveries pending again, dead ones included, with fresh attempts; returns how many."""
    of_study = select(Revision.id).join(Study).where(Study.study_instance_uid == study_instance_uid)
    return _again(session, Delivery.revision_id.in_(of_study.scalar_subquery()), destination, now)


def redeliver_dead(session: Session, *, destination: str | None, now: datetime) -> int:
    """Make every dead delivery pending again, as after a PACS that was away for days; returns how many."""
    return _again(session, Delivery.state == DeliveryState.DEAD, destination, now)


def _again(session: Session, which: ColumnElement[bool], destination: str | None, now: datetime) -> int:
    again = (
        update(Delivery)
        .where(which)
        .values(
            state=DeliveryState.PENDING,
            attempts=0,
            commitment_attempts=0,
            next_attempt_at=now,
            last_error=None,
            transaction_uid=None,
            committed_at=None,
            claimed_by=None,
            claimed_until=None,
        )
        .returning(Delivery.id)
        .execution_options(synchronize_session=False)
    )
    if destination is not None:
        again = again.where(Delivery.destination == destination)
    return len(session.scalars(again).all())


def of_study(session: Session, study_instance_uid: str) -> Sequence[Delivery]:
    """Every delivery of a study, oldest revision first."""
    return session.scalars(
        select(Delivery)
        .join(Revision, Revision.id == Delivery.revision_id)
        .join(Study, Study.id == Revision.study_id)
        .where(Study.study_instance_uid == study_instance_uid)
        .order_by(Delivery.revision_id, Delivery.id)
    ).all()


def dead_studies(session: Session) -> Sequence[str]:
    """Study Instance UIDs with a dead delivery."""
    return session.scalars(
        select(Study.study_instance_uid)
        .join(Revision, Revision.study_id == Study.id)
        .join(Delivery, Delivery.revision_id == Revision.id)
        .where(Delivery.state == DeliveryState.DEAD)
        .distinct()
    ).all()


_OPEN = (DeliveryState.PENDING, DeliveryState.SENT)


def _due(now: datetime) -> ColumnElement[bool]:
    return Delivery.state.in_(_OPEN) & (Delivery.next_attempt_at <= now) & _unclaimed(now)


def _overtakes(taken: CTE, now: datetime) -> ColumnElement[bool]:
    """A message whose study has an earlier one, due at the same destination and not among those `taken`.

    Not whether that one is claimed: a claim that another worker has not committed yet cannot be seen.
    """
    earlier, before, own = aliased(Delivery), aliased(Revision), aliased(Revision)
    not_taken = (
        select(earlier.id)
        .join(before, before.id == earlier.revision_id)
        .join(own, own.study_id == before.study_id)
        .where(own.id == Delivery.revision_id, before.number < own.number)
        .where(earlier.destination == Delivery.destination, earlier.kind == Delivery.kind)
        .where(earlier.state == DeliveryState.PENDING, earlier.next_attempt_at <= now)
        .where(earlier.id.not_in(select(taken.c.id)))
        .correlate(Delivery)
    )
    return Delivery.kind.in_(MESSAGE_KINDS) & not_taken.exists()


def _without_waiting(now: datetime) -> Update:
    """What is due later is due now."""
    later = update(Delivery).where(Delivery.state.in_(_OPEN), Delivery.next_attempt_at > now)
    return later.values(next_attempt_at=now)


def _unclaimed(now: datetime) -> ColumnElement[bool]:
    return or_(Delivery.claimed_until.is_(None), Delivery.claimed_until <= now)


def _one(delivery_id: int) -> Update:
    return update(Delivery).where(Delivery.id == delivery_id)


def _commitment_failed(delivery: Delivery, error: str, retry: _Retry, *, resend: bool) -> None:
    delivery.last_error = error
    if delivery.transaction_uid is None:
        delivery.commitment_attempts += 1  # it did not even come to the request
    delivery.transaction_uid = None
    send = resend or delivery.commitment_attempts % _RESEND_EVERY == 0
    state = DeliveryState.PENDING if send else DeliveryState.SENT
    retry(delivery, state, delivery.commitment_attempts)


class _Retry:
    """One growing wait with one jitter for all that failed together."""

    def __init__(self, policy: Policy, now: datetime, *, at_least_s: float = 0.0) -> None:
        self._policy = policy
        self._now = now
        self._at_least_s = at_least_s
        self._jitter = random.uniform(*_JITTER)

    def __call__(self, delivery: Delivery, state: DeliveryState, attempts: int) -> None:
        """Back to `state` after a wait that doubles with each of `attempts`; dead when they are used up."""
        if attempts >= self._policy.max_attempts:
            _give_up(delivery, delivery.last_error or "")
            return
        wait = min(self._policy.backoff_s * 2 ** min(attempts - 1, 30), self._policy.backoff_max_s)
        asked = min(self._at_least_s, self._policy.backoff_max_s)
        delivery.state = state
        delivery.next_attempt_at = self._now + timedelta(seconds=max(wait * self._jitter, asked))
        delivery.claimed_by = delivery.claimed_until = None


def _give_up(delivery: Delivery, error: str) -> None:
    delivery.state = DeliveryState.DEAD
    delivery.last_error = error
    delivery.next_attempt_at = None
    delivery.claimed_by = delivery.claimed_until = None
