"""The process that other systems ask."""

from __future__ import annotations

import structlog

from ..settings import Settings
from ..store.database import Database
from .scp import QueryScp

log = structlog.get_logger(__name__)

#: how long a stop lets running associations finish, s
PATIENCE_S = 5.0


class QueryService:
    """Answers questions about studies and their priorities. Reads and writes through the store alone."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._scp = QueryScp(settings.query, database)

    @property
    def port(self) -> int:
        """The port bound, also when the settings say 0."""
        return self._scp.port

    def start(self) -> None:
        """Listen. Raises OSError."""
        self._scp.start()
        log.info("query_started", port=self.port)

    def stop(self) -> None:
        """Let running associations finish, stop."""
        self._scp.stop(patience_s=PATIENCE_S)
        log.info("query_stopped")
