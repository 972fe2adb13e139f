"""Brain share: rates by bin and the price of a cut."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tables import NONE, UNKNOWN, bleed, table
from train.explore.brain import brain
from train.explore.part import Part

_BLEED = bleed("subdural")


def _found(slices: list, shares: list[float]) -> Any:
    return brain(Part(name="one", table=table({"a": slices}).assign(brain_share=shares)))


def test_rates_are_of_what_is_known_in_each_bin() -> None:
    """An edge belongs to the bin that it begins, so that a cut drops whole bins."""
    found = _found([NONE, _BLEED, NONE, _BLEED, UNKNOWN], [0.0, 0.02, 0.03, 0.2, 0.2])
    rates = [row["rate"] and row["rate"]["value"] for row in found["bins"]]
    assert rates == [0, 0.5, None, None, 1, None]
    assert [row["slices"] for row in found["bins"]] == [1, 2, 0, 0, 2, 0]
    assert found["bins"][4]["unknown"] == 1
    histogram = found["histogram"]
    assert [sum(histogram[name]) for name in ("positive", "negative", "unknown")] == [2, 2, 1]


def test_a_cut_says_what_is_lost() -> None:
    """At 20% two of four slices go, one of two bleeds, and no study altogether."""
    found = _found([NONE, _BLEED, NONE, _BLEED], [0.01, 0.1, 0.25, 0.25])
    two, twenty = found["cuts"]
    assert (two["slices_lost"], two["positives_lost"]) == (1, 0)
    assert (twenty["slices_lost"], twenty["positives_lost"]) == (2, 1)
    assert twenty["share_of_positives"]["value"] == 0.5
    assert (twenty["studies_lost"], twenty["bleeding_studies_without_bleed"]) == (0, 0)
    at = found["curve"]["least"].index(pytest.approx(0.2))
    assert found["curve"]["slices"][at] == 0.5 and found["curve"]["positives"][at] == 0.5
    all_lost = _found([_BLEED], [0.1])["cuts"][1]
    assert (all_lost["studies_lost"], all_lost["bleeding_studies_without_bleed"]) == (1, 1)
    assert all_lost["rate_after"] is None


def test_nothing_is_said_of_bleeds_that_nobody_knows_of() -> None:
    """Zero bleeds lost would look like a cut that costs nothing."""
    found = _found([UNKNOWN, UNKNOWN], [0.01, 0.3])
    assert found["curve"]["positives"] is None
    assert found["cuts"][0]["positives_lost"] is None
    assert found["cuts"][0]["bleeding_studies_without_bleed"] is None
