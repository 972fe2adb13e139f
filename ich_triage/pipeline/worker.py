"""The worker process: takes complete studies to their reports, and takes over from workers that died."""

from __future__ import annotations

import faulthandler
import os
import socket
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import monotonic

import psutil
import structlog
from sqlalchemy.exc import SQLAlchemyError

from ..clock import SteadyScheduler
from ..domain.states import ReasonCode, StudyState
from ..keeping import retention
from ..keeping.retention import Retention
from ..outputs.deliver import Deliverer
from ..settings import Settings
from ..store import results, workers
from ..store.database import Database
from ..store.tables import Revision
from ..store.tables import Worker as WorkerRow
from . import queue
from .models import ModelWatch
from .queue import TriageQueue
from .triage import Triage

log = structlog.get_logger(__name__)

#: how often the queue is compared with the database, s
RECONCILE_S = 5.0
#: how long the queue remembers what has ended
REMEMBERED = timedelta(days=1)
_HEARTBEAT = "heartbeat"


class Worker:
    """Dispatch, heartbeat, takeover and reconciliation around one queue executor."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        triage: Triage,
        deliverer: Deliverer,
        models: ModelWatch,
    ) -> None:
        self.id = uuid.uuid4().hex
        self._deliverer = deliverer
        self._models = models
        self._settings = settings.worker
        self._database = database
        self._triage = triage
        self._queue = TriageQueue(settings.database.url, self.id, triage.run)
        self._retention = Retention(settings, database)
        self._scheduler = SteadyScheduler()
        self._host = socket.gethostname()
        started = psutil.Process().create_time()
        #: workflows of ours that no thread is at, and since when
        self._unattended: dict[str, float] = {}
        self._started_at = datetime.fromtimestamp(started, UTC)

    def start(self) -> None:
        """Say that we live, then begin to take work."""
        self._heartbeat()
        self._queue.start(concurrency=self._settings.concurrency, poll_s=self._settings.poll_s)
        for name, job, seconds in (
            (_HEARTBEAT, self._heartbeat, self._settings.heartbeat_s),
            ("take over", self._take_over, self._settings.heartbeat_s),
            ("dispatch", self._dispatch, self._settings.poll_s),
            ("reconcile", self._reconcile, RECONCILE_S),
            ("models", self._models.look, self._settings.heartbeat_s),
            ("hangs", self._leave_if_hanging, self._settings.heartbeat_s),
            ("retention", self._retention.run, retention.PERIOD_S),
            ("prune", self._prune, retention.PERIOD_S),
        ):
            self._scheduler.add_job(
                _surviving(job), "interval", seconds=seconds, id=name, max_instances=1, coalesce=True
            )
        # what a worker that died has left half removed is not to wait for its turn
        self._scheduler.modify_job("retention", next_run_time=datetime.now(UTC))
        self._scheduler.start()
        self._deliverer.start()
        log.info(
            "worker_started",
            worker=self.id,
            host=self._host,
            pid=os.getpid(),
            package=self._models.running,
        )

    def stop(self) -> None:
        """Take nothing new, let running studies finish, leave in order.

        Heartbeats go on meanwhile, or another worker would take those studies over.
        """
        for job in self._scheduler.get_jobs():
            if job.id != _HEARTBEAT:
                job.remove()
        self._retention.stop()
        self._deliverer.stop_soon()
        self._queue.stop()
        self._deliverer.stop()
        self._scheduler.shutdown(wait=False)
        with self._database.write() as session:
            workers.remove(session, self.id)
        log.info("worker_stopped", worker=self.id)

    def _heartbeat(self) -> None:
        with self._database.write() as session:
            row = WorkerRow(
                id=self.id,
                host=self._host,
                pid=os.getpid(),
                started_at=self._started_at,
                seen_at=workers.clock(session),
                package=self._models.running,
                package_problem=self._models.problem,
            )
            workers.heartbeat(session, row)

    def _leave_if_hanging(self) -> None:
        """A study that takes far too long counts as one on which a worker died: others must go on."""
        hanging = [each for each in self._triage.running() if each.for_s > self._settings.study_limit_s]
        if hanging:
            log.critical("revision_hangs", revisions=[each.revision_id for each in hanging])
            faulthandler.dump_traceback()
            os._exit(os.EX_SOFTWARE)

    def _prune(self) -> None:
        """The queue keeps what each study's stages gave until it is told to forget it."""
        pruned = self._queue.prune(before=datetime.now(UTC) - REMEMBERED)
        if pruned:
            log.info("queue_pruned", workflows=pruned)

    def _dispatch(self) -> None:
        """Hand complete revisions to the queue. A crash between the two writes only repeats the first."""
        with self._database.read() as session:
            found = [(each, each.study.stat) for each in results.waiting(session)]
        for revision, stat in found:
            self._queue.enqueue(_workflow_id(revision), revision.id, stat=stat)
            with self._database.write() as session:
                results.mark_enqueued(session, revision.id, datetime.now(UTC))
            log.info("revision_enqueued", revision=revision.id, stat=stat)

    def _take_over(self) -> None:
        """Queue again what has been begun by a worker that does not live, or has left."""
        begun = self._queue.begun()  # before asking who lives: a new worker says so before it begins anything
        with self._database.read() as session:
            now, silence = workers.clock(session), self._settings.dead_after_s
            living, dead = workers.living_and_dead(session, now=now, host=self._host, dead_after_s=silence)
        orphans = [key for key, executor in begun.items() if executor not in (*living, self.id)]
        orphans += self._left_lying({key for key, executor in begun.items() if executor == self.id})
        self._queue.queue_again(orphans)
        if orphans:
            log.warning("studies_taken_over", workflows=orphans)
        for worker_id in dead:
            if worker_id != self.id:
                with self._database.write() as session:
                    workers.remove(session, worker_id)
                log.warning("worker_dead", worker=worker_id)

    def _left_lying(self, ours: set[str]) -> list[str]:
        """What the queue takes for begun here although no thread is at it any more.

        Its database was away, or its disk full, when the end of a workflow was to be noted.
        """
        attended, now = self._triage.attended(), monotonic()
        alone = [key for key in ours if queue.revision_of(key) not in attended]
        self._unattended = {key: self._unattended.get(key, now) for key in alone}
        return [key for key in alone if now - self._unattended[key] > self._settings.dead_after_s]

    def _reconcile(self) -> None:
        """No revision stays in progress that the queue has ended or never heard of."""
        with self._database.read() as session:
            in_queue = {_workflow_id(each): each for each in results.in_queue(session)}
        lost, ended = self._queue.missing_and_ended(list(in_queue))
        for workflow_id in lost:
            with self._database.write() as session:
                results.mark_enqueued(session, in_queue[workflow_id].id, None)
            log.warning("revision_lost_by_queue", revision=in_queue[workflow_id].id)
        for workflow_id in ended:
            self._begin_anew_or_give_up(workflow_id, in_queue[workflow_id])

    def _begin_anew_or_give_up(self, workflow_id: str, seen: Revision) -> None:
        """The database was away when the result was to be written, or is a backup older than the queue."""
        with self._database.read() as session:
            begin_anew = (
                results.get(session, seen.id).enqueued_at == seen.enqueued_at
                and seen.attempts < self._settings.max_attempts
            )
        if begin_anew:
            # Not within a transaction of ours: the queue's own database may be slow, and others wait.
            self._queue.forget(workflow_id)
        with self._database.write() as session:
            revision = results.unfinished(session, seen.id)
            if revision is None or revision.enqueued_at != seen.enqueued_at:
                return  # it has ended since, or another worker has seen to it
            if revision.attempts < self._settings.max_attempts:
                results.mark_enqueued(session, revision.id, None)
                log.warning("revision_begun_anew", revision=revision.id, attempts=revision.attempts)
                return
            reason = "The queue gave up on this study; run `ich-triage reprocess`."
            code = ReasonCode.ANALYSIS_ERROR
            results.finish(session, revision, StudyState.FAILED, code=code, reason=reason)
        log.error("revision_given_up", revision=seen.id)


def _workflow_id(revision: Revision) -> str:
    return queue.workflow_id(revision.id, revision.complete_at)


def _surviving(job: Callable[[], None]) -> Callable[[], None]:
    """A periodic job outlives a database that is away for a while; the next turn tries again."""

    def run() -> None:
        try:
            job()
        except SQLAlchemyError as error:
            log.error("periodic_job_failed", job=job.__name__, error=type(error).__name__)

    return run
