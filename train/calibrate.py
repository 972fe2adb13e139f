"""Fits what turns logits into probabilities and decisions, on studies that the network was not trained on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit, ndtr

from ich_triage.model.calibration import Platt
from ich_triage.model.manifest import UNMEASURED_ERROR, VOLUME_FLOOR_ML

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Pull of scale towards 1, offset towards 0 and the lapse's log odds towards the usual ones, so that a few or
#: no positives cannot send them to infinity.
_PRIOR = 0.5
#: Keeps logarithms finite, and costs nothing of what a steep scale costs.
_TINY = 1e-15
#: The usual lapse: the share of bleeds that are of the subtype, times this.
_OVERLOOKED = 0.1
#: Probabilities beyond these are as good as certain.
_CERTAIN = 1e-6, 1 - 1e-6
#: Least bandwidth of the log odds, for studies that all say the same.
_LEAST_BANDWIDTH = 0.01
#: Studies from which the quantiles of a subtype's volume error are its own.
_LEAST_FOR_OWN = 20


def fit_platt(logits: Floats, labels: Floats, before: Platt | None = None) -> Platt:
    """Scale, offset and lapse for each column of logits (N, 6), by penalised maximum likelihood (Platt 1999).

    `labels` (N, 6): 0, 1, or NaN where unknown. A column in which not both are known stays as `before`.
    """
    before = before or Platt()
    fitted = list(zip(before.scale, before.offset, before.lapse, strict=True))
    for k in range(logits.shape[1]):
        known = ~np.isnan(labels[:, k])
        label = labels[known, k] > 0
        if 0 < label.sum() < len(label):
            scale, offset, _ = fitted[0]
            any_bleed = expit(scale * logits[known, 0] + offset) if k else np.zeros(len(label))
            fitted[k] = _fit_one(logits[known, k], label, any_bleed)
    scales, offsets, lapses = zip(*fitted, strict=True)
    return Platt(scale=scales, offset=offsets, lapse=(0.0, *lapses[1:]))


def _fit_one(logits: Floats, label: Bools, any_bleed: Floats) -> tuple[float, float, float]:
    """Of one column, beside the probabilities of any bleed (N,); where these are nought no lapse counts."""
    positive, negative = int(label.sum()), int((~label).sum())
    # Platt's targets: never quite 0 or 1, so that separable data stay finite.
    target = np.where(label, (positive + 1) / (positive + 2), 1 / (negative + 2))
    usual = logit(_OVERLOOKED * positive / max(positive, any_bleed.sum()))

    def loss(parameters: Floats) -> float:
        log_scale, offset, lapse = parameters
        found = expit(np.exp(log_scale) * logits + offset)
        found = np.clip(found + expit(lapse) * np.maximum(any_bleed - found, 0), _TINY, 1 - _TINY)
        surprise = -(target * np.log(found) + (1 - target) * np.log1p(-found)).sum()
        return float(surprise + _PRIOR * (log_scale**2 + offset**2 + (lapse - usual) ** 2))

    log_scale, offset, lapse = minimize(loss, [0.0, 0.0, usual], method="Nelder-Mead").x
    return float(np.exp(log_scale)), float(offset), float(expit(lapse))


def threshold_for_sensitivity(probability: Floats, label: Bools, sensitivity: float) -> float:
    """The highest threshold that still flags this share of the positive studies."""
    ranked = np.sort(probability[label])[::-1]
    kept = int(np.ceil(sensitivity * len(ranked)))
    return _between(float(ranked[kept - 1]), probability)


def balanced_threshold(probability: Floats, label: Bools) -> float:
    """The threshold with the best mean of sensitivity and specificity (Youden 1950), chance smoothed away.

    Which threshold is best for some hundred studies as they are is mostly chance. So the log odds of both
    kinds are smoothed first, by Gaussian kernels (Fluss, Faraggi and Reiser, Biom J 2005;47:458).
    """
    odds = logit(np.clip(probability, *_CERTAIN))
    grid = np.linspace(odds.min(), odds.max(), 1001)
    index = _share_below(odds[~label], grid) - _share_below(odds[label], grid)
    return float(expit(grid[index > index.max() - 1e-9].mean()))


def _share_below(values: Floats, grid: Floats) -> Floats:
    """Smoothed share of values below each point of `grid`; bandwidth by Silverman (1986, equation 3.31)."""
    spread = min(values.std(), np.subtract(*np.quantile(values, [0.75, 0.25])) / 1.34)
    bandwidth = max(0.9 * spread * len(values) ** -0.2, _LEAST_BANDWIDTH)
    return np.asarray(ndtr((grid[:, None] - values) / bandwidth).mean(1))


def _between(lowest_flagged: float, probability: Floats) -> float:
    """Half-way (in log odds) between the lowest flagged study and the next below it."""
    below = probability[probability < lowest_flagged]
    pair = np.clip([lowest_flagged, below.max() if len(below) else lowest_flagged], *_CERTAIN)
    return float(expit(logit(pair).mean()))


def volume_errors(measured_ml: Floats, true_ml: Floats, seen: Bools) -> tuple[tuple[float, float], ...]:
    """`MaskRule.volume_error` from volumes (N, K) of N studies, where a subtype is there and `seen` (N, K).

    A subtype seen in fewer than `_LEAST_FOR_OWN` studies takes the quantiles of all together.
    """
    columns = range(seen.shape[1])
    enough = [seen[:, k] if seen[:, k].sum() >= _LEAST_FOR_OWN else None for k in columns]
    return tuple(
        _volume_error(measured_ml[seen], true_ml[seen])
        if rows is None
        else _volume_error(measured_ml[rows, k], true_ml[rows, k])
        for k, rows in enumerate(enough)
    )


def _volume_error(measured_ml: Floats, true_ml: Floats) -> tuple[float, float]:
    """5% and 95% quantile of (true − measured) / (measured + floor)."""
    if not len(measured_ml):
        return UNMEASURED_ERROR
    low, high = np.quantile((true_ml - measured_ml) / (measured_ml + VOLUME_FLOOR_ML), [0.05, 0.95])
    return float(min(low, 0.0)), float(max(high, 0.0))
