"""The worker process: takes complete studies to their reports, and takes over from workers that died."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

import psutil
import structlog
from apscheduler.schedulers.background import BackgroundScheduler
from sqlalchemy.exc import SQLAlchemyError

from ..domain.states import ReasonCode, StudyState
from ..outputs.deliver import Deliverer
from ..settings import Settings
from ..store import results, workers
from ..store.database import Database
from ..store.tables import Worker as WorkerRow
from .queue import TriageQueue

log = structlog.get_logger(__name__)

#: how often the queue is compared with the database, s
RECONCILE_S = 5.0


class Worker:
    """Dispatch, heartbeat, takeover and reconciliation around one queue executor."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        triage: Callable[[int], None],
        deliverer: Deliverer,
    ) -> None:
        self.id = uuid.uuid4().hex
        self._deliverer = deliverer
        self._settings = settings.worker
        self._database = database
        self._queue = TriageQueue(settings.database.url, self.id, triage)
        self._scheduler = BackgroundScheduler(timezone=UTC)
        self._host = socket.gethostname()
        started = psutil.Process().create_time()
        self._started_at = datetime.fromtimestamp(started, UTC)

    def start(self) -> None:
        """Say that we live, then begin to take work."""
        self._heartbeat()
        self._queue.start(concurrency=self._settings.concurrency, poll_s=self._settings.poll_s)
        for job, seconds in (
            (self._heartbeat, self._settings.heartbeat_s),
            (self._take_over, self._settings.heartbeat_s),
            (self._dispatch, self._settings.poll_s),
            (self._reconcile, RECONCILE_S),
        ):
            self._scheduler.add_job(
                _surviving(job), "interval", seconds=seconds, max_instances=1, coalesce=True
            )
        self._scheduler.start()
        self._deliverer.start()
        log.info("worker_started", worker=self.id, host=self._host, pid=os.getpid())

    def stop(self) -> None:
        """Take nothing new, let running studies finish, leave in order."""
        self._scheduler.shutdown(wait=True)
        self._queue.stop()
        self._deliverer.stop()
        with self._database.write() as session:
            workers.remove(session, self.id)
        log.info("worker_stopped", worker=self.id)

    def _heartbeat(self) -> None:
        row = WorkerRow(
            id=self.id,
            host=self._host,
            pid=os.getpid(),
            started_at=self._started_at,
            seen_at=datetime.now(UTC),
        )
        with self._database.write() as session:
            workers.heartbeat(session, row)

    def _dispatch(self) -> None:
        """Hand complete revisions to the queue. A crash between the two writes only repeats the first."""
        with self._database.read() as session:
            found = [(each.id, each.study.stat) for each in results.waiting(session)]
        for revision_id, stat in found:
            self._queue.enqueue(_workflow_id(revision_id), revision_id, stat=stat)
            with self._database.write() as session:
                results.mark_enqueued(session, revision_id, datetime.now(UTC))
            log.info("revision_enqueued", revision=revision_id, stat=stat)

    def _take_over(self) -> None:
        """Queue again what dead workers had begun, then forget them."""
        with self._database.read() as session:
            dead = workers.dead(
                session,
                now=datetime.now(UTC),
                host=self._host,
                dead_after_s=self._settings.dead_after_s,
            )
        for worker_id in dead:
            taken = self._queue.take_over(worker_id)
            with self._database.write() as session:
                workers.remove(session, worker_id)
            log.warning("worker_dead", worker=worker_id, taken_over=taken)

    def _reconcile(self) -> None:
        """No revision stays in progress that the queue has given up or never heard of."""
        with self._database.read() as session:
            open_ids = results.in_queue(session)
        lost, broken = self._queue.missing_and_broken([_workflow_id(each) for each in open_ids])
        for revision_id in open_ids:
            if _workflow_id(revision_id) in lost:
                with self._database.write() as session:
                    results.mark_enqueued(session, revision_id, None)
                log.warning("revision_lost_by_queue", revision=revision_id)
            elif _workflow_id(revision_id) in broken:
                self._give_up(revision_id)

    def _give_up(self, revision_id: int) -> None:
        with self._database.write() as session:
            results.finish(
                session,
                results.get(session, revision_id),
                StudyState.FAILED,
                code=ReasonCode.ANALYSIS_ERROR,
                reason="The queue gave up on this study; run `ich-triage reprocess`.",
            )
        log.error("revision_given_up", revision=revision_id)


def _workflow_id(revision_id: int) -> str:
    return f"revision-{revision_id}"


def _surviving(job: Callable[[], None]) -> Callable[[], None]:
    """A periodic job outlives a database that is away for a while; the next turn tries again."""

    def run() -> None:
        try:
            job()
        except SQLAlchemyError as error:
            log.error("periodic_job_failed", job=job.__name__, error=type(error).__name__)

    return run
