"""`ich-triage db`: the schema."""

from __future__ import annotations

from typing import Annotated

import typer

from ..store import migrate
from ..store.database import Database
from .options import ConfigOption, console, settings

app = typer.Typer(help="The database schema and the index of the spool.", no_args_is_help=True)


@app.command()
def upgrade(
    context: typer.Context,
    version: Annotated[str, typer.Option(help="Schema version to go to.")] = "head",
    config: ConfigOption = None,
) -> None:
    """Create the schema or bring it to this release's; run it before each new release."""
    database = Database(settings(context, config).database.url)
    before = migrate.current(database)
    migrate.upgrade(database, version)
    console.print(f"schema {before or 'empty'} → {migrate.current(database)}")


@app.command()
def current(context: typer.Context, config: ConfigOption = None) -> None:
    """Say which schema the database has and which this release needs."""
    have = migrate.current(Database(settings(context, config).database.url))
    console.print(f"database {have or 'empty'}, release {migrate.head()}")
    if have != migrate.head():
        console.print(migrate.remedy(have))
        raise typer.Exit(1)
