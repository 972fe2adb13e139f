"""`ich-triage study`: tell everything about one study, or copy it out for support."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from .. import bootstrap
from ..domain.audit import AuditEvent, AuditRecord
from ..errors import RemovalError
from ..storage.files import files_of
from ..store import audit, instances, studies
from ..telemetry import audit as audit_log
from . import lists
from .options import ConfigOption, console, open_database, settings
from .patient import actor

_LOOK = "look at the pictures before they leave: nobody looked for text in pixels, and a head CT shows a face"


class _ShowUnlessTold(TyperGroup):
    """`ich-triage study UID` is `ich-triage study show UID`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `show` before anything but a command of the group and its help."""
        if args and args[0] not in (*self.commands, "--help"):
            args = ["show", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_ShowUnlessTold, help="One study: `study UID` tells everything about it.", no_args_is_help=True
)
app.command("show")(lists.study)


@app.command()
def export(
    context: typer.Context,
    uid: Annotated[str, typer.Argument(help="Study Instance UID.")],
    out: Annotated[Path, typer.Option(help="New ZIP file.")],
    deidentify: Annotated[
        bool, typer.Option("--deidentify", help="Leave out what identifies the patient; needed.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Copy images and result out for support, without what identifies the patient."""
    if not deidentify:
        raise RemovalError("say --deidentify; a patient's data as they are: `ich-triage patient export`")
    from ..keeping import support  # loads what reads and clears objects

    loaded = settings(context, config)
    with closing(open_database(loaded)) as database:
        told = lists.read_study(loaded, database, uid)
        with database.read() as session:
            study = studies.get(session, uid)
            studies.require_images(study)
            paths = [each.path for each in instances.images(session, study)]
        spool = files_of(loaded.spool)
        done = support.export(told, spool.local(paths), out)
        with database.write() as session:
            record = AuditRecord(
                at=datetime.now(UTC),
                event=AuditEvent.STUDY_EXPORTED,
                actor=actor(),
                role="console",
                study_instance_uid=uid,
            )
            audit.append(session, record)
        with audit_log.handed_to(bootstrap.audit_trail(loaded, database, "study")):
            audit_log.hand_on(record)
    console.print(f"{done.images} images in {out}", markup=False)
    for why, count in done.left_out.items():
        console.print(f"{count} objects left out: {why}", style="yellow")
    console.print(_LOOK, style="yellow")
