"""Which slices a network is trained on and which it is judged by: by patient; and by slice, as published.

A split by slice puts neighbouring slices of one head on both sides, so that the network is judged by what it
has seen. It is here to reproduce the published study and to measure what that is worth.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd

from ich_triage.domain.labels import LABELS, SUBTYPES
from ich_triage.errors import TrainingDataError

from .sources.source import STUDY_LABELS

#: Folds of the data sources, and the share of the patients in each.
SHARES = {"train": 0.7, "calibration": 0.1, "test": 0.2}


def by_patient(
    table: pd.DataFrame,
    shares: Mapping[str, float],
    *,
    seed: int,
    dealt: Mapping[str, str] = MappingProxyType({}),
) -> pd.Series:
    """The fold of each row, so that each patient is in one fold alone; index as in `table`.

    `shares`: name of each fold and its share of the patients, 1 in all. Patients are dealt out subtype by
    subtype, each by the rarest that the patient has, so that folds have alike mixes. The same patients and
    seed give the same folds, in whatever order the rows come. `dealt`: patients whose fold was settled
    before, and stays. Raises TrainingDataError where a fold would lack slices with or without a bleed.
    """
    _check(shares)
    kinds = _rarest_subtypes(table)
    fold: dict[str, str] = {}
    owed = dict.fromkeys(shares, 0.0)
    rng = np.random.default_rng(seed)
    for _, patients in kinds.groupby(kinds, sort=True):
        for patient in rng.permutation(patients.index.to_numpy(dtype=object)):
            owed = {name: owed[name] + share for name, share in shares.items()}
            fold[patient] = next_fold = dealt.get(patient) or max(owed, key=lambda name: owed[name])
            owed[next_fold] -= 1
    return _checked(table, table["patient"].map(fold).astype(str), shares)


def frozen(table: pd.DataFrame, path: Path, *, seed: int) -> pd.Series:
    """`by_patient` into `SHARES`, kept in the CSV file `path`: a patient once tested on is never trained on.

    New patients join the folds; those that are there stay where they are. Raises TrainingDataError.
    """
    dealt: dict[str, str] = {}
    if path.exists():
        told = pd.read_csv(path, dtype=str)
        dealt = dict(zip(told["patient"], told["fold"], strict=True))
    folds = by_patient(table, SHARES, seed=seed, dealt=dealt)
    dealt |= dict(zip(table["patient"], folds, strict=True))
    partial = path.with_suffix(f".{os.getpid()}.part")
    pd.DataFrame(sorted(dealt.items()), columns=["patient", "fold"]).to_csv(partial, index=False)
    partial.rename(path)
    return folds


def by_slice(table: pd.DataFrame, shares: Mapping[str, float], *, seed: int) -> pd.Series:
    """The fold of each row at random, whosever slice it is; otherwise as `by_patient`. It leaks."""
    _check(shares)
    order = table[["SOPInstanceUID", "frame"]].reset_index(drop=True).sort_values(["SOPInstanceUID", "frame"])
    ends = np.rint(np.cumsum(list(shares.values())) * len(table)).astype(int)
    number = np.searchsorted(ends, np.random.default_rng(seed).permutation(len(table)), side="right")
    folds = np.empty(len(table), dtype=object)
    folds[order.index.to_numpy()] = np.array(list(shares), dtype=object)[number]
    return _checked(table, pd.Series(folds, index=table.index, dtype=str), shares)


def leaked_share(table: pd.DataFrame, folds: pd.Series, *, train: str) -> float:
    """Share of the slices outside the fold `train` whose patient is in it, too: 0 unless the split leaks."""
    seen = table.loc[folds == train, "patient"].unique()
    others = table.loc[folds != train, "patient"]
    return float(others.isin(seen).mean()) if len(others) else 0.0


def require_disjoint(table: pd.DataFrame, folds: pd.Series) -> None:
    """Raise TrainingDataError where one patient is in several folds."""
    several = folds.groupby(table["patient"]).nunique() > 1
    if several.any():
        raise TrainingDataError(
            f"{int(several.sum())} of {len(several)} patients are in several folds: figures would be of "
            "heads that the network has seen; split by patient"
        )


def _check(shares: Mapping[str, float]) -> None:
    if len(shares) < 2 or min(shares.values()) <= 0 or abs(sum(shares.values()) - 1) > 1e-6:
        raise TrainingDataError(
            f"shares of the folds are {dict(shares)}; give two or more above 0 that make 1 in all"
        )


def _rarest_subtypes(table: pd.DataFrame) -> pd.Series:
    """For each patient the rarest subtype that any study of theirs has; else whether there is a bleed.

    Index: patients in the order of their first SOP Instance UID, since their hashes differ from one folder
    of tables to the next.
    """
    one = table[list(STUDY_LABELS)].fillna(False).astype(bool).groupby(table["patient"]).any()
    unknown = table[STUDY_LABELS[0]].isna().groupby(table["patient"]).any()
    first = table.groupby("patient")["SOPInstanceUID"].min().sort_values()
    one = one.set_axis(LABELS, axis=1).loc[first.index]
    kinds = pd.Series(np.where(unknown.loc[first.index], "unknown", "none"), index=first.index, dtype=str)
    kinds[one["any"]] = "any"
    for subtype in sorted(SUBTYPES, key=lambda name: (-int(one[name].sum()), name)):
        kinds[one[subtype]] = str(subtype)
    return kinds


def _checked(table: pd.DataFrame, folds: pd.Series, shares: Mapping[str, float]) -> pd.Series:
    """The folds. Raises TrainingDataError where one lacks slices, or studies, of one class."""
    by_slices = table["any"].notna()
    label = table["any"].where(by_slices, table[STUDY_LABELS[0]])
    for name in shares:
        known = label[folds == name].dropna().astype(bool)
        if known.nunique() < 2:
            what = "no label that is known" if known.empty else f"{'only' if known.any() else 'no'} bleeds"
            raise TrainingDataError(
                f"fold {name} has {what} in {int((folds == name).sum())} slices: nothing can be learned from "
                "it or judged by it; give more patients, of both kinds"
            )
    return folds
