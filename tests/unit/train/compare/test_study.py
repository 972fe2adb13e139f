"""Each row is run both ways: the forest on the table, classifiers by whatever trains them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from train import forest
from train.compare.plan import Shortening, rows
from train.compare.results import Run
from train.compare.study import repeat
from train.recipe import SliceRecipe
from train.scored import Scored

PATIENTS, SLICES = 20, 10


def _table() -> pd.DataFrame:
    """Slices that bleed where they show brain."""
    share = np.tile(np.linspace(0, 0.4, SLICES), PATIENTS)
    table = pd.DataFrame({name: np.zeros(PATIENTS * SLICES) for name in forest.FEATURES})
    names = [f"ID_{number:03d}" for number in range(PATIENTS * SLICES)]
    return table.assign(
        brain_share=share,
        path=[f"{name}.dcm" for name in names],
        SOPInstanceUID=names,
        frame=0,
        patient=np.repeat([f"p{number}" for number in range(PATIENTS)], SLICES),
        any=pd.array(share > 0.2, dtype="boolean"),
    )


def _folds(table: pd.DataFrame) -> dict[str, pd.Series]:
    number = table.index.to_series()
    return {
        "patient": pd.Series(np.where(number < 150, "train", "test"), index=table.index),
        "slice": pd.Series(np.where(number % 4, "train", "test"), index=table.index),
    }


def test_rows_are_run_as_published_and_mended() -> None:
    """Recipes come shortened and split as each way says; the forest meets the folds of its split."""
    table, asked = _table(), list[tuple[str, SliceRecipe]]()

    def fit(recipe: SliceRecipe, name: str) -> Run:
        asked.append((name, recipe))
        scored = Scored(
            probability=np.full((4, 1), 0.5),
            labels=np.array([[True], [False]] * 2),
            patients=np.array(["a", "b"] * 2),
        )
        return Run(recipe=recipe, scored=scored, trained_slices=1, trained_patients=frozenset("a"))

    found = repeat(
        rows(["forest", "resnet18"]), table, folds=_folds(table), shortening=Shortening(size=64), fit=fit
    )
    grown, binary = found
    assert [(name, recipe.split, recipe.size) for name, recipe in asked] == [
        ("resnet18-slice", "slice", 64),
        ("resnet18-patient", "patient", 64),
    ]
    assert (binary.as_published.recipe, binary.mended.recipe) == (asked[0][1], asked[1][1])
    assert grown.as_published.leaked().value == 1
    assert grown.mended.leaked().value == 0
    assert (grown.mended.trained_slices, len(grown.mended.trained_patients)) == (150, 15)
    assert set(grown.mended.scored.patients.tolist()) == {f"p{number}" for number in range(15, 20)}
