"""What answers that look at no picture reach: figures that do not beat them are worth nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ich_triage.domain.labels import LABELS
from ich_triage.model.manifest import Metric

from .part import Bools, Floats, Json, Labelled, Part, dump
from .splits import HELD_BACK, TRAIN

#: Weights of the labels in the challenge's loss: `any` counts twice.
_WEIGHTS = np.array([2.0, *[1.0] * (len(LABELS) - 1)])
#: A prior is never nearer to 0 or 1: a label that training never saw would make the loss infinite.
_LEAST = 1e-6
#: The same answers on the RSNA set: constant prior (2nd place's results), "no" on slices with a bleed.
_PUBLISHED = {"own_prior": 0.232, "no_to_all": 0.725}


def baselines(part: Part, folds: pd.Series | str) -> Json:
    """Weighted log loss of constant priors, and how often "no" is right.

    `folds`: the split by patient, or why there is none. Rows with an unknown label have no log loss; there is
    none at all where much of what bleeds leaves a subtype open.
    """
    level, studies = part.slices, part.studies
    whole: Bools = level.complete & level.says(LABELS)
    learned: Bools | None = None if isinstance(folds, str) else (folds == TRAIN).to_numpy(dtype=bool)
    judged: Bools | None = None if isinstance(folds, str) else folds.isin(HELD_BACK).to_numpy(dtype=bool)
    return {
        "log_loss": {
            "slices": int(whole.sum()),
            "own_prior": dump(_loss(level, whole, whole)),
            "training_prior": None
            if learned is None or judged is None
            else dump(_loss(level, whole & learned, whole & judged)),
            "half": float(np.log(2)),
        },
        "no_to_all": dump(_no_to_all(level)),
        "no_bleed": dump(level.mean(~level.positive("any"), level.known("any"))),
        "no_bleed_studies": dump(studies.mean(~studies.positive("any"), studies.known("any"))),
        "published": dict[str, Json](_PUBLISHED),
    }


def _loss(level: Labelled, learned: Bools, judged: Bools) -> Metric | None:
    """Mean loss of the rows `judged` at the prior of the rows `learned`; None of nothing."""
    if not learned.any():
        return None
    prior = level.values[learned].mean(axis=0, dtype=np.float64).clip(_LEAST, 1 - _LEAST)
    return level.mean(_losses(level.values, prior), judged)


def _losses(values: np.ndarray, prior: Floats) -> Floats:
    """Weighted log loss of each row of labels, (n,)."""
    each = np.where(values == 1, -np.log(prior), -np.log(1 - prior))
    return np.asarray(each @ _WEIGHTS / _WEIGHTS.sum())


def _no_to_all(level: Labelled) -> Metric | None:
    """Share of right subtype labels when the answer is always "no", on slices with a bleed alone."""
    rows = level.positive("any") & level.complete
    return level.mean((level.values[:, 1:] == 0).mean(axis=1), rows)
