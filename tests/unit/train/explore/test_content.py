"""The report as one value."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from train.explore.content import Material, content
from train.explore.part import TOGETHER
from train.explore.pixels import Look
from train.freqhist import FrequencyBins
from train.sources.config import Sources

_PROBLEMS = pd.DataFrame({"source": ["known", "silent"], "kind": ["not_ct", "not_ct"], "count": [2, 3]})


def _told(rows: pd.DataFrame, sources: Sources, bins: FrequencyBins | None = None) -> Any:
    pixels = {(8, 0): np.linspace(0, 80, 500, dtype=np.float32)}
    return content(
        Material(
            sources=sources, table=rows, problems=_PROBLEMS, look=Look(pixels=pixels), bins=bins,
            validation=0.2, seed=0,
        )
    )  # fmt: skip


def test_it_counts_each_source_and_all_together(rows: pd.DataFrame, sources: Sources) -> None:
    """Names, problems and slices; what one source alone knows is unknown of the other."""
    told = _told(rows, sources)
    assert [part["name"] for part in told["parts"]] == ["known", "silent", TOGETHER]
    assert [part["problems"] for part in told["parts"]] == [{"not_ct": 2}, {"not_ct": 3}, {"not_ct": 5}]
    known, silent, both = (part["data"]["labels"] for part in told["parts"])
    assert known == {"positive": 5, "negative": 25, "unknown": 0}
    assert silent == {"positive": 0, "negative": 0, "unknown": 6}
    assert both == {"positive": 5, "negative": 25, "unknown": 6}


def test_it_is_json_and_names_no_patient(rows: pd.DataFrame, sources: Sources) -> None:
    """Neither hashes nor UIDs nor files."""
    text = json.dumps(_told(rows, sources), allow_nan=False)
    for column in ("patient", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "path"):
        assert not any(value in text for value in rows[column].unique())


@pytest.mark.parametrize("synthetic", [False, True])
def test_synthetic_slices_stamp_it(rows: pd.DataFrame, sources: Sources, synthetic: bool) -> None:
    """One is enough."""
    rows.loc[0, "synthetic"] = synthetic
    assert bool(_told(rows, sources)["stamp"]) is synthetic


def test_pixels_that_the_bins_were_not_drawn_from_are_named(rows: pd.DataFrame, sources: Sources) -> None:
    """Frozen bins stay, whatever data come later; the report says which they do not know."""
    bins = FrequencyBins.draw({(8, 0): np.arange(100, dtype=np.float32)}, seed=0)
    found = _told(rows, sources, bins)["frequency"]
    assert found["not_sampled"] == [{"bits_stored": 16, "pixel_representation": 0}]
    assert sum(found["histogram"]["groups"][0]["share"]) == pytest.approx(1)
