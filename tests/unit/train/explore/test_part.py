"""Rows of the table as the exploration counts them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tests.tables import NONE, UNKNOWN, bleed, table
from train.explore.part import TOGETHER, Part, parts


@pytest.fixture
def part() -> Part:
    """Three patients: one bleeds in half of the slices, one nowhere, of one nothing is known."""
    return Part(
        name="one",
        table=table({"a": [bleed("subdural"), NONE] * 2, "b": [NONE] * 4, "c": [UNKNOWN] * 4}),
    )


def test_an_unknown_label_counts_neither_for_nor_against(part: Part) -> None:
    """It stands in a count of its own, and shares are of what is known."""
    assert part.slices.counts("any") == {"positive": 2, "negative": 6, "unknown": 4}
    assert part.studies.counts("any") == {"positive": 1, "negative": 1, "unknown": 1}
    share = part.slices.share("any")
    assert isinstance(share, dict) and share["value"] == 0.25


def test_intervals_draw_whole_patients(part: Part) -> None:
    """Of two patients whose slices are alike the draws are none, half and all: n is 2, not 8."""
    metric = part.slices.mean(part.slices.positive("any"), part.slices.known("any"))
    assert metric and (metric.low, metric.high, metric.n) == (0.0, 0.5, 2)


def test_a_share_of_nothing_has_an_upper_limit(part: Part) -> None:
    """That none of two patients has an epidural bleed does not say that no one has."""
    share = part.slices.share("epidural")
    assert isinstance(share, dict) and (share["value"], share["low"], share["n"]) == (0, 0, 2)
    assert share["high"] == pytest.approx(1 - 0.025**0.5)
    assert part.slices.share("any", np.zeros(12, dtype=bool)) is None


def test_studies_and_their_slices_agree(part: Part) -> None:
    """The first row of each study stands for it, whatever order the rows are in."""
    shuffled = Part(name="one", table=part.table.sample(frac=1, random_state=1).reset_index(drop=True))
    assert shuffled.study_rows["slices"].to_list() == [4, 4, 4]
    numbers = pd.Series(shuffled.study_number)
    named = numbers.map(dict(enumerate(shuffled.study_rows["StudyInstanceUID"])))
    assert named.to_list() == shuffled.table["StudyInstanceUID"].to_list()


def test_several_sources_are_counted_apart_and_together(part: Part) -> None:
    """A single source is not counted twice."""
    assert [each.name for each in parts(part.table)] == ["one"]
    both = pd.concat([part.table, part.table.assign(source="two")], ignore_index=True)
    found = parts(both)
    assert [(each.name, len(each.table)) for each in found] == [("one", 12), ("two", 12), (TOGETHER, 24)]
    assert len(found[-1].study_rows) == 6
