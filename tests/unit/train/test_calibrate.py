"""Calibration recovers what is known, and stays finite where little is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.metrics import roc_auc_score

from ich_triage.model.manifest import VOLUME_FLOOR_ML
from train.calibrate import (
    balanced_threshold,
    fit_platt,
    threshold_for_sensitivity,
    volume_errors,
)


def test_platt_recovers_scale_and_offset() -> None:
    """Labels drawn from 0.5 · logit − 1 give that map back."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 4, (4000, 1))
    labels = rng.random((4000, 1)) < expit(0.5 * logits - 1)
    found = fit_platt(logits, labels)
    assert found.scale[0] == pytest.approx(0.5, abs=0.05)
    assert found.offset[0] == pytest.approx(-1, abs=0.15)


def test_how_far_a_network_lapses_beside_a_plain_bleed_is_found() -> None:
    """One that overlooks a fifth of what 60% of bleeding studies have, and then rules it out more surely than
    where nothing bleeds: 0.12 of the 0.52 that it does not see it in. Order is mended, too.
    """
    rng = np.random.default_rng(0)
    bleeds = rng.random(4000) < 0.5
    there = bleeds & (rng.random(4000) < 0.6)
    seen = there & (rng.random(4000) < 0.8)
    odds = rng.normal(np.where(seen, 4.0, np.where(bleeds, -8.0, -4.0)), 1.0)
    logits = np.stack([rng.normal(np.where(bleeds, 5.0, -5.0), 1.0), odds], axis=1)
    found = fit_platt(logits, np.stack([bleeds, there], axis=1))
    assert found.lapse[:2] == pytest.approx((0, 0.12 / 0.52), abs=0.03)
    probability = found.probabilities(np.pad(logits, ((0, 0), (0, 4)), constant_values=-30.0))[:, 1]
    assert roc_auc_score(there, odds) < 0.85
    assert roc_auc_score(there, probability) > 0.95


@pytest.mark.parametrize("labels", [np.zeros((20, 1), bool), np.arange(20)[:, None] >= 10])
def test_platt_stays_finite(labels: np.ndarray) -> None:
    """No positives at all, or perfectly separated ones, do not send the parameters to infinity."""
    found = fit_platt(np.linspace(-5, 5, 20)[:, None], labels)
    assert np.isfinite([*found.scale, *found.offset]).all()
    assert found.scale[0] > 0


@pytest.mark.risk("R-011")
def test_thresholds_keep_their_promise() -> None:
    """The high-sensitivity point flags that share of positives; the balanced one parts what can be parted."""
    probability = np.array([0.1, 0.2, 0.3, 0.6, 0.7, 0.9])
    label = np.array([False, False, True, False, True, True])
    least = threshold_for_sensitivity(probability, label, 1.0)
    assert (probability[label] >= least).all()
    assert 0.2 < least < 0.3
    separable = np.array([False, False, False, True, True, True])
    assert 0.3 < balanced_threshold(probability, separable) < 0.6


def test_the_balanced_threshold_lies_where_both_kinds_are_as_dense() -> None:
    """Normal log odds about −2 and 2 cross at 0; it varies less than what is best for studies as drawn."""
    errors = {"smoothed": [], "empirical": []}  # type: dict[str, list[float]]
    for seed in range(40):
        rng = np.random.default_rng(seed)
        label = rng.random(300) < 0.45
        odds = rng.normal(np.where(label, 2.0, -2.0), 1.5)
        errors["smoothed"].append(logit(balanced_threshold(expit(odds), label)))
        candidates = np.sort(odds)
        rates = [(odds[label] >= at).mean() + (odds[~label] < at).mean() for at in candidates]
        errors["empirical"].append(candidates[int(np.argmax(rates))])
    assert abs(np.mean(errors["smoothed"])) < 0.1
    assert np.std(errors["smoothed"]) < 0.75 * np.std(errors["empirical"])


@pytest.mark.parametrize("n", [1, 2, 30])
def test_a_threshold_is_found_of_studies_that_all_say_the_same(n: int) -> None:
    """Between the two kinds, however few; certain ones, too."""
    probability, label = np.repeat([0.0, 1.0], n), np.repeat([False, True], n)
    assert 0.1 < balanced_threshold(probability, label) < 0.9


def test_volume_errors_cover_nine_in_ten_of_each_subtype() -> None:
    """Each subtype has the quantiles of its own errors; one that is too rare those of all together."""
    rng = np.random.default_rng(0)
    true = rng.lognormal(1, 1, (400, 3))
    measured = true * np.array([1.1, 0.3, 0.5])
    seen = np.ones((400, 3), bool)
    seen[5:, 2] = False
    exact, small, rare = volume_errors(measured, true, seen)
    error = (true[:, 1] - measured[:, 1]) / (measured[:, 1] + VOLUME_FLOOR_ML)
    assert np.mean((error >= small[0]) & (error <= small[1])) >= 0.9
    assert exact[0] < 0 == exact[1]
    assert small[1] > 1
    assert rare[0] == pytest.approx(exact[0], abs=0.02)
    assert rare[1] > 1
    assert volume_errors(measured, true, ~seen & False) == ((-1, 1),) * 3
