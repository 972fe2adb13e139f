"""How far probabilities can be taken at their word: Brier score, slope, expected calibration error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from ich_triage.model.manifest import Metric

from . import metrics

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Strings = NDArray[np.str_]

_BINS = 10
_ROUNDS = 200
#: Newton steps of the slope's fit, and the longest of them; what has not settled then is separable.
_STEPS, _LONGEST = 40, 3.0


@dataclass(frozen=True, kw_only=True)
class Bin:
    """The studies (or slices) whose probability lies in one tenth of the scale."""

    #: mean probability
    predicted: float
    #: share that has a bleed, Clopper-Pearson
    observed: Metric


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Probabilities against what was there."""

    #: mean squared error of the probabilities (Brier 1950)
    brier: Metric | None
    #: slope of a logistic regression on the log odds (Cox 1958); 1 is right, below is overconfident
    slope: Metric | None
    #: expected calibration error over ten equal bins (Naeini et al., AAAI 2015)
    ece: Metric | None
    #: the expected calibration error that as many perfectly calibrated probabilities would show
    ece_by_chance: float
    #: bins that hold any
    bins: Sequence[Bin]


def measure(
    probability: Sequence[Floats], label: Sequence[Bools], *, patients: Strings | None = None
) -> Reliability:
    """Reliability of one label: for each study the probabilities and labels of its slices, or just its own.

    Intervals draw whole studies, and where `patients` names the patient of each, whole patients.
    """
    everything, truth = np.concatenate(probability), np.concatenate(label)

    def whole(of: Callable[[Floats, Bools], float]) -> Metric | None:
        def at(index: NDArray[np.int64]) -> float:
            return of(
                np.concatenate([probability[i] for i in index]), np.concatenate([label[i] for i in index])
            )

        return metrics.bootstrap(at, len(probability), patients=patients, rounds=_ROUNDS)

    return Reliability(
        brier=whole(brier),
        slope=whole(slope),
        ece=whole(expected_calibration_error),
        ece_by_chance=ece_by_chance(everything),
        bins=bins(everything, truth),
    )


def brier(probability: Floats, label: Bools) -> float:
    """Mean squared difference of probabilities (N,) and labels (N,)."""
    return float(((probability - label) ** 2).mean())


def expected_calibration_error(probability: Floats, label: Bools) -> float:
    """|mean probability − share of positives| over ten equal bins, weighted by their sizes."""
    chosen = _bin_of(probability)
    gap = np.bincount(chosen, weights=probability - label, minlength=_BINS)
    return float(np.abs(gap).sum() / len(probability))


def ece_by_chance(probability: Floats, *, seed: int = 0) -> float:
    """The mean expected calibration error if each label were drawn at just its probability."""
    rng = np.random.default_rng(seed)
    drawn = (rng.random(len(probability)) < probability for _ in range(_ROUNDS))
    return float(np.mean([expected_calibration_error(probability, label) for label in drawn]))


def slope(probability: Floats, label: Bools) -> float:
    """Slope of the logistic regression of labels on log odds; NaN where one threshold parts them."""
    odds = logit(np.clip(probability, 1e-6, 1 - 1e-6))
    design = np.stack([odds, np.ones_like(odds)], axis=1)
    beta = np.array([1.0, 0.0])
    for _ in range(_STEPS):
        fitted = expit(design @ beta)
        curvature = (design * (fitted * (1 - fitted))[:, None]).T @ design + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, design.T @ (label - fitted))
        beta = beta + step.clip(-_LONGEST, _LONGEST)
        if np.abs(step).max() < 1e-6:
            return float(beta[0])
    return np.nan


def bins(probability: Floats, label: Bools) -> list[Bin]:
    """The bins that hold any, from low to high."""
    chosen = _bin_of(probability)
    found = []
    for index in np.unique(chosen):
        within = chosen == index
        observed = metrics.proportion(int(label[within].sum()), int(within.sum()))
        assert observed
        found.append(Bin(predicted=float(probability[within].mean()), observed=observed))
    return found


def _bin_of(probability: Floats) -> NDArray[np.int64]:
    return np.minimum((probability * _BINS).astype(np.int64), _BINS - 1)
