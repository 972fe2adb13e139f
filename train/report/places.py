"""Sections about where and how large: pointing, overlap, volumes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ich_triage.domain.labels import SUBTYPES
from ich_triage.model.manifest import Metric

from .. import agreement, metrics
from ..agreement import Agreement
from .scored import Json, Scored, beside

Floats = NDArray[np.float64]

#: A bleed from here on is large enough for a relative error to mean something, mL.
_LARGE_ML = 5.0
#: The relative error that counts as near.
_NEAR = 0.35
#: What `MaskRule.volume_error` is fitted to cover.
_NOMINAL = 0.9


def places(part: Scored) -> Json:
    """Pointing accuracy and mean Dice of each subtype, in the studies that have it.

    Baselines: a cell of soft tissue picked blindly; all soft tissue marked.
    """
    found, rows = part.found, dict[str, Json]()
    for k, subtype in enumerate(SUBTYPES):
        there = found.located[:, k]
        hits = found.pointed[there, k]
        overlap = metrics.mean(found.dice[there, k], patients=found.patients[there])
        rows[subtype] = {
            "positive": int(there.sum()),
            "pointing": beside(
                metrics.proportion(int(hits.sum()), len(hits)), _mean(found.pointed_by_chance[there, k])
            ),
            "dice": beside(overlap, _mean(found.dice_of_everything[there, k])),
        }
    return rows


def volumes(part: Scored) -> Json:
    """Volumes measured against true ones, of each subtype and of all, in the studies that have it.

    The baseline tells every bleed the median volume of its subtype.
    """
    true, there = part.found.true_ml, part.found.located
    columns = np.arange(len(SUBTYPES))
    guess = np.array([np.median(true[there[:, k], k]) if there[:, k].any() else 0.0 for k in columns])
    error = np.array(part.manifest.mask.volume_error)
    rows: dict[str, Json] = {}
    for k, subtype in enumerate(SUBTYPES):
        of = there & (columns == k)
        rows[subtype] = _volume(part, of, guess, error)
    return {**rows, "all": _volume(part, there, guess, error)}


def _volume(part: Scored, of: NDArray[np.bool_], guess: Floats, error: Floats) -> Json:
    """One row: the pairs of study and subtype in `of` (N, 5)."""
    measured, true = part.found.measured_ml[of], part.found.true_ml[of]
    row, column = np.nonzero(of)
    seen = measured >= part.manifest.mask.min_part_ml
    told = seen & part.named[of]
    low, high = error[column[told]].T if told.any() else (np.zeros(0), np.zeros(0))
    own, guessed = agreement.bland_altman(measured, true), agreement.bland_altman(guess[column], true)
    patients, large = part.found.patients[row], true > _LARGE_ML
    relative, by_guess = (np.abs(each - true)[large] / true[large] for each in (measured, guess[column]))
    return {
        "positive": len(true),
        "without_mask": int((~seen).sum()),
        "bias_ml": _part_of(own, guessed, "bias"),
        "lower_limit_ml": _part_of(own, guessed, "low"),
        "upper_limit_ml": _part_of(own, guessed, "high"),
        "absolute_error_ml": beside(
            metrics.mean(np.abs(measured - true), patients=patients),
            _mean(np.abs(guess[column] - true)),
        ),
        "relative_error_over_5_ml": beside(
            metrics.median(relative, patients=patients[large]), _median(by_guess)
        ),
        "within_35_percent_over_5_ml": beside(_near(relative), _value(_near(by_guess))),
        "covered": beside(agreement.coverage(measured[told], true[told], low, high), None),
        "nominal_cover": _NOMINAL,
        "true_ml": true.round(3).tolist(),
        "measured_ml": measured.round(3).tolist(),
    }


def _part_of(told: Agreement | None, guessed: Agreement | None, name: str) -> Json:
    if told is None or guessed is None:
        return None
    return beside(getattr(told, name), getattr(guessed, name).value)


def _near(relative: Floats) -> Metric | None:
    """Share of relative errors that count as near."""
    return metrics.proportion(int((relative <= _NEAR).sum()), len(relative))


def _value(metric: Metric | None) -> float | None:
    return metric.value if metric else None


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None


def _median(values: Floats) -> float | None:
    return float(np.median(values)) if len(values) else None
