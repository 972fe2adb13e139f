"""`python -m train compare`: the published study's table beside ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import data
from ..sources.commands import one_line_errors
from .content import Comparison
from .page import write
from .plan import PLAN, Shortening, rows
from .results import Data
from .study import Study, repeat

_DATA, _OUT = Path("build/data"), Path("build/compare")
_NAMES = ", ".join(row.name for row in PLAN)


def compare(  # noqa: PLR0913  one option each
    folder: Annotated[Path, typer.Option("--data", help="folder that `metadata` wrote")] = _DATA,
    out: Annotated[Path, typer.Option(help="folder for page, JSON and runs; run again to resume")] = _OUT,
    row: Annotated[list[str] | None, typer.Option(help=f"{_NAMES}; all unless given")] = None,
    size: Annotated[int | None, typer.Option(min=64, help="pixels per side, to shorten")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="most passes of a cycle, to shorten")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="slices in a batch")] = None,
    pretrained: Annotated[
        Path | None, typer.Option(help="folder of pretrained weights, BACKBONE.safetensors each")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="processes that prepare; 0: this one")] = None,
) -> None:
    """Train every recipe of the published study, as published and mended, and tell what each is worth."""
    with one_line_errors():
        study = Study(
            tables=folder,
            out=out,
            rows=rows(row or ()),
            shortening=Shortening(size=size, epochs=epochs, batch=batch),
            pretrained=pretrained,
            workers=workers,
        )
        _, table = data.tables(folder)
        told, results = Data.of(table), []
        for result in repeat(study, table):
            results.append(result)
            # after each, so that a run that was cut off leaves what it had
            path = write(out, Comparison(data=told, results=results))
            typer.echo(f"{len(results)} of {len(study.rows)}: {result.row.title}")
        typer.echo(f"wrote {path} and {path.with_suffix('.html').name} beside it")
