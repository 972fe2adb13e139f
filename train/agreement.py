"""How far a measured mask or volume agrees with the true one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from ich_triage.model.manifest import VOLUME_FLOOR_ML, Metric

from . import metrics

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Measured minus true (Bland and Altman, Lancet 1986)."""

    #: mean difference
    bias: Metric
    #: lower limit of agreement: 1.96 standard deviations below the mean
    low: Metric
    #: upper limit of agreement
    high: Metric


def bland_altman(measured: Floats, true: Floats) -> Agreement | None:
    """Bias and limits of agreement of N pairs with their 95% intervals; None of fewer than two."""
    n = len(true)
    if n < 2:
        return None
    difference = measured - true
    centre, spread = float(difference.mean()), float(difference.std(ddof=1))
    reach = float(t.ppf(0.975, n - 1)) * spread / np.sqrt(n)

    def around(value: float, half: float) -> Metric:
        return Metric(value=value, low=value - half, high=value + half, n=n)

    # The limits' standard error is √3 times that of the mean (same paper, p. 310).
    return Agreement(
        bias=around(centre, reach),
        low=around(centre - 1.96 * spread, reach * np.sqrt(3)),
        high=around(centre + 1.96 * spread, reach * np.sqrt(3)),
    )


def coverage(measured: Floats, true: Floats, low: Floats, high: Floats) -> Metric | None:
    """Share of N true volumes within the stated intervals.

    `low` and `high` (N,) are the quantiles of `MaskRule.volume_error` that go with each.
    """
    spread = measured + VOLUME_FLOOR_ML
    within = (true >= measured + low * spread) & (true <= measured + high * spread)
    return metrics.proportion(int(within.sum()), len(within))


def dice(found: Floats, truth: Floats, weight: Floats) -> float:
    """2 Σ w·min(a, b) / Σ w·(a + b) of shares (Z, …) in 0..1, `weight` (Z,); NaN of nothing and nothing.

    Of masks of zeros and ones this is the Dice (1945) coefficient; of partly filled cells its upper bound,
    since what two masks fill of the same cell is taken to overlap.
    """
    axes = tuple(range(1, found.ndim))
    both = float((np.minimum(found, truth).sum(axis=axes) * weight).sum())
    each = float(((found + truth).sum(axis=axes) * weight).sum())
    return 2 * both / each if each else np.nan
