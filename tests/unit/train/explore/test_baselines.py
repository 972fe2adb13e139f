"""Answers that look at no picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.tables import NONE, UNKNOWN, bleed, table
from train.explore.baselines import baselines
from train.explore.part import Part
from train.explore.splits import divide


def _found(part: Part) -> Any:
    return baselines(part, divide(part, validation=0.5, seed=0)["by_patient"])


def _entropy(share: float) -> float:
    return float(-share * np.log(share) - (1 - share) * np.log(1 - share))


def test_the_constant_prior_weighs_any_twice() -> None:
    """Half of the slices have a subdural bleed, none another: 2 + 1 of 7 weights at the entropy of a half."""
    studies = {f"p{n}": [bleed("subdural") if n % 2 else NONE] * 2 for n in range(8)}
    found = _found(Part(name="one", table=table(studies)))
    loss = found["log_loss"]
    assert loss["own_prior"]["value"] == pytest.approx(3 / 7 * _entropy(0.5), abs=1e-4)
    assert loss["training_prior"]["value"] == pytest.approx(loss["own_prior"]["value"], abs=1e-4)
    assert (loss["slices"], found["no_bleed"]["value"], found["no_bleed_studies"]["value"]) == (16, 0.5, 0.5)
    assert found["no_to_all"]["value"] == pytest.approx(0.8)


def test_unknown_labels_are_no_negatives() -> None:
    """Slices of which nothing is known change nothing; the split that fails leaves out one figure alone."""
    part = Part(name="one", table=table({"a": [bleed("subdural"), NONE], "b": [UNKNOWN] * 5}))
    found = _found(part)
    assert found["log_loss"]["own_prior"]["value"] == pytest.approx(3 / 7 * _entropy(0.5), abs=1e-4)
    assert found["log_loss"]["training_prior"] is None
    assert found["no_bleed"]["value"] == 0.5


def test_open_subtypes_make_no_prior() -> None:
    """Where what bleeds leaves subtypes open, those that are known are nearly all without a bleed."""
    open_ = (True, None, None, None, None, None)
    found = _found(Part(name="one", table=table({"a": [open_, NONE], "b": [NONE] * 8, "c": [open_, NONE]})))
    assert found["log_loss"]["own_prior"] is None and found["log_loss"]["training_prior"] is None
    assert found["no_to_all"] is None
    assert found["no_bleed"]["value"] == pytest.approx(10 / 12)


def test_the_training_prior_is_judged_on_the_frozen_test_fold() -> None:
    """Calibration and patients without a fold count on neither side."""
    studies = {f"p{n}": [bleed("subdural") if n % 2 else NONE] * 2 for n in range(4)}
    studies |= {"calibration": [NONE] * 50, "new": [NONE] * 50}
    part = Part(name="one", table=table(studies))
    frozen = {"hash-p0": "train", "hash-p1": "train", "hash-p2": "test", "hash-p3": "test"}
    divided = divide(part, validation=0.5, seed=0, frozen=frozen | {"hash-calibration": "calibration"})
    found: Any = baselines(part, divided["by_patient"])
    assert found["log_loss"]["training_prior"]["value"] == pytest.approx(3 / 7 * _entropy(0.5), abs=1e-4)
    assert found["log_loss"]["training_prior"]["n"] == 2
