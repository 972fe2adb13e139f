"""Figures with their intervals.

Studies of one patient resemble each other, so bootstraps draw whole patients where `patients` names them, and
n counts these. A study whose patient is not named (`""`, or no `patients` at all) is drawn by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, rankdata

from ich_triage.model.manifest import Metric

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Indices = NDArray[np.int64]
Strings = NDArray[np.str_]

#: Each of two independent intervals at this confidence; together they hold with 95%.
_EACH_OF_TWO = 0.95**0.5


def proportion(hits: int, n: int, *, confidence: float = 0.95) -> Metric | None:
    """A share with its Clopper-Pearson interval (Biometrika 1934); None of nothing."""
    if n == 0:
        return None
    interval = binomtest(hits, n).proportion_ci(confidence, method="exact")
    return Metric(value=hits / n, low=float(interval.low), high=float(interval.high), n=n)


def auc(
    score: Floats, label: Bools, *, patients: Strings | None = None, seed: int = 0, rounds: int = 1000
) -> Metric | None:
    """Area under the ROC of N studies with its bootstrap interval; None without both classes."""

    def of(index: Indices) -> float:
        return _auc(score[index], label[index])

    return bootstrap(of, len(label), patients=patients, seed=seed, rounds=rounds)


def grouped_auc(
    scores: Sequence[Floats],
    labels: Sequence[Bools],
    *,
    patients: Strings | None = None,
    seed: int = 0,
    rounds: int = 200,
) -> Metric | None:
    """Area under the ROC over the slices of N studies, with a bootstrap interval that draws whole studies.

    Each of the first two is (Z,), or (Z, K) for the mean area of K labels. Neither a label of one class alone
    counts, nor a study without slices.
    """

    there = np.flatnonzero([len(label) for label in labels])

    def of(index: Indices) -> float:
        score = np.concatenate([scores[i] for i in there[index]])
        label = np.concatenate([labels[i] for i in there[index]])
        if label.ndim == 1:
            return _auc(score, label)
        areas = [_auc(score[:, k], label[:, k]) for k in range(label.shape[1])]
        known = [area for area in areas if np.isfinite(area)]
        return float(np.mean(known)) if known else np.nan

    patients = None if patients is None else patients[there]
    return bootstrap(of, len(there), patients=patients, seed=seed, rounds=rounds)


def average_precision(
    score: Floats, label: Bools, *, patients: Strings | None = None, seed: int = 0, rounds: int = 500
) -> Metric | None:
    """Mean precision over the positives, ranked by score, with its bootstrap interval; None without any."""

    def of(index: Indices) -> float:
        return _average_precision(score[index], label[index])

    return bootstrap(of, len(label), patients=patients, seed=seed, rounds=rounds)


def mean(
    values: Floats, *, patients: Strings | None = None, seed: int = 0, rounds: int = 1000
) -> Metric | None:
    """A mean with its bootstrap interval; None of nothing."""

    def of(index: Indices) -> float:
        return float(values[index].mean())

    return bootstrap(of, len(values), patients=patients, seed=seed, rounds=rounds)


def median(values: Floats, *, patients: Strings | None = None) -> Metric | None:
    """A median with its bootstrap interval; None of nothing."""

    def of(index: Indices) -> float:
        return float(np.median(values[index]))

    return bootstrap(of, len(values), patients=patients)


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
    score: Floats,
    label: Bools,
    grid: Floats,
    *,
    patients: Strings | None = None,
    seed: int = 0,
    rounds: int = 500,
) -> tuple[Floats, Floats, Floats] | None:
    """True positive rate at each false positive rate of `grid`, and its 2.5% and 97.5% bootstrap quantiles.

    None without both classes.
    """
    if label.all() or not label.any():
        return None
    draws = _draws(_groups(len(label), patients), seed=seed, rounds=rounds)
    curves = [_roc(score[i], label[i], grid) for i in draws if 0 < label[i].sum() < len(i)]
    if not curves:
        return None
    low, high = np.quantile(curves, [0.025, 0.975], axis=0)
    return _roc(score, label, grid), low, high


def bootstrap(
    of: Callable[[Indices], float],
    n: int,
    *,
    patients: Strings | None = None,
    seed: int = 0,
    rounds: int = 1000,
) -> Metric | None:
    """`of` takes indices into n studies, and gives NaN where it cannot tell; None where it never can.

    `patients`: name of the patient of each, (n,); see above.
    """
    value = of(np.arange(n)) if n else np.nan
    if not np.isfinite(value):
        return None
    group = _groups(n, patients)
    drawn = np.array([of(index) for index in _draws(group, seed=seed, rounds=rounds)])
    if not np.isfinite(drawn).any():
        return None
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Metric(value=value, low=float(low), high=float(high), n=int(group.max()) + 1)


def _groups(n: int, patients: Strings | None) -> Indices:
    """Number of each one's patient in the order in which these come, (n,)."""
    if patients is None:
        return np.arange(n)
    number: dict[str | int, int] = {}
    names = enumerate(patients.tolist())
    return np.array([number.setdefault(name or place, len(number)) for place, name in names])


def _draws(group: Indices, *, seed: int, rounds: int) -> Iterator[Indices]:
    """Everything of as many groups as there are, drawn with replacement, `rounds` times."""
    rng = np.random.default_rng(seed)
    order, sizes = np.argsort(group, kind="stable"), np.bincount(group)
    first = np.cumsum(sizes) - sizes
    for _ in range(rounds):
        drawn = rng.integers(len(sizes), size=len(sizes))
        counts = sizes[drawn]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        yield order[np.repeat(first[drawn], counts) + within]


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
