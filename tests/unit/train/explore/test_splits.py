"""The two splits and their leaks."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tables import NONE, bleed, table
from train.explore.part import Part
from train.explore.splits import divide, splits

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
    assert "another seed, or more patients" in found["by_patient"]["impossible"]
