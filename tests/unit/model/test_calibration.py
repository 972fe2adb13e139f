"""Probabilities from logits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ich_triage.model.calibration import Platt, at_prevalence

logits = arrays(np.float64, (3, 6), elements=st.floats(-20, 20))


@given(logits)
def test_any_is_never_below_a_subtype(values: np.ndarray) -> None:
    """A study cannot be likelier to have a subdural bleed than a bleed."""
    found = Platt(scale=(0.5,) * 6, offset=(-1.0,) * 6, lapse=(0.3,) * 6).probabilities(values)
    assert (found[:, :1] >= found).all()
    assert ((found >= 0) & (found <= 1)).all()


def test_identity_is_the_logistic_function() -> None:
    """Without calibration, logit 0 is one half and the order of columns is kept."""
    found = Platt().probabilities(np.array([2.0, -30.0, 0.0, -30.0, -30.0, -30.0]))
    assert found[2] == 0.5
    assert found[0] == pytest.approx(0.8808, abs=1e-4)


def test_beside_a_plain_bleed_nothing_is_ruled_out_altogether() -> None:
    """A tenth of the way from nothing to the bleed; where there is none, and for `any` itself, no way."""
    lapsing = Platt(lapse=(0.0, *[0.1] * 5))
    plain = lapsing.probabilities(np.array([30.0, 30.0, -30.0, 0.0, -30.0, -30.0]))
    np.testing.assert_allclose(plain, [1, 1, 0.1, 0.55, 0.1, 0.1], atol=1e-9)
    assert lapsing.probabilities(np.full(6, -30.0)).max() < 1e-9
    descending = np.arange(0.0, -6.0, -1.0)
    moved = Platt(lapse=(0.5, *[0.0] * 5)).probabilities(descending)
    np.testing.assert_array_equal(moved, Platt().probabilities(descending))


def test_prevalence_moves_the_odds_by_the_ratio_of_priors() -> None:
    """Even odds at a prior of one half become the site's own prior; without a site nothing moves."""
    even = np.array([0.5])
    assert at_prevalence(even, 0.5, 0.1)[0] == pytest.approx(0.1)
    assert at_prevalence(even, 0.5, None)[0] == 0.5


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.floats(0.02, 0.9))
def test_prevalence_keeps_decisions(probability: float, threshold: float, site: float) -> None:
    """Correcting probability and threshold alike leaves a decision as it was."""
    moved = at_prevalence(np.array([probability, threshold]), 0.4, site)
    if abs(probability - threshold) > 1e-6:
        assert (moved[0] >= moved[1]) == (probability >= threshold)
