"""What the comparison says in sentences: on what data, how it was run, how much less than was published."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .. import split
from ..recipe import SliceRecipe
from .plan import PUBLISHED_SLICES, PUBLISHED_TRAINED, Row, recipes
from .results import Data, Result


def how(data: Data, results: Sequence[Result]) -> Iterator[str]:
    """What must be known to read the table, sentence by sentence."""
    yield (
        f"{_heads(data)}: {data.slices:,} slices of {data.patients:,} patients, {data.positive:,} with a "
        f"bleed ({data.positive / data.slices:.1%}), from {', '.join(data.sources)}; the published study had "
        f"{PUBLISHED_SLICES:,} slices of patients."
    )
    seeds = sorted({run.recipe.seed for each in results for run in (each.as_published, each.mended)})
    yield f"One run each way, seed {', '.join(map(str, seeds))}." if seeds else "Nothing was run."
    if results:
        yield "Training was shorter, or differs otherwise from what was published; each row says how."


def published(row: Row) -> str:
    """The published figure with its trivial baseline."""
    if row.published is None:
        return "no figure told"
    floor = "" if row.published_floor is None else f", base {row.published_floor:.3f}"
    return f"{row.published:.3f}{floor}"


def shortened(result: Result) -> Iterator[str]:
    """How the mended run differs in length from what was published; the other is shortened alike."""
    share = f"{split.SHARES['train']:.0%}"
    yield f"{share} of the slices, or patients, trained on (published: {PUBLISHED_TRAINED:.0%})"
    told, run = recipes(result.row)[1], result.mended
    if not isinstance(told, SliceRecipe) or not isinstance(run.recipe, SliceRecipe):
        return
    if run.recipe.size != told.size:
        yield f"{run.recipe.size} instead of {told.size} pixels per side"
    passes, told_passes = _passes(run.recipe), _passes(told)
    if passes != told_passes:
        yield f"{passes} instead of {told_passes} passes over the slices"
    if run.recipe.batch != told.batch:
        yield f"{run.recipe.batch} instead of {told.batch} slices in a batch"
    if run.recipe.precision != told.precision:
        yield f"number format {run.recipe.precision} instead of {told.precision}"
    if run.recipe.backbone != told.backbone:
        yield f"{run.recipe.backbone} instead of {told.backbone}"
    if not run.pretrained:
        yield "body from a random start, trained throughout, instead of pretrained and frozen at first"


def _heads(data: Data) -> str:
    """What the slices are of."""
    if data.drawn == data.slices:
        return "Drawn heads, no patient"
    if data.drawn:
        return f"Scanned and drawn heads, {data.drawn / data.slices:.1%} of the slices drawn"
    return "Scanned heads"


def _passes(recipe: SliceRecipe) -> int:
    return sum(cycle.epochs for cycle in recipe.cycles)
