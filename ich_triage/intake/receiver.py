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
from ..store import receivers
from ..store.database import Database
from ..telemetry import metrics
from ..telemetry.readiness import Check
from . import ready
from .assembly import GRACE_S, Assembly
from .associations import Associations
from .audited import QUIET_S
from .counts import Counts
from .indexer import Indexer
from .rescan import rescan_inbox, rescan_studies
from .scp import Listener
from .spool import Arrival, Spool

log = structlog.get_logger(__name__)

#: how long a stop lets running associations finish, s
PATIENCE_S = 5.0
_SWEEP, _HEARTBEAT = "sweep", "heartbeat"
#: how often the inbox is looked through for what no indexer has taken, s
_RESCAN_S = 60.0


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
        self._spool = Spool(settings.spool.path.absolute(), reserve_bytes=settings.spool.reserve_bytes)
        #: what it tells Prometheus
        self.registry = metrics.registry("receiver", settings.spool)
        self._counts = Counts(self.registry)
        self._associations = associations = Associations(self._counts)
        self._indexer = Indexer(
            self._spool, database, associations, stat_ae_titles=settings.dicom.stat_ae_titles
        )
        self._counts.inbox.set_function(self._indexer.pending)
        self._assembly = Assembly(
            settings.assembly, database, associations, indexed_up_to=self._indexer.indexed_up_to
        )
        self._listener = Listener(
            settings,
            self._spool,
            associations,
            on_arrival=self._arrived,
            on_commitment=on_commitment,
            on_association_end=self._sweep_soon,
        )
        self._scheduler = SteadyScheduler(
            # one sweep at a time; a slow one must not look like death
            executors={"default": ThreadPoolExecutor(1), _HEARTBEAT: ThreadPoolExecutor(1)},
            job_defaults={"coalesce": True, "max_instances": 1},
        )
        self._sweep_s = settings.assembly.sweep_s
        self._id = uuid.uuid4().hex
        self._caught_up, self._stopping = Event(), Event()
        self._catching_up = Thread(target=self._catch_up, name="rescan", daemon=True)

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
        self._scheduler.add_job(
            self._heartbeat,
            "interval",
            seconds=receivers.HEARTBEAT_S,
            next_run_time=datetime.now(UTC),
            executor=_HEARTBEAT,
        )
        self._scheduler.add_job(self._associations.audited.tell, "interval", seconds=QUIET_S)
        self._scheduler.start()
        self._catching_up.start()
        log.info("receiver_started", port=self.port, tls_port=self.tls_port)

    def stop(self) -> None:
        """Let running associations finish, index what came, stop."""
        self._stopping.set()
        self._listener.stop(patience_s=PATIENCE_S)
        self._catching_up.join()
        self._scheduler.shutdown()
        self._indexer.stop(patience_s=PATIENCE_S)
        self._associations.audited.tell(quiet_s=0.0)
        self._spool.close()
        with suppress(SQLAlchemyError), self._database.write() as session:
            receivers.remove(session, self._id)
        log.info("receiver_stopped")

    def _heartbeat(self) -> None:
        try:
            with self._database.write() as session:
                receivers.heartbeat(session, receiver_id=self._id, host=socket.gethostname(), pid=os.getpid())
        except SQLAlchemyError as error:
            log.warning("heartbeat_not_written", error=type(error).__name__)

    def _arrived(self, arrival: Arrival) -> None:
        with suppress(OSError):  # another receiver of a shared spool may have taken it already
            self._counts.stored(arrival.path.stat().st_size)
        self._indexer.put((arrival,))

    def _catch_up(self) -> None:
        # the inbox before the first sweep: a study of which half still lies there is not silent
        rescan_inbox(self._spool, self._indexer)
        self._scheduler.add_job(self._sweep, "interval", seconds=self._sweep_s)
        self._scheduler.add_job(self._rescan, "interval", seconds=_RESCAN_S)
        self._caught_up.set()
        try:
            rescan_studies(self._spool, self._database, self._indexer, self._stopping)
        except (OSError, SQLAlchemyError) as error:
            log.error("rescan_failed", error=type(error).__name__)

    def _rescan(self) -> None:
        """What could not be read when it came, and what a receiver that died has left in a shared spool."""
        if not self._indexer.pending():
            rescan_inbox(self._spool, self._indexer)

    def _sweep_soon(self) -> None:
        """Look again as soon as the end of an association can complete a study."""
        if self._caught_up.is_set() and not self._stopping.is_set():
            due = datetime.now(UTC) + timedelta(seconds=GRACE_S)
            self._scheduler.add_job(self._sweep, "date", run_date=due, id=_SWEEP, replace_existing=True)

    def _sweep(self) -> None:
        try:
            self._assembly.sweep()
        except SQLAlchemyError as error:
            log.error("sweep_failed", error=type(error).__name__)
