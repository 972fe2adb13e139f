"""Calibration figures against values worked out by hand and by scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from train.reliability import bins, brier, ece_by_chance, expected_calibration_error, measure, slope


def test_expected_calibration_error_by_hand() -> None:
    """Two in one bin (mean 0.15, share 0.5), one at 0.95 that is positive: (2 · 0.35 + 0.05) / 3."""
    probability, label = np.array([0.12, 0.18, 0.95]), np.array([True, False, True])
    assert expected_calibration_error(probability, label) == pytest.approx((2 * 0.35 + 0.05) / 3)


def test_certainty_has_a_bin() -> None:
    """A probability of exactly 1 lies in the last bin."""
    found = bins(np.array([1.0, 0.0]), np.array([True, False]))
    assert [each.predicted for each in found] == [0, 1]
    assert [each.observed.value for each in found] == [0, 1]


def test_brier_and_slope_are_those_of_scikit_learn() -> None:
    """The mean squared error, and the coefficient of an unpenalised regression on log odds."""
    rng = np.random.default_rng(1)
    probability = rng.random(400)
    label = rng.random(400) < expit(0.6 * logit(probability) + 0.2)
    fitted = LogisticRegression(C=1e9).fit(logit(probability)[:, None], label)
    assert brier(probability, label) == pytest.approx(brier_score_loss(label, probability))
    assert slope(probability, label) == pytest.approx(fitted.coef_[0, 0], rel=1e-3)


@pytest.mark.parametrize("label", [[False, False, True, True], [False] * 4])
def test_slope_of_what_one_threshold_parts_is_unknown(label: list[bool]) -> None:
    """Where the best slope is infinite none is told."""
    assert np.isnan(slope(np.array([0.1, 0.2, 0.8, 0.9]), np.array(label)))


def test_few_studies_look_miscalibrated_by_chance() -> None:
    """The error that chance alone makes shrinks with the number of studies."""
    rng = np.random.default_rng(2)
    assert ece_by_chance(rng.random(4000)) < 0.03 < 0.1 < ece_by_chance(rng.random(20))


def test_intervals_draw_studies() -> None:
    """n counts studies, while every slice counts for the figure."""
    slices = [np.array([0.2, 0.9]), np.array([0.1, 0.4, 0.6])]
    labels = [np.array([False, True]), np.array([False, False, True])]
    found = measure(slices, labels)
    assert found.brier is not None
    assert found.brier.n == 2
    assert found.brier.value == pytest.approx(np.mean([0.04, 0.01, 0.01, 0.16, 0.16]))
    assert found.brier.low <= found.brier.value <= found.brier.high


def test_intervals_draw_patients_where_they_are_named() -> None:
    """Each study twice, the same patient's: figures, intervals and n stay."""
    rng = np.random.default_rng(4)
    probability = [rng.random(3) for _ in range(8)]
    label = [rng.random(3) < each for each in probability]
    names = np.array([f"p{number}" for number in range(8)])
    one = measure(probability, label, patients=names)
    two = measure(probability * 2, label * 2, patients=np.tile(names, 2))
    for name in ("brier", "slope", "ece"):
        assert getattr(two, name).model_dump() == pytest.approx(getattr(one, name).model_dump())
    assert two.brier is not None
    assert two.brier.n == 8
