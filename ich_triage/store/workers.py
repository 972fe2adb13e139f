"""Workers: who lives, who is dead."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psutil
from sqlalchemy import DateTime, delete, func, select
from sqlalchemy.orm import Session

from .tables import Worker


def clock(session: Session) -> datetime:
    """The one clock that heartbeats of several hosts are judged by: a PostgreSQL server's, else ours."""
    if session.get_bind().dialect.name == "postgresql":
        return session.scalars(select(func.clock_timestamp(type_=DateTime(timezone=True)))).one()
    return datetime.now(UTC)


def heartbeat(session: Session, worker: Worker) -> None:
    """Write or renew the row of `worker`, whose `seen_at` the caller has set."""
    session.merge(worker)


def living_and_dead(
    session: Session, *, now: datetime, host: str, dead_after_s: float
) -> tuple[list[str], list[str]]:
    """Ids of the workers that live, and of those that do not.

    Dead is who is silent for `dead_after_s`; on `host`, where we can look for the process, half of that
    is enough. Silence is asked for in any case: containers can share a host name, not process ids.
    Who was seen that much later than now was seen before the clock was set back, and not since.
    """
    living: list[str] = []
    dead: list[str] = []
    for worker in session.scalars(select(Worker)):
        here = worker.host == host and process_is_gone(worker.pid)
        silence = timedelta(seconds=dead_after_s / 2 if here else dead_after_s)
        (dead if abs(now - worker.seen_at) > silence else living).append(worker.id)
    return living, dead


def living(session: Session, *, dead_after_s: float) -> list[str]:
    """Ids of the workers that have given a sign of life within `dead_after_s`."""
    return living_and_dead(session, now=clock(session), host="", dead_after_s=dead_after_s)[0]


def off_course(session: Session, *, dead_after_s: float) -> list[Worker]:
    """Living workers that could not take the package in force, and run another one."""
    alive = living(session, dead_after_s=dead_after_s)
    found = session.scalars(select(Worker).where(Worker.package_problem.is_not(None)))
    return [worker for worker in found if worker.id in alive]


def remove(session: Session, worker_id: str) -> None:
    """Forget a worker whose studies have been taken over, or which has stopped in order."""
    session.execute(delete(Worker).where(Worker.id == worker_id))


def process_is_gone(pid: int) -> bool:
    """No such process, or one that is dead and only not buried; a number given out again is not noticed."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
