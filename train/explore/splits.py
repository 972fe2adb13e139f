"""How the data fall into folds, by patient and by slice, and what leaks from one to the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from ich_triage.domain.labels import LABELS
from ich_triage.errors import TrainingDataError

from .. import split
from .part import Bools, Json, Part

TRAIN, VALIDATION = "train", "validation"
#: What figures are measured on: the second of a split made here, the last of `split.SHARES`.
HELD_BACK = (VALIDATION, "test")
BY_PATIENT, BY_SLICE = "by_patient", "by_slice"

#: The fold of each row by kind of split, NaN where none is settled; or, as text, why there is none.
Folds = Mapping[str, pd.Series | str]


def read_frozen(path: Path) -> dict[str, str] | None:
    """The fold of each patient that training froze at `path`; None where there is no such file.

    Raises TrainingDataError.
    """
    if not path.exists():
        return None
    try:
        told = pd.read_csv(path, dtype=str)
        dealt = dict(zip(told["patient"], told["fold"], strict=True))
    except (KeyError, ValueError) as error:
        dealt = {"": type(error).__name__}
    if wrong := set(dealt.values()) - set(split.SHARES):
        raise TrainingDataError(
            f"{path} is not as training wrote it: {sorted(map(str, wrong))[0]} where a fold of "
            f"{', '.join(split.SHARES)} should be; bring it back from a backup, since without it patients "
            "that were tested on would be trained on"
        )
    return dealt


def divide(part: Part, *, validation: float, seed: int, frozen: Mapping[str, str] | None = None) -> Folds:
    """Both splits: by patient as `frozen`, else with the share `validation` held back, as by slice always."""
    shares = {TRAIN: 1 - validation, VALIDATION: validation}
    return {
        BY_PATIENT: _settled(part, frozen)
        if frozen is not None
        else _made(split.by_patient, part, shares, seed),
        BY_SLICE: _made(split.by_slice, part, shares, seed),
    }


def _settled(part: Part, frozen: Mapping[str, str]) -> pd.Series | str:
    folds = part.table["patient"].map(frozen)
    if folds.isna().all():
        return "none of its patients has a fold yet; the next run of training deals them out"
    return folds


def _made(
    make: Callable[..., pd.Series], part: Part, shares: Mapping[str, float], seed: int
) -> pd.Series | str:
    try:
        return make(part.table, shares, seed=seed)
    except TrainingDataError as error:
        return str(error)


def splits(part: Part, divided: Folds) -> Json:
    """The folds of each split and what leaks between them, or why there is none."""
    return {
        name: {"impossible": folds} if isinstance(folds, str) else _split(part, folds)
        for name, folds in divided.items()
    }


def _split(part: Part, folds: pd.Series) -> Json:
    names = (TRAIN, VALIDATION) if (folds == VALIDATION).any() else tuple(split.SHARES)
    rows = {name: (folds == name).to_numpy(dtype=bool) for name in names}
    dealt = folds.notna()
    return {
        "folds": {name: _fold(part, at) for name, at in rows.items()},
        "without_fold": int(part.table.loc[~dealt, "patient"].nunique()),
        "leak": _leak(part.table[dealt], folds[dealt]),
    }


def _fold(part: Part, rows: Bools) -> Json:
    table = part.table[rows]
    there = np.bincount(part.study_number[rows], minlength=len(part.study_rows)) > 0
    return {
        "patients": int(table["patient"].nunique()),
        "studies": int(there.sum()),
        "slices": len(table),
        "patients_by_source": {
            str(name): int(count) for name, count in table.groupby("source")["patient"].nunique().items()
        },
        "labels": {label: part.slices.counts(label, rows) for label in LABELS},
        "study_labels": {label: part.studies.counts(label, there) for label in LABELS},
    }


def _leak(table: pd.DataFrame, folds: pd.Series) -> Json:
    """What is in several folds; `disjoint` says whether training would accept the split."""
    share = split.leaked_share(table, folds, train=TRAIN)
    judged = int((folds != TRAIN).sum())
    try:
        split.require_disjoint(table, folds)
        disjoint = True
    except TrainingDataError:
        disjoint = False
    image = table["SOPInstanceUID"] + " " + table["frame"].astype(str)
    return {
        "judged": judged,
        "leaked": round(share * judged),
        "share": share,
        "disjoint": disjoint,
        "patients": _in_several(table["patient"], folds),
        "studies": _in_several(table["StudyInstanceUID"], folds),
        "slices": _in_several(image, folds),
    }


def _in_several(names: pd.Series, folds: pd.Series) -> int:
    """How many distinct names are in several folds."""
    pairs = pd.DataFrame({"name": names, "fold": folds}).drop_duplicates()
    return int(pairs.loc[pairs["name"].duplicated(), "name"].nunique())
