"""Figures against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, binomtest
from sklearn.metrics import average_precision_score, roc_auc_score

from train.metrics import (
    auc,
    average_precision,
    grouped_auc,
    mean,
    predictive_values,
    proportion,
    roc_band,
)


def test_clopper_pearson_of_all_hits() -> None:
    """30 of 30: the lower bound is 0.025 to the power of 1/30."""
    found = proportion(30, 30)
    assert found is not None
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(0.025 ** (1 / 30), abs=1e-6)
    assert proportion(0, 0) is None


def test_clopper_pearson_is_where_the_tails_hold_a_fortieth() -> None:
    """At the lower limit 7 or more of 9 have a chance of 2.5%, at the upper 7 or fewer."""
    found = proportion(7, 9)
    assert found is not None
    assert binom.sf(6, 9, found.low) == pytest.approx(0.025)
    assert binom.cdf(7, 9, found.high) == pytest.approx(0.025)


def test_auc_of_known_ranks() -> None:
    """Five of six pairs in order are 5/6, within an interval that holds it."""
    found = auc(np.array([0.1, 0.4, 0.35, 0.8, 0.9]), np.array([False, False, True, True, True]))
    assert found is not None
    assert found.value == pytest.approx(5 / 6)
    assert found.low <= found.value <= found.high
    assert auc(np.array([0.1, 0.2]), np.array([True, True])) is None


def test_grouped_auc_is_over_slices_of_all_studies() -> None:
    """The value is that of all slices together; the interval draws studies."""
    scores = [np.array([0.1, 0.9]), np.array([0.2, 0.8])]
    labels = [np.array([False, True]), np.array([False, True])]
    found = grouped_auc(scores, labels)
    assert found is not None
    assert (found.value, found.n) == (1, 2)


def test_mean_of_nothing_is_nothing() -> None:
    """No studies, no figure."""
    assert mean(np.array([])) is None
    found = mean(np.arange(5.0))
    assert found is not None
    assert found.value == 2


def test_auc_and_average_precision_are_those_of_scikit_learn() -> None:
    """Ties included, the fast formulas give what the library gives."""
    rng = np.random.default_rng(0)
    for decimals in (1, 6):
        score, label = rng.random(60).round(decimals), rng.random(60) < 0.4
        area, precision = auc(score, label, rounds=5), average_precision(score, label, rounds=5)
        assert area is not None and precision is not None
        assert area.value == pytest.approx(roc_auc_score(label, score))
        assert precision.value == pytest.approx(average_precision_score(label, score))
    assert average_precision(np.array([0.1, 0.2]), np.array([False, False])) is None


def test_predictive_values_by_bayes() -> None:
    """90% of 100 and 80% of 100 at 10%: PPV 0.09 / 0.27, NPV 0.72 / 0.73; limits from both rates' limits."""
    ppv, npv = predictive_values((90, 100), (80, 100), prevalence=0.10)
    assert ppv is not None and npv is not None
    assert ppv.value == pytest.approx(1 / 3)
    assert npv.value == pytest.approx(0.72 / 0.73)
    sure, clear = (binomtest(hits, 100).proportion_ci(0.95**0.5, method="exact") for hits in (90, 80))
    assert ppv.low == pytest.approx(0.1 * sure.low / (0.1 * sure.low + 0.9 * (1 - clear.low)))
    assert npv.high == pytest.approx(0.9 * clear.high / (0.9 * clear.high + 0.1 * (1 - sure.high)))
    assert ppv.n == 200


def test_predictive_values_where_nothing_can_be_said() -> None:
    """Without positive studies there is neither; where nothing was flagged there is no PPV."""
    assert predictive_values((0, 0), (8, 8), prevalence=0.1) == (None, None)
    ppv, npv = predictive_values((0, 8), (8, 8), prevalence=0.1)
    assert ppv is None
    assert npv is not None
    assert npv.value == pytest.approx(0.9)


def test_roc_band_holds_the_curve() -> None:
    """The step curve at known ranks, within its band; nothing without both classes."""
    score, label = np.array([0.9, 0.8, 0.7, 0.6, 0.5]), np.array([True, False, True, True, False])
    grid = np.array([0.0, 0.4, 0.5, 1.0])
    found = roc_band(score, label, grid, rounds=50)
    assert found is not None
    curve, low, high = found
    np.testing.assert_allclose(curve, [1 / 3, 1 / 3, 1, 1])
    assert (low <= curve).all() and (curve <= high).all()
    assert roc_band(score, np.ones(5, bool), grid) is None
