"""`ich-triage`: the commands and how their errors end."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from ..errors import IchTriageError
from . import backup, db, demo, doctor, lists, models, patient, processes, repair, retrain, send, study, users
from .options import ConfigOption

app = typer.Typer(
    name="ich-triage",
    help="Finds intracranial haemorrhage in head CT and moves it up the radiologist's list. "
    "For prioritisation only; not flagged is not negative.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def root(config: ConfigOption = None) -> None:
    """`--config` may stand here or after the subcommand."""


app.command()(processes.serve)
app.command()(processes.receiver)
app.command()(processes.worker)
app.command()(processes.web)
app.command()(processes.query)
app.command()(demo.demo)
app.command()(send.send)
app.command()(lists.worklist)
app.add_typer(study.app, name="study")
app.command()(repair.redeliver)
app.command()(repair.reprocess)
app.add_typer(models.app, name="models")
app.command()(retrain.retrain)
app.add_typer(users.app, name="users")
app.add_typer(patient.app, name="patient")
app.command()(backup.backup)
app.add_typer(db.app, name="db")
app.command()(doctor.doctor)


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
