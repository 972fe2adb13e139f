"""What every command shares: the configuration, the database, the console."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ..settings import CONFIG_VARIABLE, Settings, load
from ..store import migrate
from ..store.database import Database
from ..telemetry import logs

#: columns where no terminal says how many it has
_PIPED_COLUMNS = 160

console = Console(highlight=False, width=None if sys.stdout.isatty() else _PIPED_COLUMNS)

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help=f"Configuration file (TOML); else {CONFIG_VARIABLE}, else built-in defaults.",
        dir_okay=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document for scripts.")]


def settings(context: typer.Context, config: Path | None) -> Settings:
    """Settings from `--config` of the command itself, else from the one before the command."""
    return load(config_path(context, config))


def config_path(context: typer.Context, config: Path | None) -> Path | None:
    """The configuration file that was named, after the subcommand or before it."""
    return config or context.find_root().params.get("config")


def process_settings(context: typer.Context, config: Path | None, process: str) -> Settings:
    """Settings of a long-running process, whose structured log starts here."""
    loaded = settings(context, config)
    logs.configure(loaded.log, process=process)
    return loaded


def open_database(loaded: Settings) -> Database:
    """The database, whose schema must be this release's. Raises DatabaseVersionError."""
    database = Database(loaded.database.url)
    migrate.require_current(database)
    return database


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
