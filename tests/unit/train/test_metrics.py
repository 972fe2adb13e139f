"""Figures against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from train.metrics import auc, grouped_auc, mean, proportion


def test_clopper_pearson_of_all_hits() -> None:
    """30 of 30: the lower bound is 0.025 to the power of 1/30."""
    found = proportion(30, 30)
    assert found is not None
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(0.025 ** (1 / 30), abs=1e-6)
    assert proportion(0, 0) is None


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
