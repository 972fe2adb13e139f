"""What answers to slices are worth: shares that are right, areas, and how two of either differ.

Slices of one patient resemble each other, so intervals draw whole patients, and n counts patients.
"""

from __future__ import annotations

from math import hypot

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from ich_triage.model.manifest import Metric

from .. import metrics
from ..scored import Scored

Bools = NDArray[np.bool_]

#: The threshold of the published study.
THRESHOLD = 0.5


def figures(scored: Scored) -> dict[str, Metric | None]:
    """Every figure by name; None where there is nothing to measure it on.

    `accuracy`: share of right labels. `auc`: of K labels the mean. Sensitivity and specificity: over all K
    labels, at the published threshold and at `chosen` points (see `at_chosen_points`).
    """
    published, chosen = scored.probability >= THRESHOLD, at_chosen_points(scored)
    return {
        "accuracy": share(published == scored.labels, np.ones_like(scored.labels), scored.patients),
        "auc": auc(scored),
        "sensitivity": share(published, scored.labels, scored.patients),
        "specificity": share(~published, ~scored.labels, scored.patients),
        "chosen_sensitivity": share(chosen, scored.labels, scored.patients),
        "chosen_specificity": share(~chosen, ~scored.labels, scored.patients),
    }


def baselines(scored: Scored) -> dict[str, float]:
    """What each of `figures` is without looking.

    Accuracy: of one label the commoner answer to all, of several "no" to all. Area: chance. Sensitivity and
    specificity: as many flags dealt blindly.
    """
    flagged = float((scored.probability >= THRESHOLD).mean())
    chosen = float(at_chosen_points(scored).mean())
    return {
        "accuracy": floor(scored.labels),
        "auc": 0.5,
        "sensitivity": flagged,
        "specificity": 1 - flagged,
        "chosen_sensitivity": chosen,
        "chosen_specificity": 1 - chosen,
    }


def floor(labels: Bools) -> float:
    """Share of labels (N, K) that one answer to everything has right; see `baselines`."""
    positive = float(labels.mean())
    return max(positive, 1 - positive) if labels.shape[1] == 1 else 1 - positive


def share(hit: Bools, of: Bools, patients: NDArray[np.str_]) -> Metric | None:
    """Share of the answers `of` that are `hit`, both (N, K); None of nothing.

    Interval: the wider, on each side, of a bootstrap that draws patients and of Clopper-Pearson. The first
    knows that slices of a patient resemble each other; the second has a width where all are right.
    """
    _, owner = np.unique(patients, return_inverse=True)
    hits, counts = (np.bincount(owner, each.sum(axis=1)) for each in (hit & of, of))
    hits, counts = hits[counts > 0], counts[counts > 0]
    exact = metrics.proportion(int(hits.sum()), int(counts.sum()))
    drawn = metrics.bootstrap(lambda index: float(hits[index].sum() / counts[index].sum()), len(counts))
    if not exact or not drawn:
        return None
    low, high = min(exact.low, drawn.low), max(exact.high, drawn.high)
    return Metric(value=exact.value, low=low, high=high, n=len(counts))


def auc(scored: Scored) -> Metric | None:
    """Area under the ROC over slices, the mean of all labels that occur; None without both classes."""
    order = np.argsort(scored.patients, kind="stable")
    ends = np.flatnonzero(np.diff(np.unique(scored.patients[order], return_inverse=True)[1])) + 1
    return metrics.grouped_auc(
        np.split(scored.probability[order], ends), np.split(scored.labels[order], ends)
    )


def at_chosen_points(scored: Scored) -> Bools:
    """Decisions (N, K) at the points with the best mean of sensitivity and specificity (Youden 1950).

    Each half of the patients is decided at the points that the other half gives, so that none is decided at
    one that it chose.
    """
    names = np.random.default_rng(0).permutation(np.unique(scored.patients))
    half = np.isin(scored.patients, names[::2])
    decided = np.zeros_like(scored.labels)
    for here in (half, ~half):
        for k in range(scored.labels.shape[1]):
            point = _point(scored.probability[~here, k], scored.labels[~here, k])
            decided[here, k] = scored.probability[here, k] >= point
    return decided


def difference(one: Metric | None, other: Metric | None) -> Metric | None:
    """`one` − `other`, with an interval that takes them for independent (Zou and Donner, Stat Med 2008)."""
    if one is None or other is None:
        return None
    value = one.value - other.value
    low = value - hypot(one.value - one.low, other.high - other.value)
    high = value + hypot(one.high - one.value, other.value - other.low)
    return Metric(value=value, low=low, high=high, n=min(one.n, other.n))


def _point(probability: NDArray[np.float64], label: Bools) -> float:
    """The balanced threshold; the published one where there is one class alone."""
    if len(np.unique(label)) < 2:
        return THRESHOLD
    false_rate, true_rate, thresholds = roc_curve(label, probability)
    return float(thresholds[1:][(true_rate - false_rate)[1:].argmax()])  # the first flags nothing
