"""One source, or all of them together, as the exploration counts it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ich_triage.domain.labels import LABELS
from ich_triage.model.manifest import Metric

from .. import metrics
from ..sources.source import STUDY_LABELS, labels_of

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: What the report is made of: values that JSON takes.
Json = dict[str, "Json"] | list["Json"] | str | float | int | bool | None

#: What all sources are called together; no source can have a name with a space.
TOGETHER = "all sources"
#: Bootstrap draws of one interval.
_ROUNDS = 200
#: Share of the rows with a bleed that may leave a subtype open.
_SILENT = 0.01


@dataclass(frozen=True, kw_only=True, eq=False)
class Labelled:
    """Slices, or studies, by their labels."""

    #: labels in the order of `LABELS`, (n, 6): 0, 1, or NaN where unknown
    values: NDArray[np.float32]
    #: number of each row's patient, (n,)
    patients: NDArray[np.int64]

    def positive(self, label: str) -> Bools:
        """Where `label` is known to be there, (n,)."""
        return np.asarray(self.values[:, LABELS.index(label)] == 1)

    def known(self, label: str) -> Bools:
        """Where it is known whether `label` is there, (n,)."""
        return ~np.isnan(self.values[:, LABELS.index(label)])

    @property
    def complete(self) -> Bools:
        """Where all six labels are known, (n,)."""
        return np.asarray(~np.isnan(self.values).any(axis=1))

    def mean(self, values: NDArray[np.generic], among: Bools) -> Metric | None:
        """Mean of `values` (n,) over the rows `among`, with a bootstrap interval that draws whole patients.

        Its n counts patients. Where a share is 0 or 1 the draws cannot differ: then the interval is that of
        so many patients who are all alike (Clopper-Pearson). None of nothing.
        """
        patients = self.patients[among]
        tops = np.bincount(patients, weights=values[among].astype(np.float64))
        counts = np.bincount(patients)
        tops, counts = tops[counts > 0], counts[counts > 0]
        if values.dtype == bool and len(counts) and tops.sum() in (0, counts.sum()):
            return metrics.proportion(len(counts) if tops.any() else 0, len(counts))
        return metrics.bootstrap(
            lambda index: float(tops[index].sum() / counts[index].sum()), len(counts), rounds=_ROUNDS
        )

    def share(self, label: str, among: Bools | None = None) -> Json:
        """Share of rows with `label` where that is known, as JSON; of the rows `among` alone where given."""
        known = self.known(label)
        return dump(self.mean(self.positive(label), known if among is None else known & among))

    def says(self, labels: Sequence[str]) -> bool:
        """Whether nearly every row with a bleed has all of `labels` known.

        Rows without a bleed always have: where those with one do not, a share of the known rows, or a prior,
        would make the label look rarer than it is.
        """
        columns = [LABELS.index(label) for label in labels]
        bleeding = self.values[self.positive("any")][:, columns]
        return not len(bleeding) or float(np.isnan(bleeding).any(axis=1).mean()) <= _SILENT

    def counts(self, label: str, among: Bools | None = None) -> dict[str, Json]:
        """How many rows have `label`, have it not, and how many nobody knows of."""
        chosen = np.ones(len(self.values), dtype=bool) if among is None else among
        positive = int((self.positive(label) & chosen).sum())
        known = int((self.known(label) & chosen).sum())
        return {"positive": positive, "negative": known - positive, "unknown": int(chosen.sum()) - known}


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """Rows of the metadata table."""

    #: name of the source, or `TOGETHER`
    name: str
    #: rows, as `metadata.read` gives them
    table: pd.DataFrame

    @cached_property
    def study_number(self) -> NDArray[np.int64]:
        """Of which study each row is, in the order in which studies begin, (n,)."""
        study = self.table.groupby(["source", "StudyInstanceUID"], sort=False)
        return np.asarray(study.ngroup().to_numpy(dtype=np.int64))

    @cached_property
    def study_rows(self) -> pd.DataFrame:
        """The first row of each study, with the number of its slices in the column `slices`."""
        _, first = np.unique(self.study_number, return_index=True)
        return self.table.iloc[first].assign(slices=np.bincount(self.study_number))

    @cached_property
    def series_rows(self) -> pd.DataFrame:
        """The first row of each series."""
        return self.table.drop_duplicates(["source", "SeriesInstanceUID"])

    @cached_property
    def slices(self) -> Labelled:
        """Slices by what each shows."""
        return self._labelled(self.table, LABELS)

    @cached_property
    def studies(self) -> Labelled:
        """Studies by what any of their slices shows, or what is said of the whole."""
        return self._labelled(self.study_rows, STUDY_LABELS)

    def _labelled(self, rows: pd.DataFrame, columns: Sequence[str]) -> Labelled:
        return Labelled(values=labels_of(rows, columns), patients=pd.factorize(rows["patient"])[0])


def parts(table: pd.DataFrame) -> list[Part]:
    """Each source in the order of the table, and all together where there are several."""
    names = table["source"].unique().tolist()
    found = [Part(name=name, table=table[table["source"] == name].reset_index(drop=True)) for name in names]
    return found if len(found) == 1 else [*found, Part(name=TOGETHER, table=table)]


def dump(metric: Metric | None) -> Json:
    """A figure as JSON."""
    return metric.model_dump() if metric else None
