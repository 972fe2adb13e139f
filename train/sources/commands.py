"""`python -m train metadata` and `phantoms`: the commands about data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ich_triage.errors import IchTriageError

from ..metadata import Summary, build
from . import phantoms as drawn
from .config import load

_WORKERS = os.cpu_count() or 1


def metadata(
    sources: Annotated[Path, typer.Argument(help="TOML file with the list of sources")],
    out: Annotated[Path, typer.Option(help="folder for the tables; run again to resume")] = Path(
        "build/data"
    ),
    workers: Annotated[int, typer.Option(min=0, help="processes that read; 0 reads in this one")] = _WORKERS,
) -> None:
    """Read all slices of the sources once, join them with their labels, and list what is wrong."""
    with one_line_errors():
        for summary in build(load(sources), out, workers=workers):
            _show(summary)


def phantoms(
    out: Annotated[Path, typer.Argument(help="folder to write; run again to resume")],
    n: Annotated[int, typer.Option("--n", min=1, help="phantoms")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="seed of the first; the next ones count up")] = 10_000_000,
    matrix: Annotated[int, typer.Option(min=32, help="pixels per side")] = 512,
    workers: Annotated[int, typer.Option(min=0, help="processes that draw; 0 draws in this one")] = _WORKERS,
) -> None:
    """Draw phantoms in the layout of the RSNA 2019 set, with its oddities and its label file."""
    with one_line_errors():
        drawn.write(out, count=n, seed=seed, matrix=matrix, workers=workers)
        typer.echo(f"{n} phantoms; next: python -m train metadata {out / drawn.SOURCES_FILE}")


@contextmanager
def one_line_errors() -> Iterator[None]:
    """An error that a person can meet is one line, not a traceback."""
    try:
        yield
    except IchTriageError as error:
        typer.echo(f"train: {error}", err=True)
        raise typer.Exit(1) from None
    except OSError as error:
        what = f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
        typer.echo(f"train: {what}; mend it and run the same command again, what is done stays", err=True)
        raise typer.Exit(1) from None


def _show(summary: Summary) -> None:
    table = Table(title=f"source {summary.source}", show_header=False)
    for name, value in (
        ("slices", summary.slices),
        ("studies", summary.studies),
        ("patients", summary.patients),
        ("slices with a bleed", _percent(summary.positive_slices)),
        ("studies with a bleed", _percent(summary.positive_studies)),
        ("slices repaired", summary.repaired),
        *((f"problem: {kind}", count) for kind, count in sorted(summary.problems.items())),
    ):
        table.add_row(name, str(value))
    Console(highlight=False).print(table)
    if summary.problems:
        typer.echo(f"each problem with its place: {summary.problems_file}")


def _percent(share: float | None) -> str:
    return "unknown" if share is None else f"{share:.1%}"
