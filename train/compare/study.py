"""Runs the plan: each row as published and mended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import pandas as pd
import structlog

from .. import forest
from ..recipe import ForestRecipe, SliceRecipe
from .plan import Row, Shortening, recipes, shortened
from .results import Result, Run

log = structlog.get_logger(__name__)

#: Trains a recipe, or goes on with it, under a name of its own, and asks it about the test fold.
Fit = Callable[[SliceRecipe, str], Run]
TRAIN, TEST = "train", "test"


def repeat(
    rows: Sequence[Row],
    table: pd.DataFrame,
    *,
    folds: Mapping[str, pd.Series],
    shortening: Shortening,
    fit: Fit,
) -> Iterator[Result]:
    """The rows, one after the other.

    `table`: the metadata table; `folds`: the fold of each of its rows, `train` or `test`, by way of splitting
    (`patient`, `slice`). Raises TrainingDataError, TrainingError.
    """
    for row in rows:
        published, mended = (
            grow(recipe, table, folds[recipe.split])
            if isinstance(recipe, ForestRecipe)
            else fit(shortened(recipe, shortening), f"{row.name}-{recipe.split}")
            for recipe in recipes(row)
        )
        log.info("row_done", row=row.name)
        yield Result(row=row, as_published=published, mended=mended)


def grow(recipe: ForestRecipe, table: pd.DataFrame, folds: pd.Series) -> Run:
    """The forest, grown and asked. Raises TrainingDataError."""
    learned = table[(folds == TRAIN) & table["any"].notna()]
    return Run(
        recipe=recipe,
        scored=forest.score(recipe, table, folds, train=TRAIN, test=TEST),
        trained_slices=len(learned),
        trained_patients=frozenset(learned["patient"]),
    )
