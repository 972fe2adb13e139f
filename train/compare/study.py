"""Runs the plan: each row as published and mended."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ich_triage.domain.input_spec import InputSpec

from .. import data, forest, runs, split
from ..recipe import ForestRecipe, SliceRecipe
from ..scored import Scored
from .plan import Row, Shortening, recipes, rows, shortened
from .results import Result, Run

_TRAIN, _TEST = "train", "test"
#: Below the folder of the comparison: a folder for each run, so that it resumes.
_RUNS = "runs"


@dataclass(frozen=True, kw_only=True)
class Study:
    """One run of `python -m train compare`."""

    #: folder that `metadata` wrote
    tables: Path
    #: folder for the comparison, and for what is trained
    out: Path
    #: what to run
    rows: tuple[Row, ...]
    #: how much less than the recipes say
    shortening: Shortening
    #: folder of pretrained weights, `BACKBONE.safetensors` each; None, or no such file: timm's hub
    pretrained: Path | None = None
    #: processes that prepare studies; None: one for each core
    workers: int | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class _Trained:
    """One network of slices."""

    #: where it lies
    folder: Path
    #: as it was trained
    recipe: SliceRecipe
    #: what it was trained on, and is judged by
    found: data.Data


def repeat(study: Study, table: pd.DataFrame) -> Iterator[Result]:
    """The rows, one after the other; what an earlier run trained is not trained again.

    `table`: the metadata table with each row's `fold`. Raises TrainingDataError, TrainingError.
    """
    load = functools.cache(functools.partial(data.load, study.tables, workers=study.workers))
    for row in study.rows:
        published, mended = (_run(study, row, recipe, table, load) for recipe in recipes(row))
        yield Result(row=row, as_published=published, mended=mended)


def grow(recipe: ForestRecipe, table: pd.DataFrame) -> Run:
    """The forest, grown and asked. Raises TrainingDataError."""
    by_slice = recipe.split == "slice"
    folds = split.by_slice(table, split.SHARES, seed=recipe.seed) if by_slice else table["fold"]
    learned = table[(folds == _TRAIN) & table["any"].notna()]
    return Run(
        recipe=recipe,
        scored=forest.score(recipe, table, folds, train=_TRAIN, test=_TEST),
        trained_slices=len(learned),
        trained_patients=frozenset(learned["patient"]),
    )


def _run(
    study: Study,
    row: Row,
    recipe: ForestRecipe | SliceRecipe,
    table: pd.DataFrame,
    load: Callable[[InputSpec], data.Data],
) -> Run:
    if isinstance(recipe, ForestRecipe):
        return grow(recipe, table)
    run = _train(study, row, recipe, load)
    learned = runs.of_task(run.recipe, run.found, _TRAIN)
    scored = _everywhere(study, row, run, load) if row.chained else runs.score(run.found, run.folder, _TEST)
    return Run(
        recipe=run.recipe,
        scored=scored,
        trained_slices=len(learned.patients),
        trained_patients=frozenset(learned.patients.tolist()),
        pretrained=runs.started_pretrained(run.folder),
    )


def _train(study: Study, row: Row, recipe: SliceRecipe, load: Callable[[InputSpec], data.Data]) -> _Trained:
    """Train the row's network, or find it trained."""
    name = row.chained[0] if row.chained else row.name
    recipe = shortened(recipe, study.shortening)
    folder = study.out / _RUNS / f"{name}-{recipe.split}"
    found = load(recipe.input_spec)
    runs.train(recipe, found, folder, _start(study, recipe))
    return _Trained(folder=folder, recipe=recipe, found=found)


def _everywhere(study: Study, row: Row, run: _Trained, load: Callable[[InputSpec], data.Data]) -> Scored:
    """What a network that has seen nothing but bleeds says of all slices; mended, P(any) · P(k | any).

    P(any) comes with the share of bleeds that it was trained on, so the product needs no other correction.
    """
    assert row.chained
    (binary,) = rows(row.chained[1:])
    slices = run.found.slices(run.recipe.split, seed=run.recipe.seed)
    slices = slices.where((slices.folds == _TEST) & ~np.isnan(slices.labels).any(axis=1))
    probability = runs.answers(run.folder, slices)
    if run.recipe.split == "patient":
        any_bleed = recipes(binary)[1]
        assert isinstance(any_bleed, SliceRecipe)
        probability = probability * runs.answers(_train(study, binary, any_bleed, load).folder, slices)
    return Scored(probability=probability, labels=slices.labels[:, 1:] > 0, patients=slices.patients)


def _start(study: Study, recipe: SliceRecipe) -> runs.Start:
    path = study.pretrained and study.pretrained / f"{recipe.backbone}.safetensors"
    return runs.Start(pretrained=path if path and path.exists() else None)
