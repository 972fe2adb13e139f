"""Figures with their intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, rankdata

from ich_triage.model.manifest import Metric

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Indices = NDArray[np.int64]

#: Each of two independent intervals at this confidence; together they hold with 95%.
_EACH_OF_TWO = 0.95**0.5


def proportion(hits: int, n: int, *, confidence: float = 0.95) -> Metric | None:
    """A share with its Clopper-Pearson interval (Biometrika 1934); None of nothing."""
    if n == 0:
        return None
    interval = binomtest(hits, n).proportion_ci(confidence, method="exact")
    return Metric(value=hits / n, low=float(interval.low), high=float(interval.high), n=n)


def auc(score: Floats, label: Bools, *, seed: int = 0, rounds: int = 1000) -> Metric | None:
    """Area under the ROC with its bootstrap interval, each study a patient; None without both classes."""
    return bootstrap(lambda index: _auc(score[index], label[index]), len(label), seed=seed, rounds=rounds)


def grouped_auc(
    scores: Sequence[Floats], labels: Sequence[Bools], *, seed: int = 0, rounds: int = 200
) -> Metric | None:
    """Area under the ROC over slices, with a bootstrap interval that draws whole studies.

    Each of both is (Z,), or (Z, K) for the mean area of K labels; a label of one class alone does not count.
    """

    def of(index: Indices) -> float:
        score = np.concatenate([scores[i] for i in index])
        label = np.concatenate([labels[i] for i in index])
        if label.ndim == 1:
            return _auc(score, label)
        areas = [_auc(score[:, k], label[:, k]) for k in range(label.shape[1])]
        known = [area for area in areas if np.isfinite(area)]
        return float(np.mean(known)) if known else np.nan

    return bootstrap(of, len(labels), seed=seed, rounds=rounds)


def average_precision(score: Floats, label: Bools, *, seed: int = 0, rounds: int = 500) -> Metric | None:
    """Mean precision over the positives, ranked by score, with its bootstrap interval; None without any."""

    def of(index: Indices) -> float:
        return _average_precision(score[index], label[index])

    return bootstrap(of, len(label), seed=seed, rounds=rounds)


def mean(values: Floats, *, seed: int = 0, rounds: int = 1000) -> Metric | None:
    """A mean with its bootstrap interval; None of nothing."""
    return bootstrap(lambda index: float(values[index].mean()), len(values), seed=seed, rounds=rounds)


def predictive_values(
    sensitivity: tuple[int, int], specificity: tuple[int, int], *, prevalence: float
) -> tuple[Metric | None, Metric | None]:
    """PPV and NPV at a prevalence by Bayes, from (right, all) of the positive and of the negative studies.

    Both rise with sensitivity and with specificity, so their intervals run from both lower to both upper
    Clopper-Pearson limits, each of these at √0.95: at least 95% together. None where nothing can be said.
    """
    sure = proportion(*sensitivity, confidence=_EACH_OF_TWO)
    clear = proportion(*specificity, confidence=_EACH_OF_TWO)
    if not sure or not clear:
        return None, None
    pairs = [(sure.value, clear.value), (sure.low, clear.low), (sure.high, clear.high)]
    n = sure.n + clear.n
    ppv = [_bayes(se, 1 - sp, prevalence) for se, sp in pairs]
    npv = [_bayes(sp, 1 - se, 1 - prevalence) for se, sp in pairs]
    return _whole(ppv, n), _whole(npv, n)


def roc_band(
    score: Floats, label: Bools, grid: Floats, *, seed: int = 0, rounds: int = 500
) -> tuple[Floats, Floats, Floats] | None:
    """True positive rate at each false positive rate of `grid`, and its 2.5% and 97.5% bootstrap quantiles.

    The bootstrap draws studies, each a patient. None without both classes.
    """
    if label.all() or not label.any():
        return None
    rng = np.random.default_rng(seed)
    draws = [rng.integers(len(label), size=len(label)) for _ in range(rounds)]
    curves = [_roc(score[i], label[i], grid) for i in draws if 0 < label[i].sum() < len(label)]
    low, high = np.quantile(curves, [0.025, 0.975], axis=0)
    return _roc(score, label, grid), low, high


def bootstrap(of: Callable[[Indices], float], n: int, *, seed: int = 0, rounds: int = 1000) -> Metric | None:
    """`of` takes indices into n studies, and gives NaN where it cannot tell; None where it never can."""
    value = of(np.arange(n)) if n else np.nan
    if not np.isfinite(value):
        return None
    rng = np.random.default_rng(seed)
    drawn = np.array([of(rng.integers(n, size=n)) for _ in range(rounds)])
    if not np.isfinite(drawn).any():
        return None
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Metric(value=value, low=float(low), high=float(high), n=n)


def _auc(score: Floats, label: Bools) -> float:
    """Share of pairs in the right order, ties half (Mann and Whitney 1947); NaN without both classes."""
    positive = int(label.sum())
    pairs = positive * (len(label) - positive)
    if not pairs:
        return np.nan
    return float((rankdata(score)[label].sum() - positive * (positive + 1) / 2) / pairs)


def _average_precision(score: Floats, label: Bools) -> float:
    """Precision at each threshold, weighted by the recall that it adds; NaN without positives."""
    if not label.any():
        return np.nan
    hits, flagged = _ranked(score, label)
    return float((np.diff(hits, prepend=0) * hits / flagged).sum() / label.sum())


def _roc(score: Floats, label: Bools, grid: Floats) -> Floats:
    """The highest true positive rate within each false positive rate of `grid`."""
    hits, flagged = _ranked(score, label)
    false_rate = np.append(0, (flagged - hits) / (~label).sum())
    true_rate = np.append(0, hits / label.sum())
    return np.asarray(true_rate[np.searchsorted(false_rate, grid + 1e-12, side="right") - 1])


def _ranked(score: Floats, label: Bools) -> tuple[Indices, Indices]:
    """Positives flagged and all flagged at each distinct threshold, from the highest down."""
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.diff(score[order], append=-np.inf))  # ties are flagged together
    return np.cumsum(label[order], dtype=np.int64)[last], (last + 1).astype(np.int64)


def _bayes(hit: float, false: float, prior: float) -> float:
    told = hit * prior + false * (1 - prior)
    return hit * prior / told if told else np.nan


def _whole(values: Sequence[float], n: int) -> Metric | None:
    value, low, high = values
    return Metric(value=value, low=low, high=high, n=n) if np.isfinite(values).all() else None
