"""Brain share and bleeds: bins and cuts that can be counted by hand."""

from __future__ import annotations

from itertools import pairwise

import pandas as pd
import pytest

from train.compare.brain_share import LIMITS, bins, cuts


def _table() -> pd.DataFrame:
    """Ten slices of two patients; one label is unknown."""
    return pd.DataFrame(
        {
            "patient": ["a"] * 5 + ["b"] * 5,
            "brain_share": [0.0, 0.01, 0.02, 0.15, 0.25, 0.3, 0.35, 0.4, 0.01, 0.5],
            "any": pd.array([0, 0, 0, 1, 0, 1, 1, 0, 1, None], dtype="boolean"),
        }
    )


def test_every_known_slice_is_in_one_bin() -> None:
    """A limit belongs to the bin above it; a bin without slices has no share."""
    found = bins(_table())
    assert [(each.low, each.high) for each in found] == list(pairwise(LIMITS))
    assert [each.slices for each in found] == [3, 1, 0, 1, 1, 3]
    assert [each.positive and each.positive.value for each in found] == pytest.approx(
        [1 / 3, 0, None, 1, 0, 2 / 3]
    )


def test_what_a_cut_discards() -> None:
    """At 20% five of nine slices and two of four bleeds, at 2% three and one."""
    at_20, at_2 = cuts(_table())
    assert (at_20.least, at_2.least) == (0.2, 0.02)
    assert (at_20.slices.value, at_20.positive.value) == pytest.approx((5 / 9, 2 / 4))
    assert (at_2.slices.value, at_2.positive.value) == pytest.approx((3 / 9, 1 / 4))
