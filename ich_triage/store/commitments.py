"""Storage commitment asked of us: requests, what is held, and who has still to hear of it.

Whoever works on a request moves its `next_attempt_at` ahead first; should it die, the request is due again
then. A receiver judges, a worker tells, and tells nothing that was judged longer ago than `FRESH`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.orm import Session

from ..domain.commitment import CommitmentRequest, Reason, Verdict
from ..settings import Delivery as Policy
from .commitment_tables import Commitment
from .tables import Instance

#: how old a verdict may be that is told: images that retention has taken since must not be promised
FRESH = timedelta(seconds=60)
#: requests, and objects in them, that may wait of one AE title and in all
_MOST_OF_AE, _MOST = 500, 2_000
_MOST_OBJECTS_OF_AE, _MOST_OBJECTS = 100_000, 400_000
#: UIDs in one question to the database
_AT_ONCE = 500


@dataclass(frozen=True, kw_only=True)
class Asker:
    """Who asks."""

    #: its AE title
    ae_title: str
    #: its address
    address: str


@dataclass(frozen=True, kw_only=True)
class Held:
    """One object of the index."""

    #: SOP Class UID
    sop_class_uid: str
    #: path of the file, relative to the spool
    path: str
    #: bytes
    size: int


def find(session: Session, asker: Asker, request: CommitmentRequest) -> Commitment | None:
    """The waiting request of that peer with the same Transaction UID."""
    query = select(Commitment).where(Commitment.ae_title == asker.ae_title)
    return session.scalar(query.where(Commitment.transaction_uid == request.transaction_uid))


def is_room(session: Session, asker: Asker, objects: int) -> bool:
    """Whether one more request of so many objects may wait."""
    counted = select(func.count(), func.coalesce(func.sum(Commitment.count), 0))
    of_ae = counted.where(Commitment.ae_title == asker.ae_title)
    limits = ((counted, _MOST, _MOST_OBJECTS), (of_ae, _MOST_OF_AE, _MOST_OBJECTS_OF_AE))
    for query, most, most_objects in limits:
        waiting, waiting_objects = session.execute(query).one()
        if waiting >= most or waiting_objects + objects > most_objects:
            return False
    return True


def add(
    session: Session, asker: Asker, request: CommitmentRequest, *, now: datetime, not_before: datetime
) -> Commitment:
    """Keep a request; nobody but the caller takes it up before `not_before`."""
    row = Commitment(
        ae_title=asker.ae_title,
        address=asker.address,
        transaction_uid=request.transaction_uid,
        objects=[[*pair, 0] for pair in request.objects],
        count=len(request.objects),
        asked_at=now,
        next_attempt_at=not_before,
    )
    session.add(row)
    session.flush()
    return row


def asked(row: Commitment) -> list[tuple[str, str]]:
    """(SOP Class UID, SOP Instance UID) of each object."""
    return [(sop_class, uid) for sop_class, uid, _ in row.objects]


def verdicts(row: Commitment) -> list[Verdict]:
    """What was found out of each object."""
    return [
        Verdict(sop_class_uid=sop_class, sop_instance_uid=uid, reason=Reason(code) if code else None)
        for sop_class, uid, code in row.objects
    ]


def indexed(session: Session, uids: Collection[str]) -> dict[str, list[Held]]:
    """SOP Instance UID → what the index has under it, in whichever study."""
    found: dict[str, list[Held]] = {}
    wanted = sorted(uids)
    for begin in range(0, len(wanted), _AT_ONCE):
        query = select(Instance.sop_instance_uid, Instance.sop_class_uid, Instance.path, Instance.size)
        query = query.where(Instance.sop_instance_uid.in_(wanted[begin : begin + _AT_ONCE]))
        for uid, sop_class, path, size in session.execute(query):
            found.setdefault(uid, []).append(Held(sop_class_uid=sop_class, path=path, size=size))
    return found


def is_work(session: Session, *, now: datetime, given_up_before: datetime) -> bool:
    """Whether there is anything to judge, or to give up."""
    due = (Commitment.next_attempt_at <= now) & _stale(now)
    query = select(Commitment.id).where(or_(due, Commitment.asked_at < given_up_before))
    return session.scalar(query.limit(1)) is not None


def _stale(now: datetime) -> ColumnElement[bool]:
    return or_(Commitment.judged_at.is_(None), Commitment.judged_at < now - FRESH)


def to_judge(session: Session, *, now: datetime, until: datetime, limit: int) -> Sequence[Commitment]:
    """Take up due requests of which it is not known, or no longer, what is held; nobody else does `until`."""
    return _take(session, _stale(now), now=now, until=until, limit=limit)


def to_tell(
    session: Session, ae_title: str, *, now: datetime, until: datetime, limit: int
) -> Sequence[Commitment]:
    """Take up due requests of an AE whose verdicts are fresh; nobody else does `until`."""
    return _take(session, _to_be_told(ae_title, now), now=now, until=until, limit=limit)


def is_due(session: Session, ae_title: str, now: datetime) -> bool:
    """Whether there is anything to tell an AE."""
    query = select(Commitment.id).where(Commitment.next_attempt_at <= now, _to_be_told(ae_title, now))
    return session.scalar(query.limit(1)) is not None


def _to_be_told(ae_title: str, now: datetime) -> ColumnElement[bool]:
    return (Commitment.ae_title == ae_title) & (Commitment.judged_at >= now - FRESH)


def _take(
    session: Session, condition: ColumnElement[bool], *, now: datetime, until: datetime, limit: int
) -> Sequence[Commitment]:
    due = select(Commitment.id).where(Commitment.next_attempt_at <= now, condition)
    due = due.order_by(Commitment.id).limit(limit).with_for_update(skip_locked=True)
    taken = session.scalars(
        update(Commitment)
        .where(Commitment.id.in_(due.scalar_subquery()), Commitment.next_attempt_at <= now)
        .values(next_attempt_at=until)
        .returning(Commitment.id)
        .execution_options(synchronize_session=False)
    ).all()
    query = select(Commitment).where(Commitment.id.in_(taken)).order_by(Commitment.id)
    return session.scalars(query.execution_options(populate_existing=True)).all()


def judged(
    session: Session, number: int, found: Sequence[Verdict], *, now: datetime, not_before: datetime
) -> None:
    """Note what is held; nobody is told by a worker before `not_before`."""
    objects = [[each.sop_class_uid, each.sop_instance_uid, int(each.reason or 0)] for each in found]
    session.execute(
        update(Commitment)
        .where(Commitment.id == number)
        .values(objects=objects, judged_at=now, next_attempt_at=not_before)
    )


def hold(session: Session, ids: Collection[int], *, until: datetime) -> None:
    """Somebody still has them at hand."""
    session.execute(update(Commitment).where(Commitment.id.in_(ids)).values(next_attempt_at=until))


def due_now(session: Session, number: int, now: datetime) -> None:
    """A worker is to tell."""
    session.execute(update(Commitment).where(Commitment.id == number).values(next_attempt_at=now))


def drop(session: Session, number: int) -> None:
    """The peer has the result, or never will."""
    session.execute(delete(Commitment).where(Commitment.id == number))


def failed(session: Session, ids: Collection[int], *, error: str, policy: Policy, now: datetime) -> None:
    """An attempt to tell failed: all wait longer each time."""
    for row in session.scalars(select(Commitment).where(Commitment.id.in_(ids))):
        row.attempts += 1
        row.last_error = error
        wait_s = min(policy.backoff_s * 2 ** min(row.attempts - 1, 30), policy.backoff_max_s)
        row.next_attempt_at = now + timedelta(seconds=wait_s)


def give_up(session: Session, *, before: datetime) -> Sequence[Commitment]:
    """Forget what was asked before then; returns what was."""
    old = session.scalars(select(Commitment).where(Commitment.asked_at < before)).all()
    for row in old:
        session.delete(row)
    return old


def waiting(session: Session) -> dict[str, tuple[int, str | None]]:
    """AE title → how many results it has not taken, and why one of them could not be told."""
    rows = session.execute(
        select(Commitment.ae_title, func.count(), func.max(Commitment.last_error)).group_by(
            Commitment.ae_title
        )
    )
    return {ae_title: (count, error) for ae_title, count, error in rows}
