"""`python -m train explore`: the page, its JSON and the frozen bins."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .. import metadata
from ..data import FOLDS_FILE
from ..freqhist import FrequencyBins
from ..sources.commands import one_line_errors
from .content import Material, content
from .page import page
from .pixels import Look, look
from .splits import read_frozen

JSON_FILE, BINS_FILE = "exploration.json", "freqhist.json"


def explore(
    data: Annotated[Path, typer.Option(help="folder that `metadata` wrote")] = Path("build/data"),
    out: Annotated[Path, typer.Option(help="folder for the page, its JSON and the frequency bins")] = Path(
        "build/explore"
    ),
    examples: Annotated[int, typer.Option(min=1, help="pictures of each subtype and of none")] = 4,
    validation: Annotated[
        float, typer.Option(min=0.01, max=0.99, help="share that a split made here holds back")
    ] = 0.2,
    seed: Annotated[int, typer.Option(min=0, help="seed of samples and splits")] = 0,
) -> None:
    """Show what the labelled data are like: one page with pictures, and the same figures as JSON."""
    with one_line_errors():
        listed = metadata.sources_of(data)
        table = metadata.read(listed, data)
        seen = look(table, listed, examples=examples, seed=seed)
        out.mkdir(parents=True, exist_ok=True)
        material = Material(
            sources=listed,
            table=table,
            problems=metadata.count_problems(listed, data),
            look=seen,
            bins=_bins(out / BINS_FILE, seen, seed),
            validation=validation,
            seed=seed,
            frozen=read_frozen(data / FOLDS_FILE),
        )
        written = _write(out / JSON_FILE, material)
        if seen.unread:
            count = sum(seen.unread.values())
            typer.echo(
                f"{count} of {seen.studies} sampled studies could not be read; the page says why", err=True
            )
        typer.echo(f"wrote {written.with_suffix('.html')} and {written.name} beside it")


def _bins(path: Path, seen: Look, seed: int) -> FrequencyBins | None:
    """The frozen bins; the first run draws them. None where there are neither bins nor pixels."""
    if path.exists():
        return FrequencyBins.load(path)
    if not seen.pixels:
        return None
    bins = FrequencyBins.draw(seen.pixels, seed=seed)
    bins.freeze(path)
    return bins


def _write(path: Path, material: Material) -> Path:
    """The figures as JSON at `path` and the page beside it."""
    told = content(material)
    path.with_suffix(".html").write_text(page(told, material.look.examples, material.bins))
    # Last, so that where the figures are, the page is.
    path.write_text(json.dumps(told, indent=1, allow_nan=False) + "\n")
    return path
