"""`ich-triage`: the commands and how their errors end."""

from __future__ import annotations

import sys
from typing import ClassVar, NoReturn

import typer
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from ..commands import LazyGroup
from ..errors import IchTriageError
from .options import ConfigOption


class Commands(LazyGroup):
    """Every command, in the order of the help."""

    sources: ClassVar = {
        name: f"ich_triage.cli.{where}"
        for name, where in {
            "serve": "processes:serve",
            "receiver": "processes:receiver",
            "worker": "processes:worker",
            "web": "processes:web",
            "query": "processes:query",
            "demo": "demo:demo",
            "send": "send:send",
            "worklist": "lists:worklist",
            "study": "study:app",
            "redeliver": "repair:redeliver",
            "reprocess": "repair:reprocess",
            "models": "models:app",
            "retrain": "retrain:retrain",
            "users": "users:app",
            "patient": "patient:app",
            "backup": "backup:backup",
            "db": "db:app",
            "doctor": "doctor:doctor",
        }.items()
    }


app = typer.Typer(
    name="ich-triage",
    cls=Commands,
    help="Finds intracranial haemorrhage in head CT and moves it up the radiologist's list. "
    "For prioritisation only; not flagged is not negative.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def root(config: ConfigOption = None) -> None:
    """`--config` may stand here or after the subcommand."""


def main() -> None:
    """Entry point: an error that a person can meet is one line, not a traceback."""
    try:
        app()
    except IchTriageError as error:
        _end(str(error))
    except DBAPIError as error:
        _end(f"the database does not answer: {error.orig}")
    except SQLAlchemyError as error:
        _end(f"[database] url cannot be used: {error}")
    except OSError as error:
        _end(f"{error.strerror or error}: {error.filename}" if error.filename else str(error))


def _end(why: str) -> NoReturn:
    typer.echo(f"ich-triage: {why.splitlines()[0]}", err=True)
    sys.exit(1)
