"""The process that other systems ask, and that tells those who have subscribed."""

from __future__ import annotations

from datetime import timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError

from ..clock import SteadyScheduler
from ..settings import Settings
from ..store.database import Database
from ..telemetry.refusals import PERIOD_S
from .reporter import Reporter
from .scp import QueryScp
from .watch import Watch

log = structlog.get_logger(__name__)

#: how long a stop lets running associations finish, s
PATIENCE_S = 5.0


class QueryService:
    """Answers questions about studies and their priorities; steps to read them are claimed here."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._sweep_s = settings.query.sweep_s
        self._watch = Watch(database, claim_limit=timedelta(hours=settings.query.claim_limit_h))
        self._reporter = Reporter(settings, database)
        self._scp = QueryScp(settings, database, on_event=self._reporter.wake)
        self._scheduler = SteadyScheduler()

    @property
    def port(self) -> int:
        """The port bound, also when the settings say 0; 0 where there is none without TLS."""
        return self._scp.port

    @property
    def tls_port(self) -> int:
        """The port bound with TLS; 0 where there is none."""
        return self._scp.tls_port

    def start(self) -> None:
        """Give every study its step, then listen. Raises OSError, SettingsError, SQLAlchemyError."""
        self._watch.look()
        self._scp.start()
        self._reporter.start()
        self._scheduler.add_job(self._look, "interval", seconds=self._sweep_s, max_instances=1, coalesce=True)
        self._scheduler.add_job(self._scp.refusals.tell, "interval", seconds=PERIOD_S)
        self._scheduler.start()
        log.info("query_started", port=self.port, tls_port=self.tls_port)

    def stop(self) -> None:
        """Let running associations and events finish, stop."""
        self._scp.stop(patience_s=PATIENCE_S)
        self._scheduler.shutdown()
        self._reporter.stop()
        self._scp.refusals.tell(all_of_it=True)
        log.info("query_stopped")

    def _look(self) -> None:
        """A database that is away for a while does not end the sweep; the next turn tries again."""
        try:
            if self._watch.look():
                self._reporter.wake()
            self._reporter.drop_unknown()
        except SQLAlchemyError as error:
            log.error("sweep_failed", error=type(error).__name__)
