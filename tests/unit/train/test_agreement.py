"""Masks and volumes against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ich_triage.model.manifest import VOLUME_FLOOR_ML
from train.agreement import bland_altman, coverage, dice


def test_bland_altman_by_hand() -> None:
    """Differences 1, 2, 3: bias 2, standard deviation 1, limits 2 ± 1.96; t(2) is 4.303."""
    found = bland_altman(np.array([2.0, 4.0, 6.0]), np.array([1.0, 2.0, 3.0]))
    assert found is not None
    assert (found.bias.value, found.bias.n) == (2, 3)
    assert found.low.value == pytest.approx(2 - 1.96)
    assert found.high.value == pytest.approx(2 + 1.96)
    assert found.bias.high == pytest.approx(2 + 4.303 / np.sqrt(3), abs=1e-3)
    assert found.high.high == pytest.approx(2 + 1.96 + 4.303, abs=1e-3)


def test_one_pair_has_no_limits() -> None:
    """A spread takes two."""
    assert bland_altman(np.array([1.0]), np.array([2.0])) is None


def test_dice_of_whole_cells_is_the_coefficient() -> None:
    """Two of three cells each, one shared: 2 · 1 / 4; a slice twice as thick counts twice."""
    found, truth = np.array([[1.0, 1, 0], [1, 0, 0]]), np.array([[0.0, 1, 1], [1, 0, 0]])
    assert dice(found[:1], truth[:1], np.array([5.0])) == pytest.approx(0.5)
    assert dice(found, truth, np.array([5.0, 10.0])) == pytest.approx((2 * 5 + 2 * 10) / (4 * 5 + 2 * 10))
    assert np.isnan(dice(np.zeros((1, 3)), np.zeros((1, 3)), np.array([5.0])))


def test_dice_of_partly_filled_cells() -> None:
    """A cell half filled by both overlaps in that half."""
    assert dice(np.array([[0.5]]), np.array([[0.5]]), np.array([1.0])) == 1
    assert dice(np.array([[1.0]]), np.array([[0.5]]), np.array([1.0])) == pytest.approx(2 / 3)


def test_coverage_counts_volumes_within_their_intervals() -> None:
    """Of 10 mL ± half of (10 + floor): 15 lies within, 16 does not."""
    measured, true = np.array([10.0, 10.0]), np.array([15.0, 16.0])
    found = coverage(measured, true, np.array([-0.5, -0.5]), np.array([0.5, 0.5]))
    assert VOLUME_FLOOR_ML < 1
    assert found is not None
    assert (found.value, found.n) == (0.5, 2)
