"""The receiving process: listener, indexer and assembly on one spool."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from threading import Event, Thread

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from sqlalchemy.exc import SQLAlchemyError

from ..clock import SteadyScheduler
from ..domain.commitment import CommitmentResult
from ..errors import SettingsError
from ..settings import Settings
from ..settings import Spool as SpoolSettings
from ..store import receivers
from ..store.audit import keeper
from ..store.database import Database
from ..telemetry import metrics
from ..telemetry.readiness import Check
from ..telemetry.refusals import PERIOD_S, Refusals
from . import ready
from .assembly import GRACE_S, Assembly
from .associations import Associations
from .audited import QUIET_S
from .commitment import Commitments
from .counts import Counts
from .indexer import Indexer
from .judge import Judge
from .rescan import rescan_inbox, rescan_studies
from .scp import Listener
from .spool import Arrival, Spool

log = structlog.get_logger(__name__)

#: how long a stop lets running associations finish, s; then, how long the index may take
PATIENCE_S, INDEX_PATIENCE_S = 15.0, 5.0
_SWEEP, _HEARTBEAT, _TAKE_OVER = "sweep", "heartbeat", "take over"
#: how often the inbox is looked through for what no indexer has taken for so long, s
_RESCAN_S = 10.0
#: wait before a store that is away is asked again, s
_RETRY_S = 2.0


class Receiver:
    """Receives, indexes, and declares studies complete. Needs neither model nor network, nor a database that
    is up: that one may come later."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        *,
        on_commitment: Callable[[CommitmentResult], None],
    ) -> None:
        self._database = database
        self._spool = _spool(settings.spool)
        #: what it tells Prometheus
        self.registry = metrics.registry("receiver", settings.spool)
        self._counts = Counts(self.registry)
        self._associations = associations = Associations(
            self._counts, Refusals(keeper(database)), on_end=self._ended
        )
        self._indexer = Indexer(
            self._spool, database, associations, stat_ae_titles=settings.dicom.stat_ae_titles
        )
        self._counts.inbox.set_function(self._indexer.pending)
        self._assembly = Assembly(
            settings.assembly,
            database,
            associations,
            indexed_up_to=self._indexer.indexed_up_to,
            oldest_waiting=self._spool.oldest,
        )
        self._judge = Judge(settings, self._spool, database)
        self._commitments = Commitments(database, self._judge)
        self._listener = Listener(
            settings,
            self._spool,
            associations,
            commitments=self._commitments,
            on_arrival=self._arrived,
            on_commitment=on_commitment,
        )
        self._scheduler = SteadyScheduler(
            # one sweep at a time; a slow one must not look like death
            executors={
                "default": ThreadPoolExecutor(1),
                _HEARTBEAT: ThreadPoolExecutor(1),
                _TAKE_OVER: ThreadPoolExecutor(1),
            },
            job_defaults={"coalesce": True, "max_instances": 1},
        )
        self._sweep_s = settings.assembly.sweep_s
        self._id = uuid.uuid4().hex
        self._caught_up, self._stopping = Event(), Event()
        self._catching_up = Thread(target=self._catch_up, name="rescan", daemon=True)
        self._first_sign = True

    @property
    def port(self) -> int:
        """The port bound, also when the settings say 0; 0 where there is none without TLS."""
        return self._listener.port

    @property
    def tls_port(self) -> int:
        """The port bound with TLS; 0 where there is none."""
        return self._listener.tls_port

    @property
    def checks(self) -> Mapping[str, Check]:
        """What decides whether it is ready."""
        return ready.checks(self._spool, self._listener)

    def start(self) -> None:
        """Listen at once, catch up with the spool behind it. Raises SpoolError, OSError, SettingsError."""
        self._spool.open()
        try:
            self._listener.start()
        except (OSError, SettingsError):
            self._spool.close()
            raise
        self._indexer.start()
        self._judge.start()
        self._scheduler.add_job(
            self._heartbeat,
            "interval",
            seconds=receivers.HEARTBEAT_S,
            next_run_time=datetime.now(UTC),
            executor=_HEARTBEAT,
        )
        self._scheduler.add_job(self._associations.audited.tell, "interval", seconds=QUIET_S)
        self._scheduler.add_job(self._associations.refusals.tell, "interval", seconds=PERIOD_S)
        self._scheduler.start()
        self._catching_up.start()
        log.info("receiver_started", port=self.port, tls_port=self.tls_port)

    def stop(self) -> None:
        """Let running associations finish, index what came, stop."""
        self._stopping.set()
        self._listener.stop(patience_s=PATIENCE_S)
        self._commitments.stop()
        self._judge.stop(patience_s=PATIENCE_S)
        self._catching_up.join()
        self._scheduler.shutdown()
        self._indexer.stop(patience_s=INDEX_PATIENCE_S)
        self._associations.audited.tell(quiet_s=0.0)
        self._associations.refusals.tell(all_of_it=True)
        self._spool.close()
        with suppress(SQLAlchemyError), self._database.write() as session:
            receivers.remove(session, self._id)
        log.info("receiver_stopped")

    def _heartbeat(self) -> None:
        host = socket.gethostname()
        try:
            with self._database.write() as session:
                receivers.heartbeat(session, receiver_id=self._id, host=host, pid=os.getpid())
                if self._first_sign:
                    receivers.bury_here(session, host)
                dead = receivers.bury(session)
                self._associations.alone = receivers.living(session) <= 1
        except SQLAlchemyError as error:
            log.warning("heartbeat_not_written", error=type(error).__name__)
            return
        self._first_sign = False
        if dead:
            log.warning("receivers_dead", receivers=dead)
        # a scheduler that stops waits for its jobs, and a job that adds one for it
        if dead and not self._stopping.is_set():
            self._scheduler.add_job(
                self._rescan_studies,
                "date",
                id=_TAKE_OVER,
                replace_existing=True,
                executor=_TAKE_OVER,
                misfire_grace_time=None,  # on a busy host it is late, but must not be left out
            )

    def _arrived(self, arrival: Arrival) -> None:
        with suppress(OSError):  # another receiver of a shared spool may have taken it already
            self._counts.stored(arrival.path.stat().st_size)
        self._indexer.put((arrival,))

    def _catch_up(self) -> None:
        # the inbox before the first sweep: a study of which half still lies there is not silent
        while not self._inbox_is_queued():
            if self._stopping.wait(_RETRY_S):
                return
        self._scheduler.add_job(self._sweep, "interval", seconds=self._sweep_s)
        self._scheduler.add_job(self._rescan, "interval", seconds=_RESCAN_S)
        self._caught_up.set()
        self._rescan_studies()

    def _inbox_is_queued(self) -> bool:
        try:
            rescan_inbox(self._spool, self._indexer)
        except OSError as error:
            log.error("rescan_waits", error=type(error).__name__)
            return False
        return True

    def _rescan_studies(self) -> None:
        """What a receiver that died had moved into its study, and not told the database."""
        while not self._stopping.is_set():
            try:
                rescan_studies(self._spool, self._database, self._indexer, self._stopping)
                return
            except (OSError, SQLAlchemyError) as error:
                log.error("rescan_failed", error=type(error).__name__, retry_in_s=_RETRY_S)
                self._stopping.wait(_RETRY_S)

    def _rescan(self) -> None:
        """What could not be read when it came, and what a receiver that died has left in a shared spool.

        What has just come to another one is left to that one.
        """
        if self._indexer.pending():
            return
        try:
            before = datetime.now(UTC) - timedelta(seconds=_RESCAN_S)
            rescan_inbox(self._spool, self._indexer, before=before)
        except OSError as error:
            log.error("rescan_failed", error=type(error).__name__)

    def _ended(self, association: int) -> None:
        """Look again as soon as the end of an association can complete a study."""
        self._judge.ended(association)
        if self._caught_up.is_set() and not self._stopping.is_set():
            due = datetime.now(UTC) + timedelta(seconds=GRACE_S)
            self._scheduler.add_job(self._sweep, "date", run_date=due, id=_SWEEP, replace_existing=True)

    def _sweep(self) -> None:
        try:
            self._assembly.sweep()
        except (SQLAlchemyError, OSError) as error:
            log.error("sweep_failed", error=type(error).__name__)


def _spool(settings: SpoolSettings) -> Spool:
    root, reserve_bytes = settings.path.absolute(), settings.reserve_bytes
    if not settings.url:
        return Spool(root, reserve_bytes=reserve_bytes)
    from ..storage.bucket import Bucket  # loads the library only where it is used
    from .bucket_spool import BucketSpool

    return BucketSpool(root, Bucket(settings), reserve_bytes=reserve_bytes)
