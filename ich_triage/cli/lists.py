"""`ich-triage worklist` and `ich-triage study`."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.live import Live

from ..settings import Settings
from ..store import problems
from ..store import worklist as query
from ..store.alive import alive
from ..store.database import Database
from ..worklist import document
from ..worklist.order import reading_order
from .options import ConfigOption, JsonOption, console, open_database, print_json, settings
from .show import study_view, worklist_table

#: how often the live list is read again, s
LIVE_S = 0.5


def worklist(
    context: typer.Context,
    as_json: JsonOption = False,
    live: Annotated[bool, typer.Option("--live", help="Stay and re-sort as results come in.")] = False,
    hours: Annotated[float, typer.Option(help="Show studies with news in the last so many hours.")] = 24.0,
    limit: Annotated[int, typer.Option(min=1, help="Rows at most.")] = 50,
    config: ConfigOption = None,
) -> None:
    """List studies in the order in which they should be read."""
    loaded = settings(context, config)
    database = open_database(loaded)

    def read() -> document.Json:
        return read_worklist(loaded, database, hours=hours, limit=limit)

    if as_json:
        print_json(read())
        return
    if not live:
        console.print(worklist_table(read()))
        return
    with Live(console=console, auto_refresh=False, screen=True) as view:
        try:
            while True:
                view.update(worklist_table(read()), refresh=True)
                time.sleep(LIVE_S)
        except KeyboardInterrupt:
            return


def read_worklist(loaded: Settings, database: Database, *, hours: float, limit: int) -> document.Json:
    """The list of the last `hours`, in reading order."""
    order = reading_order(loaded.worklist, datetime.now(UTC))
    wanted = query.Wanted(since=order.now - timedelta(hours=hours))
    with database.read() as session:
        rows = query.page(session, wanted, order, limit=limit)
        living = alive(session, dead_after_s=loaded.worker.dead_after_s)
        return document.worklist(rows, query.counts(session, wanted), order, living)


def study(
    context: typer.Context,
    uid: Annotated[str, typer.Argument(help="Study Instance UID.")],
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Tell everything about one study: state, findings, series, ledger, deliveries."""
    loaded = settings(context, config)
    told = read_study(loaded, open_database(loaded), uid)
    if as_json:
        print_json(told)
    else:
        console.print(study_view(told))


def read_study(loaded: Settings, database: Database, uid: str) -> document.Json:
    """Everything known of one study. Raises UnknownStudyError."""
    order = reading_order(loaded.worklist, datetime.now(UTC))
    with database.read() as session:
        row = query.one(session, uid)
        history = query.revisions(session, row.study)
        return document.study(row, history, problems.of_study(session, uid), order)
