"""Kinds of stored pixels and their repair."""

from __future__ import annotations

from typing import Any

import pandas as pd

from tests.tables import NONE, bleed, table
from train.explore.part import Part
from train.explore.storage import storage


def test_groups_tell_bits_sign_intercepts_and_repairs() -> None:
    """Unsigned 12-bit slices of two intercepts are one group, signed ones with intercept 0 another."""
    unsigned = {"BitsStored": 12, "PixelRepresentation": 0}
    rows = [
        table({"a": [bleed("subdural"), NONE]}, **unsigned),
        table({"b": [NONE]}, **unsigned, RescaleIntercept=0.0, repaired=True),
        table({"c": [NONE]}, BitsStored=12, RescaleIntercept=0.0),
    ]
    found: Any = storage(Part(name="one", table=pd.concat(rows, ignore_index=True)))
    assert [(each["bits_stored"], each["pixel_representation"], each["slices"]) for each in found] == [
        (12, 0, 3),
        (12, 1, 1),
    ]
    assert (found[0]["repaired"], found[1]["repaired"]) == (1, 0)
    assert found[0]["labels"] == {"positive": 1, "negative": 2, "unknown": 0}
    assert found[0]["intercepts"] == {
        "listed": [
            {"intercept": -1024.0, "slices": 2, "repaired": 0},
            {"intercept": 0.0, "slices": 1, "repaired": 1},
        ],
        "others": 0,
    }


def test_rare_intercepts_are_counted_as_others() -> None:
    """Each of ten slices has an intercept of its own: the list stays short."""
    rows = table({"a": [NONE] * 10}).assign(RescaleIntercept=range(10))
    found: Any = storage(Part(name="one", table=rows))
    assert len(found[0]["intercepts"]["listed"]) == 8 and found[0]["intercepts"]["others"] == 2
