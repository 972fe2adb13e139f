"""`ich-triage patient`: copy out all that is held of one patient, or erase it."""

from __future__ import annotations

import getpass
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from .. import bootstrap
from ..keeping import patient
from ..settings import Settings
from ..storage.files import files_of
from ..store.accounts import MAX_NAME
from ..store.tables import Revision
from ..telemetry import audit as audit_log
from .options import ConfigOption, console, open_database, settings

app = typer.Typer(help="All that is held of one patient: copy it out, or erase it.", no_args_is_help=True)
PatientArgument = Annotated[str, typer.Argument(help="Patient ID, exactly as received.")]


@app.command()
def export(
    context: typer.Context,
    patient_id: PatientArgument,
    out: Annotated[Path, typer.Option(help="New folder for rows, objects and reports.")],
    config: ConfigOption = None,
) -> None:
    """Copy all that is held of one patient into a folder."""
    loaded = settings(context, config)
    with closing(open_database(loaded)) as database:
        _show(patient.find(database, patient_id))
        with audit_log.handed_to(bootstrap.audit_trail(loaded, database, "patient")):
            count = patient.export(database, files_of(loaded.spool), patient_id, out, actor=actor())
    console.print(f"{count} studies in {out}", markup=False)
    _quarantine(loaded)


@app.command()
def erase(
    context: typer.Context,
    patient_id: PatientArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    config: ConfigOption = None,
) -> None:
    """Erase all that is held of one patient here; asks first."""
    loaded = settings(context, config)
    with closing(open_database(loaded)) as database:
        found = patient.find(database, patient_id)
        _show(found)
        with database.read() as session:
            patient.require_settled(session, found.studies)
        if not yes:
            typer.confirm("Erase all of this? It cannot be undone", abort=True)

        def forget(revisions: Sequence[Revision]) -> None:
            from ..pipeline import queue  # loads the queue's library

            ids = [queue.workflow_id(each.id, each.complete_at) for each in revisions]
            queue.forget(loaded.database.url, ids)

        with audit_log.handed_to(bootstrap.audit_trail(loaded, database, "patient")):
            patient.erase(database, files_of(loaded.spool), patient_id, actor=actor(), forget=forget)
    console.print(f"{len(found.studies)} studies erased here")
    told = ", ".join(found.told) or "none"
    console.print(f"not erased: what was sent to others (destinations: {told}); backups; the audit trail")
    _quarantine(loaded)


def actor() -> str:
    """Who is at the console, for the audit trail."""
    return getpass.getuser()[:MAX_NAME]


def _show(found: patient.Found) -> None:
    """What is held, and what else may be meant. Raises RemovalError where it is nothing."""
    if found.similar:
        listed = ", ".join(found.similar)
        console.print(f"similar IDs, not included: {listed}", style="yellow", markup=False)
    patient.require_any(found)
    table = Table("study", "date", "name", "description", "objects", "state", box=None, header_style="dim")
    for each in found.studies:
        cells = (each.study_instance_uid, each.study_date, each.patient_name, each.study_description)
        table.add_row(*map(Text, cells), str(each.instance_count), each.state)
    console.print(table)
    if len({each.patient_name for each in found.studies}) > 1:
        console.print("several names: is this one person, or the same ID of two hospitals?", style="yellow")


def _quarantine(loaded: Settings) -> None:
    """Nobody can tell whose these are."""
    count = sum(1 for _ in files_of(loaded.spool).list("quarantine"))
    if count:
        kept = f"{loaded.spool.where}/quarantine"
        console.print(f"{count} objects in {kept} could not be read: look whose they are", style="yellow")
