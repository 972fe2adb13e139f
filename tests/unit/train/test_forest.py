"""The forest on header fields: joined as published it knows nothing, joined by UID what there is to know."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ich_triage.errors import TrainingDataError
from train import forest, recipe
from train.metrics import auc
from train.recipe import ForestRecipe
from train.scored import Scored
from train.sources.source import SCANNED

PATIENTS, SLICES = 40, 20


def _table() -> pd.DataFrame:
    """Slices that bleed the more often the more brain they show; headers that say nothing else."""
    rng = np.random.default_rng(1)
    rows = PATIENTS * SLICES
    share = rng.random(rows) * 0.4
    patient = np.repeat(np.arange(PATIENTS), SLICES)
    table = pd.DataFrame({name: np.ones(rows) for name in forest.FEATURES})
    return table.assign(
        brain_share=share,
        thickness_mm=np.nan,
        BitsStored=rng.choice([12, 16], rows),
        SOPInstanceUID=[f"ID_{rng.integers(1 << 40):010x}" for _ in range(rows)],
        path=lambda table: table["SOPInstanceUID"] + ".dcm",
        frame=0,
        patient=[f"p{number}" for number in patient],
        any=pd.array(rng.random(rows) < 0.05 + 0.9 * (share > 0.2), dtype="boolean"),
        fold=np.where(patient < 30, "train", "test"),
    )


def _score(table: pd.DataFrame, *overrides: str) -> Scored:
    loaded = recipe.load("seed-rf", ["trees=20", *overrides])
    assert isinstance(loaded, ForestRecipe)
    return forest.score(loaded, table, table["fold"], train="train", test="test")


def _area(scored: Scored) -> float:
    found = auc(scored.probability[:, 0], scored.labels[:, 0], rounds=2)
    assert found
    return found.value


def test_the_published_join_hides_what_headers_say() -> None:
    """Features in file order beside labels in id order: by chance. By UID: the brain share is found."""
    table = _table()
    assert _area(_score(table)) > 0.85
    assert _area(_score(table, "joined=file_order")) == pytest.approx(0.5, abs=0.12)


def test_it_judges_the_test_fold_and_no_other() -> None:
    """A third fold is neither trained on nor asked; unknown labels are left out."""
    table = _table()
    table.loc[table["patient"] == "p39", "fold"] = "calibration"
    table.loc[table["patient"] == "p38", "any"] = pd.NA
    assert set(_score(table).patients.tolist()) == {f"p{number}" for number in range(30, 38)}


def test_the_order_of_the_rows_does_not_matter() -> None:
    """The same table shuffled gives the same answers, both ways."""
    table = _table()
    for overrides in ([], ["joined=file_order"]):
        one, other = _score(table, *overrides), _score(table.sample(frac=1, random_state=2), *overrides)
        np.testing.assert_array_equal(one.probability, other.probability)
        np.testing.assert_array_equal(one.labels, other.labels)


def test_it_sees_headers_and_brain_share_alone() -> None:
    """Nothing that says whose slice it is, where it lies in the data set, or what the label is."""
    headers = {field.name for field in SCANNED} | {"slice_distance_mm"}
    names = {"path", "patient", "frame", "synthetic", "repaired"}
    names |= {"SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"}
    assert set(forest.FEATURES) == headers - names


def test_one_class_cannot_be_learned() -> None:
    """Stops with the fold and the remedy."""
    table = _table().assign(any=pd.array([False] * PATIENTS * SLICES, dtype="boolean"))
    with pytest.raises(TrainingDataError, match="fold train has slices of one class alone"):
        _score(table)
