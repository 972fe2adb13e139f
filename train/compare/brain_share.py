"""How much brain a slice shows, beside whether it bleeds: what a forest has to go by, what a cut costs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from ich_triage.domain.labels import LABELS
from ich_triage.model.manifest import Metric

from .measure import share

#: Limits of the bins; those of the published study are not told. Its cuts at 2% and at 20% are among them.
LIMITS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 1.0)
#: What it said it cut at, and what its counts match.
CUTS = (0.2, 0.02)
_ANY = LABELS[0]


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Slices whose brain share lies between two limits."""

    #: the limits; the upper one belongs to the next bin
    low: float
    high: float
    #: how many
    slices: int
    #: share of them with a bleed; None where there are none
    positive: Metric | None


@dataclass(frozen=True, kw_only=True)
class Cut:
    """What is lost where slices with less brain are discarded."""

    #: the least brain share that is kept
    least: float
    #: share of all slices that is discarded
    slices: Metric | None
    #: the same of those with a bleed
    positive: Metric | None


def bins(table: pd.DataFrame) -> list[Bin]:
    """Of the metadata table's slices whose label is known."""
    known = table[table[_ANY].notna()]
    number = np.searchsorted(LIMITS[1:-1], known["brain_share"], side="right")
    found = []
    for index, (low, high) in enumerate(pairwise(LIMITS)):
        within = known[number == index]
        found.append(Bin(low=low, high=high, slices=len(within), positive=_share(within[_ANY], within)))
    return found


def cuts(table: pd.DataFrame) -> list[Cut]:
    """Of the metadata table's slices whose label is known."""
    known = table[table[_ANY].notna()]
    positive = known[known[_ANY].astype(bool)]
    return [
        Cut(
            least=least,
            slices=_share(known["brain_share"] < least, known),
            positive=_share(positive["brain_share"] < least, positive),
        )
        for least in CUTS
    ]


def _share(hit: pd.Series, of: pd.DataFrame) -> Metric | None:
    hits = hit.to_numpy(dtype=bool)[:, None]
    return share(hits, np.ones_like(hits), of["patient"].to_numpy(dtype=str))
