"""`ich-triage serve`, `receiver`, `worker`, `web` and `query`: the processes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol, TypeVar

import structlog
import typer

from .. import bootstrap
from ..errors import SettingsError
from ..settings import Dicom, Query, Settings, Web
from ..store import first_admin, migrate
from ..store.database import Database
from ..telemetry import audit
from .options import ConfigOption, config_path, open_database, process_settings
from .supervise import END_S, stop_event, supervise, wait_for

if TYPE_CHECKING:
    from ..telemetry.probes import Probes
    from ..worklist.server import WebServer

log = structlog.get_logger(__name__)


def serve(context: typer.Context, config: ConfigOption = None) -> None:
    """Run the whole service: receiver, worker, web, query where enabled; started again when they die."""
    loaded = process_settings(context, config, "serve")
    database = Database(loaded.database.url)
    if migrate.current(database) is None:
        migrate.upgrade(database)
        log.info("schema_created", version=migrate.head())
    migrate.require_current(database)
    database.close()
    processes = ("receiver", "worker", "web", *(("query",) if loaded.query.enabled else ()))
    supervise(processes, config_path(context, config), stop_event())


def receiver(context: typer.Context, config: ConfigOption = None) -> None:
    """Run the DICOM listener alone."""
    loaded = process_settings(context, config, "receiver")
    _run(loaded, "receiver", bootstrap.receiver, listens=loaded.dicom, watched=bootstrap.receiver_probes)


def query(context: typer.Context, config: ConfigOption = None) -> None:
    """Run what other systems ask by DICOM alone: studies, priorities, procedure steps."""
    loaded = process_settings(context, config, "query")
    _run(loaded, "query", bootstrap.query, listens=loaded.query, watched=bootstrap.query_probes)


def worker(context: typer.Context, config: ConfigOption = None) -> None:
    """Run one analysing and delivering process alone; there can be many."""
    loaded = process_settings(context, config, "worker")
    _run(loaded, "worker", bootstrap.worker, watched=bootstrap.worker_probes)


def web(context: typer.Context, config: ConfigOption = None) -> None:
    """Run the worklist pages and the JSON API alone."""
    loaded = process_settings(context, config, "web")

    def invite(process: WebServer, database: Database) -> None:
        if loaded.access.passwords:
            _invite_first_admin(database, process.url)

    _run(loaded, "web", bootstrap.web, listens=loaded.web, started=invite)


class _Process(Protocol):
    def start(self) -> None: ...

    def stop(self) -> None: ...


Made = TypeVar("Made", bound=_Process)


def _run(
    loaded: Settings,
    name: str,
    make: Callable[[Settings, Database], Made],
    *,
    listens: Dicom | Query | Web | None = None,
    started: Callable[[Made, Database], None] = lambda _process, _database: None,
    watched: Callable[[Settings, Database, Made], Probes | None] = lambda *_: None,
) -> None:
    """Start a process, and what tells how it is; wait for the order to end, and stop it."""
    stop = stop_event(limit_s=END_S)
    database = open_database(loaded)
    with audit.kept(name, bootstrap.audit_trail(loaded, database, name)):
        process = make(loaded, database)
        try:
            process.start()
        except OSError as error:
            if listens is None:
                raise
            where = f"{listens.host}:{listens.port}" if isinstance(listens, Web) else listens.where
            raise SettingsError(
                f"cannot listen on {where}: {error.strerror}; see `ich-triage doctor`"
            ) from error
        started(process, database)
        probes = watched(loaded, database, process)
        if probes is not None:
            probes.start()
        wait_for(stop)
        if probes is not None:
            probes.stop()
        process.stop()
    database.close()


def _invite_first_admin(database: Database, url: str) -> None:
    """While there is no admin, show the link that makes one: on the console, not in the structured log."""
    with database.write() as session:
        secret = first_admin.renew(session, datetime.now(UTC))
    if secret is not None:
        typer.echo(
            "There is no admin yet. Make the first one within 24 hours, behind this link, which works once:\n"
            f"  {url}/first-admin?secret={secret}",
            err=True,
        )
