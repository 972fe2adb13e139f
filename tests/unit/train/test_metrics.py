"""Figures against values worked out by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binom, binomtest
from sklearn.metrics import average_precision_score, roc_auc_score

from ich_triage.model.manifest import Metric
from train.metrics import (
    auc,
    average_precision,
    bootstrap,
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


#: Ten patients, the scores of a study of each, and whether it bleeds.
_NAMES = np.array([f"p{number}" for number in range(10)])
_SCORE = np.random.default_rng(3).random(10)
_LABEL = np.arange(10) % 2 == 0


def _grouped(score: np.ndarray, label: np.ndarray, *, patients: np.ndarray | None) -> Metric | None:
    return grouped_auc(
        [np.array([x, 0.5]) for x in score], [np.array([x, False]) for x in label], patients=patients
    )


@pytest.mark.parametrize(
    "figure",
    [
        auc,
        average_precision,
        _grouped,
        lambda score, label, patients: mean(score, patients=patients),
    ],
)
@pytest.mark.risk("R-028")
def test_intervals_draw_whole_patients(figure: Callable[..., Metric | None]) -> None:
    """Each study four times, always the same patient's: no more is known, so interval and n stay."""
    one = figure(_SCORE, _LABEL, patients=_NAMES)
    four = figure(np.tile(_SCORE, 4), np.tile(_LABEL, 4), patients=np.tile(_NAMES, 4))
    assert one is not None and four is not None
    assert four.model_dump() == pytest.approx(one.model_dump())
    assert four.n == 10
    blind = figure(np.tile(_SCORE, 4), np.tile(_LABEL, 4), patients=None)
    assert blind is not None
    assert blind.n == 40
    assert blind.high - blind.low < 0.8 * (four.high - four.low)


def test_the_band_draws_whole_patients() -> None:
    """The same of the curve: its band stays."""
    grid = np.linspace(0, 1, 5)
    one = roc_band(_SCORE, _LABEL, grid, patients=_NAMES, rounds=50)
    four = roc_band(np.tile(_SCORE, 4), np.tile(_LABEL, 4), grid, patients=np.tile(_NAMES, 4), rounds=50)
    assert one is not None and four is not None
    np.testing.assert_allclose(np.array(four), np.array(one))


def test_patients_of_unequal_size_are_drawn_with_all_they_have() -> None:
    """Each draw holds whole patients, however their studies lie among the others'."""
    patients = np.array(["a", "b", "a", "", "c", "a", ""])
    sizes = {0: 3, 1: 1, 3: 1, 4: 1, 6: 1}
    drawn: list[np.ndarray] = []

    def of(index: np.ndarray) -> float:
        drawn.append(index)
        return float(len(index))

    found = bootstrap(of, 7, patients=patients, rounds=20)
    assert found is not None
    assert found.n == len(sizes)
    for index in drawn[1:]:
        counts = np.bincount(index, minlength=7)
        assert counts[0] == counts[2] == counts[5]
        assert sum(counts[first] for first in sizes) == len(sizes)


def test_studies_without_a_name_are_drawn_by_themselves() -> None:
    """Phantoms have no patient: their figures are those without names, to the last bit."""
    unnamed = np.full(10, "")
    assert auc(_SCORE, _LABEL, patients=unnamed) == auc(_SCORE, _LABEL)
    assert mean(_SCORE, patients=unnamed) == mean(_SCORE)


def test_studies_without_known_slices_do_not_count() -> None:
    """n is of what was measured."""
    scores, labels = [_SCORE, np.array([])], [_LABEL, np.array([], bool)]
    found = grouped_auc(scores, labels, patients=np.array(["a", "b"]))
    assert found is not None
    assert found.n == 1
