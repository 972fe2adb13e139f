"""`ich-triage redeliver` and `reprocess`: try again what ended badly."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from ..domain.states import CompletedBy
from ..store import deliveries, revisions, studies
from .options import ConfigOption, console, open_database, settings

UidArgument = Annotated[str, typer.Argument(help="Study Instance UID.")]


def redeliver(
    context: typer.Context,
    uid: Annotated[str | None, typer.Argument(help="Study Instance UID.")] = None,
    destination: Annotated[str | None, typer.Option(help="Only to this destination.")] = None,
    dead: Annotated[bool, typer.Option("--dead", help="Dead letters alone, of every study.")] = False,
    config: ConfigOption = None,
) -> None:
    """Send a study's reports again, dead letters included; the PACS sees the same objects."""
    if (uid is None) != dead:
        raise typer.BadParameter("name a study, or say --dead for the dead letters of all")
    database = open_database(settings(context, config))
    with database.write() as session:
        now = datetime.now(UTC)
        if uid is None:
            number = deliveries.redeliver_dead(session, destination=destination, now=now)
        else:
            studies.get(session, uid)
            number = deliveries.redeliver(session, uid, destination=destination, now=now)
    console.print(f"{number} deliveries queued again" if number else "nothing to deliver")
    if not number:
        raise typer.Exit(1)


def reprocess(context: typer.Context, uid: UidArgument, config: ConfigOption = None) -> None:
    """Analyse a study again as a new revision, with the model now in force."""
    database = open_database(settings(context, config))
    with database.write() as session:
        study = studies.get(session, uid, lock=True)
        studies.require_images(study)
        revision = revisions.open_revision(
            session, study, completed_by=CompletedBy.REPROCESS, now=datetime.now(UTC)
        )
        number = revision.number
    console.print(f"revision {number} queued")
