"""`ich-triage backup`: database, spool and registry, copied while the service runs."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from ..errors import SpoolError
from ..keeping.backup import backup as save
from .options import ConfigOption, console, open_database, settings


def backup(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="New folder.")],
    config: ConfigOption = None,
) -> None:
    """Copy database, spool and model registry into a folder, while the service runs."""
    loaded = settings(context, config)
    with closing(open_database(loaded)) as database:
        saved = save(loaded, database, out)
    console.print(f"{saved.files} files of the spool in {out}", markup=False)
    if not saved.database:
        console.print(
            "the database is PostgreSQL and not in there: run pg_dump before this command, and keep "
            "both together (docs/howto/backup.md)",
            style="yellow",
        )
    if saved.missing:
        raise SpoolError(
            f"the backup is made, but {saved.missing} files that the database names were not in the spool: "
            "see whether [spool] path is right, and what has deleted them"
        )
