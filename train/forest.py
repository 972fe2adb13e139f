"""The published study's random forest on header fields, which sees no picture.

Headers should say nothing about a bleed. What there is to find is where in the head a slice lies and how much
brain it shows; the study found not even that, for it put features and labels together in different orders.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from ich_triage.domain.labels import LABELS
from ich_triage.errors import TrainingDataError

from .recipe import ForestRecipe
from .scored import Scored

#: What the forest sees: what headers state, and the brain share. Never whose slice it is, nor its name.
FEATURES = (
    "BitsStored",
    "BitsAllocated",
    "PixelRepresentation",
    "RescaleIntercept",
    "RescaleSlope",
    "Rows",
    "Columns",
    "row_spacing_mm",
    "column_spacing_mm",
    "thickness_mm",
    "slice_distance_mm",
    "position_mm",
    "brain_share",
)
_ANY = LABELS[0]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Joined:
    """Features beside labels, row by row, rightly or not."""

    #: (N, F), NaN where a header is silent
    features: NDArray[np.float64]
    #: (N,)
    labels: NDArray[np.bool_]
    #: of the features, (N,)
    patients: NDArray[np.str_]
    #: fold of the features, (N,)
    folds: NDArray[np.str_]


def score(recipe: ForestRecipe, table: pd.DataFrame, folds: pd.Series, *, train: str, test: str) -> Scored:
    """Grow the forest on the fold `train` and ask it about the fold `test`: is there any bleed, (N, 1).

    `table` is the metadata table, `folds` the fold of each of its rows. Slices whose label is unknown are
    left out. Raises TrainingDataError where the fold `train` has one class alone.
    """
    joined = _join(table, folds, in_file_order=recipe.joined == "file_order")
    learned, asked = joined.folds == train, joined.folds == test
    if len(np.unique(joined.labels[learned])) < 2:
        raise TrainingDataError(
            f"fold {train} has slices of one class alone: a forest learns nothing from it; give it a larger "
            "share, another seed, or more patients"
        )
    forest = RandomForestClassifier(recipe.trees, random_state=recipe.seed)
    forest.fit(joined.features[learned], joined.labels[learned])
    return Scored(
        probability=forest.predict_proba(joined.features[asked])[:, 1:],
        labels=joined.labels[asked, None],
        patients=joined.patients[asked],
    )


def _join(table: pd.DataFrame, folds: pd.Series, *, in_file_order: bool) -> _Joined:
    """Known slices in the order of their UIDs; with the features of others where `in_file_order`."""
    known = table[table[_ANY].notna()].sort_values(["SOPInstanceUID", "frame"])
    seen = known.iloc[_listed(known["path"])] if in_file_order else known
    features = seen[list(FEATURES)].astype("float64").to_numpy()
    stated = ~np.isnan(features).all(axis=0)
    return _Joined(
        features=features[:, stated],
        labels=known[_ANY].to_numpy(dtype=bool),
        patients=seen["patient"].to_numpy(dtype=str),
        folds=folds.loc[seen.index].to_numpy(dtype=str),
    )


def _listed(paths: Sequence[str]) -> NDArray[np.int64]:
    """The order in which a folder lists its files: as good as random, and the same each time.

    File systems keep names by their hash, each with a secret of its own; this one needs none.
    """
    return np.argsort([hashlib.sha256(path.encode()).hexdigest() for path in paths], kind="stable")
