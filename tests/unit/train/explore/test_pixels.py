"""What is read of the sampled studies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ich_triage.domain.labels import LABELS
from train.explore.pixels import KINDS, UNREADABLE, look
from train.sources.config import Sources
from train.sources.labels import put_unknown


@pytest.fixture(autouse=True)
def _all_brain(rows: pd.DataFrame) -> None:
    assert (rows["brain_share"] > 0.2).all()


def test_examples_show_what_they_are_examples_of(rows: pd.DataFrame, sources: Sources) -> None:
    """So many of each kind that occurs, the bleed in its slice; none of what is unknown."""
    seen = look(rows, sources, examples=3, seed=0)
    kinds = {kind: [each for each in seen.examples if each.kind == kind] for kind in KINDS}
    assert {kind: len(shown) for kind, shown in kinds.items() if shown} == {"subdural": 3, "none": 3}
    assert all(each.number == 2 and each.hu.max() > 70 and each.labels[0] == 1 for each in kinds["subdural"])
    assert all(each.hu.max() < 70 and not each.labels.any() for each in kinds["none"])
    assert {each.source for each in seen.examples} == {"known"} and not seen.unread


def test_where_only_the_study_is_labelled_the_middle_slice_is_shown(
    rows: pd.DataFrame, sources: Sources
) -> None:
    """And it says that the labels are the study's."""
    of_studies = put_unknown(rows, to=LABELS)
    seen = look(of_studies, sources, examples=2, seed=0)
    bleeding = [each for each in seen.examples if each.kind == "subdural"]
    assert len(bleeding) == 2
    assert all(each.of_study and each.number == 2 and each.labels[0] == 1 for each in bleeding)


def test_every_kind_of_stored_pixels_is_sampled(rows: pd.DataFrame, sources: Sources) -> None:
    """Eight and sixteen bits, in HU; the same seed gives the same sample."""
    seen, again = (look(rows, sources, examples=1, seed=4) for _ in range(2))
    assert list(seen.pixels) == [(8, 0), (16, 0)]
    assert all(values.min() >= 0 and values.max() <= 80 for values in seen.pixels.values())
    for group, values in seen.pixels.items():
        np.testing.assert_array_equal(values, again.pixels[group])


def test_what_cannot_be_read_is_counted(rows: pd.DataFrame, sources: Sources, tmp_path: Path) -> None:
    """Files that are gone stop nothing; why is told without their names."""
    moved = [source.model_copy(update={"path": tmp_path}) for source in sources.sources]
    seen = look(rows, Sources.model_construct(sources=tuple(moved)), examples=1, seed=0)
    assert seen.unread == {UNREADABLE: seen.studies} and seen.studies > 3
    assert not seen.examples and not seen.pixels
