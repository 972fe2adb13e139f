"""The two splits and their leaks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ich_triage.errors import TrainingDataError
from tests.tables import NONE, bleed, table
from train import split
from train.explore.part import Part
from train.explore.splits import divide, read_frozen, splits

_BLEED = bleed("subdural")


@pytest.fixture
def part() -> Part:
    """Forty patients of six slices; every second one bleeds in two of them."""
    return Part(
        name="one", table=table({f"p{n}": [_BLEED if n % 2 else NONE] * 2 + [NONE] * 4 for n in range(40)})
    )


@pytest.fixture
def found(part: Part) -> Any:
    """Both splits."""
    return splits(part, divide(part, validation=0.2, seed=0))


def test_by_patient_nothing_leaks(found: Any) -> None:
    """Folds add up, and no validation slice has its patient in training."""
    folds, leak = found["by_patient"]["folds"], found["by_patient"]["leak"]
    assert (folds["train"]["patients"], folds["validation"]["patients"]) == (32, 8)
    assert folds["train"]["labels"]["subdural"]["positive"] == 32
    assert folds["validation"]["study_labels"]["subdural"]["positive"] == 4
    assert (leak["judged"], leak["leaked"], leak["patients"], leak["disjoint"]) == (48, 0, 0, True)
    assert folds["train"]["patients_by_source"] == {"one": 32}


def test_by_slice_it_leaks_and_says_how_much(found: Any) -> None:
    """As the published study split: nearly every validation slice has neighbours in training."""
    leak = found["by_slice"]["leak"]
    assert leak["judged"] == 48 and leak["leaked"] >= 46 and not leak["disjoint"]
    assert leak["patients"] == leak["studies"] > 20 and leak["slices"] == 0


def test_what_cannot_be_split_says_why() -> None:
    """One patient with a bleed cannot be on both sides; the report goes on."""
    part = Part(name="one", table=table({"a": [_BLEED], "b": [NONE], "c": [NONE]}))
    found: Any = splits(part, divide(part, validation=0.4, seed=0))
    assert "give more patients, of both kinds" in found["by_patient"]["impossible"]


def test_frozen_folds_are_those_of_training(part: Part, tmp_path: Path) -> None:
    """What training froze is told fold by fold, and leaks nothing; the split by slice stays as published."""
    frozen = tmp_path / "folds.csv"
    dealt = split.frozen(part.table, frozen, seed=0)
    found: Any = splits(part, divide(part, validation=0.2, seed=0, frozen=read_frozen(frozen)))
    folds = found["by_patient"]["folds"]
    assert {name: row["patients"] for name, row in folds.items()} == {
        "train": 28, "calibration": 4, "test": 8,
    }  # fmt: skip
    for name, row in folds.items():
        bleeds = part.table.loc[dealt == name, "subdural"]
        assert row["labels"]["subdural"]["positive"] == bleeds.sum() > 0
    assert found["by_patient"]["leak"]["leaked"] == 0 and found["by_patient"]["leak"]["disjoint"]
    assert found["by_patient"]["leak"]["judged"] == 6 * 12
    assert list(found["by_slice"]["folds"]) == ["train", "validation"]


def test_patients_that_came_later_have_no_fold(part: Part) -> None:
    """They count in no fold, leak nothing, and a source of them alone says so."""
    frozen = {f"hash-p{n}": "train" if n < 20 else "test" for n in range(39)}
    found: Any = splits(part, divide(part, validation=0.2, seed=0, frozen=frozen))["by_patient"]
    assert found["without_fold"] == 1
    assert found["leak"]["judged"] == 6 * 19
    new = splits(part, divide(part, validation=0.2, seed=0, frozen={"somebody": "test"}))["by_patient"]
    assert new == {
        "impossible": "none of its patients has a fold yet; the next run of training deals them out"
    }


def test_broken_folds_are_refused(tmp_path: Path) -> None:
    """No file is none; one without its columns, or with a fold that training has not, names the remedy."""
    path = tmp_path / "folds.csv"
    assert read_frozen(path) is None
    for text in ("", "who,where\na,b\n", "patient,fold\na,somewhere\n", "patient,fold\na,\n"):
        path.write_text(text)
        with pytest.raises(TrainingDataError, match="bring it back from a backup"):
            read_frozen(path)
