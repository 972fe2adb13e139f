"""Numbers and lengths."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tables import NONE, table
from train.explore.geometry import geometry
from train.explore.part import Part


@pytest.fixture
def found() -> Any:
    """Studies of 1 to 40 slices whose headers state no thickness."""
    part = Part(name="one", table=table({f"p{n}": [NONE] * n for n in range(1, 41)}))
    return geometry(part)


def test_every_study_is_in_one_bar(found: Any) -> None:
    """Also those beyond the outermost quantiles; whole numbers lie within their bars."""
    slices = found["distributions"]["slices"]
    assert (slices["known"], slices["unknown"]) == (40, 0)
    assert (slices["quantiles"]["least"], slices["quantiles"]["most"]) == (1, 40)
    assert sum(slices["histogram"]["counts"]) == 40
    assert slices["histogram"]["edges"][0] == 0.5


def test_what_is_not_stated_is_counted_as_that(found: Any) -> None:
    """A thickness that no header states has no quantiles, and one length of all has one bar."""
    lengths = found["distributions"]
    assert lengths["thickness_mm"] == {"known": 0, "unknown": 40, "quantiles": None, "histogram": None}
    assert lengths["pixel_mm"]["histogram"]["counts"] == [40]
    assert found["sizes"] == {"512 × 512": 40}
