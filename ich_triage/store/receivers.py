"""Receivers: whether one lives."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from .tables import Receiver
from .workers import clock, process_is_gone

#: how often a receiver says that it lives, s
HEARTBEAT_S = 5.0
#: silence after which it is taken for dead, s
_DEAD_AFTER = timedelta(seconds=20)


def heartbeat(session: Session, *, receiver_id: str, host: str, pid: int) -> None:
    """Say that this one lives."""
    session.merge(Receiver(id=receiver_id, host=host, pid=pid, seen_at=clock(session)))


def bury(session: Session) -> int:
    """Forget those that have died; returns how many, to one caller only: it sees to what they have left."""
    silent = delete(Receiver).where(Receiver.seen_at < clock(session) - _DEAD_AFTER).returning(Receiver.id)
    return len(session.scalars(silent).all())


def bury_here(session: Session, host: str) -> None:
    """Forget those of this host whose process is gone: whoever starts sees to what they have left."""
    for each in session.scalars(select(Receiver).where(Receiver.host == host)):
        if process_is_gone(each.pid):
            session.delete(each)


def remove(session: Session, receiver_id: str) -> None:
    """Forget one that has stopped in order."""
    session.execute(delete(Receiver).where(Receiver.id == receiver_id))


def living(session: Session) -> int:
    """How many have given a sign of life of late."""
    now = clock(session)
    alive = Receiver.seen_at.between(now - _DEAD_AFTER, now + _DEAD_AFTER)  # later: before it was set back
    return session.scalars(select(func.count()).select_from(Receiver).where(alive)).one()
