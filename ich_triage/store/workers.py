"""Workers: who lives, who is dead."""

from __future__ import annotations

from datetime import datetime, timedelta

import psutil
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from .tables import Worker


def heartbeat(session: Session, worker: Worker) -> None:
    """Write or renew the row of `worker`, whose `seen_at` the caller has set."""
    session.merge(worker)


def dead(session: Session, *, now: datetime, host: str, dead_after_s: float) -> list[str]:
    """Ids of workers that are silent for `dead_after_s`, or whose process on `host` is gone."""
    silent_since = now - timedelta(seconds=dead_after_s)
    return [
        worker.id
        for worker in session.scalars(select(Worker))
        if worker.seen_at < silent_since or (worker.host == host and _process_is_gone(worker))
    ]


def remove(session: Session, worker_id: str) -> None:
    """Forget a worker whose studies have been taken over, or which has stopped in order."""
    session.execute(delete(Worker).where(Worker.id == worker_id))


def _process_is_gone(worker: Worker) -> bool:
    """No such process, or another one that got the same number later."""
    try:
        process = psutil.Process(worker.pid)
        return (
            process.status() == psutil.STATUS_ZOMBIE or process.create_time() > worker.started_at.timestamp()
        )
    except psutil.NoSuchProcess:
        return True
