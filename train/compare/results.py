"""What the runs of the plan's rows gave, before it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ich_triage.domain.labels import LABELS
from ich_triage.model.manifest import Metric

from .. import metrics
from ..explore.brain import bins, cuts
from ..explore.part import TOGETHER, Json, Part
from ..recipe import ForestRecipe, SliceRecipe
from ..scored import Scored
from .plan import Row


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """One recipe, trained, and what it says of the slices kept back."""

    #: as it was trained
    recipe: ForestRecipe | SliceRecipe
    #: its answers
    scored: Scored
    #: slices that it was trained on
    trained_slices: int
    #: patients that it was trained on
    trained_patients: frozenset[str]
    #: whether its body started from pretrained weights; None where there is no body
    pretrained: bool | None = None

    def leaked(self) -> Metric | None:
        """Share of the scored slices whose patient was trained on (Clopper-Pearson, n slices)."""
        seen = np.isin(self.scored.patients, sorted(self.trained_patients))
        return metrics.proportion(int(seen.sum()), len(seen))


@dataclass(frozen=True, kw_only=True, eq=False)
class Result:
    """One row of the plan, run both ways."""

    #: the row
    row: Row
    #: by slice and whatever else was wrong
    as_published: Run
    #: by patient
    mended: Run


@dataclass(frozen=True, kw_only=True)
class Data:
    """What the rows were run on."""

    #: names of the sources
    sources: tuple[str, ...]
    #: how many of the slices were drawn, not scanned
    drawn: int
    #: slices whose label `any` is known
    slices: int
    #: patients of these
    patients: int
    #: how many of the slices have a bleed
    positive: int
    #: how often a slice with so much brain has a bleed, as the exploration tells it
    bins: Sequence[Mapping[str, Json]]
    #: what cutting by brain share costs, likewise
    cuts: Sequence[Mapping[str, Json]]

    @property
    def synthetic(self) -> bool:
        """Whether any slice was drawn, not scanned."""
        return self.drawn > 0

    @classmethod
    def of(cls, table: pd.DataFrame) -> Data:
        """Of the metadata table."""
        known = table[table[LABELS[0]].notna()]
        part = Part(name=TOGETHER, table=known)
        return cls(
            sources=tuple(sorted(known["source"].unique())),
            drawn=int(known["synthetic"].sum()),
            slices=len(known),
            patients=known["patient"].nunique(),
            positive=int(known[LABELS[0]].sum()),
            bins=bins(part),
            cuts=cuts(part),
        )
