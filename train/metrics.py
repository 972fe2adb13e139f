"""Figures with their intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from ich_triage.model.manifest import Metric

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def proportion(hits: int, n: int) -> Metric | None:
    """A share with its Clopper-Pearson interval (Biometrika 1934); None of nothing."""
    if n == 0:
        return None
    interval = binomtest(hits, n).proportion_ci(method="exact")
    return Metric(value=hits / n, low=float(interval.low), high=float(interval.high), n=n)


def auc(score: Floats, label: Bools, *, seed: int = 0, rounds: int = 1000) -> Metric | None:
    """Area under the ROC with its bootstrap interval, each study a patient; None without both classes."""
    if label.all() or not label.any():
        return None

    def of(index: NDArray[np.int64]) -> float:
        return (
            float(roc_auc_score(label[index], score[index]))
            if 0 < label[index].sum() < len(index)
            else np.nan
        )

    return _bootstrap(of, len(label), seed=seed, rounds=rounds)


def grouped_auc(
    scores: Sequence[Floats], labels: Sequence[Bools], *, seed: int = 0, rounds: int = 200
) -> Metric | None:
    """Area under the ROC over slices, with a bootstrap interval that draws whole studies."""
    everything = np.concatenate(labels)
    if everything.all() or not everything.any():
        return None

    def of(index: NDArray[np.int64]) -> float:
        label = np.concatenate([labels[i] for i in index])
        return (
            float(roc_auc_score(label, np.concatenate([scores[i] for i in index]))) if label.any() else np.nan
        )

    return _bootstrap(of, len(labels), seed=seed, rounds=rounds)


def mean(values: Floats, *, seed: int = 0, rounds: int = 1000) -> Metric | None:
    """A mean with its bootstrap interval; None of nothing."""
    if not len(values):
        return None
    return _bootstrap(lambda index: float(values[index].mean()), len(values), seed=seed, rounds=rounds)


def _bootstrap(of: Callable[[NDArray[np.int64]], float], n: int, *, seed: int, rounds: int) -> Metric:
    """`of` takes indices into the studies."""
    rng = np.random.default_rng(seed)
    drawn = [of(rng.integers(n, size=n)) for _ in range(rounds)]
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Metric(value=of(np.arange(n)), low=float(low), high=float(high), n=n)
