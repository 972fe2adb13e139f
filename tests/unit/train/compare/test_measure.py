"""Figures of slices: right where they can be counted by hand, with intervals that know of patients."""

from __future__ import annotations

import numpy as np
import pytest

from ich_triage.model.manifest import Metric
from train.compare import measure
from train.metrics import proportion
from train.scored import Scored


def _scored(probability: np.ndarray, labels: np.ndarray, *, slices: int = 10) -> Scored:
    patients = np.array([f"p{number // slices}" for number in range(len(labels))])
    return Scored(probability=probability, labels=labels, patients=patients)


def test_figures_and_baselines_by_hand() -> None:
    """Four slices, one false alarm: three of four right, which saying no to all has, too."""
    scored = _scored(np.array([[0.9], [0.7], [0.1], [0.2]]), np.array([[True], [False], [False], [False]]))
    figures = measure.figures(scored)
    assert figures["accuracy"].value == measure.baselines(scored)["accuracy"] == 0.75
    assert figures["auc"].value == figures["sensitivity"].value == 1
    assert figures["specificity"].value == pytest.approx(2 / 3)
    assert measure.baselines(scored)["sensitivity"] == measure.baselines(scored)["specificity"] == 0.5


def test_the_floor_of_one_label_is_the_commoner_answer_of_five_it_is_no() -> None:
    """As published: 0.725 for five labels of which 1.375 are there in the mean."""
    assert measure.floor(np.array([[True], [True], [False]])) == pytest.approx(2 / 3)
    labels = np.zeros((8, 5), bool)
    labels.flat[:11] = True
    assert measure.floor(labels) == pytest.approx(0.725)


def test_an_interval_is_as_wide_as_patients_differ() -> None:
    """Patients of whom all or none is right: far wider than slices alone would have it; n counts patients."""
    hit = np.repeat(np.arange(20) % 2 == 0, 10)[:, None]
    found = measure.share(hit, np.ones_like(hit), np.repeat(np.arange(20), 10).astype(str))
    exact = proportion(100, 200)
    assert found.n == 20
    assert found.high - found.low > 2 * (exact.high - exact.low)


def test_an_interval_has_a_width_where_all_are_right() -> None:
    """A bootstrap alone would claim certainty."""
    hit = np.ones((30, 1), bool)
    found = measure.share(hit, hit, np.repeat(np.arange(3), 10).astype(str))
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(proportion(30, 30).low)
    assert measure.share(hit, ~hit, np.repeat(np.arange(3), 10).astype(str)) is None


def test_area_of_several_labels_is_their_mean() -> None:
    """One label told perfectly, one upside down, one that never occurs."""
    rng = np.random.default_rng(0)
    labels = np.column_stack([rng.random((40, 2)) < 0.5, np.zeros(40, bool)])
    probability = np.column_stack([labels[:, 0] * 0.8, 0.9 - labels[:, 1] * 0.8, rng.random(40)])
    order = rng.permutation(40)
    scored = _scored(probability[order], labels[order])
    assert measure.auc(scored).value == pytest.approx(0.5)
    assert measure.auc(scored.column(0)).value == 1
    assert measure.auc(scored.column(2)) is None


def test_nobody_is_decided_at_a_point_of_their_own() -> None:
    """The point suits the scores where 0.5 does not; a label that one patient alone has keeps 0.5."""
    labels = np.tile([[True], [False]], (40, 1))
    scored = _scored(np.where(labels, 0.3, 0.1), labels)
    assert measure.figures(scored)["sensitivity"].value == 0
    np.testing.assert_array_equal(measure.at_chosen_points(scored), labels)
    rare = np.zeros((40, 1), bool)
    rare[0] = True
    decided = measure.at_chosen_points(_scored(np.where(rare, 0.3, 0.1), rare))
    assert not decided[0]


def test_difference_adds_the_squares() -> None:
    """Reaches of 0.03 and 0.04 make one of 0.05; nothing beside nothing is nothing."""
    one = Metric(value=0.9, low=0.87, high=0.93, n=50)
    other = Metric(value=0.8, low=0.76, high=0.84, n=20)
    found = measure.difference(one, other)
    assert (found.value, found.low, found.high) == pytest.approx((0.1, 0.05, 0.15))
    assert found.n == 20
    assert measure.difference(one, None) is None
