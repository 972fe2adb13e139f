"""How the data fall into folds, by patient and by slice, and what leaks from one to the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from ich_triage.domain.labels import LABELS
from ich_triage.errors import TrainingDataError

from .. import split
from .part import Bools, Json, Part

TRAIN, VALIDATION = "train", "validation"
BY_PATIENT, BY_SLICE = "by_patient", "by_slice"
_SPLITS: dict[str, Callable[..., pd.Series]] = {BY_PATIENT: split.by_patient, BY_SLICE: split.by_slice}

#: The fold of each row by kind of split; or, as text, why there is none.
Folds = Mapping[str, pd.Series | str]


def divide(part: Part, *, validation: float, seed: int) -> Folds:
    """Both splits, `validation` being the share that is held back."""
    found: dict[str, pd.Series | str] = {}
    for name, make in _SPLITS.items():
        try:
            found[name] = make(part.table, {TRAIN: 1 - validation, VALIDATION: validation}, seed=seed)
        except TrainingDataError as error:
            found[name] = str(error)
    return found


def splits(part: Part, divided: Folds) -> Json:
    """The folds of each split and what leaks between them, or why there is none."""
    return {
        name: {"impossible": folds} if isinstance(folds, str) else _split(part, folds)
        for name, folds in divided.items()
    }


def _split(part: Part, folds: pd.Series) -> Json:
    rows = {name: (folds == name).to_numpy() for name in (TRAIN, VALIDATION)}
    return {"folds": {name: _fold(part, at) for name, at in rows.items()}, "leak": _leak(part, folds)}


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


def _leak(part: Part, folds: pd.Series) -> Json:
    """What is on both sides; `disjoint` says whether training would accept the split."""
    table = part.table
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
        "patients": _in_both(table["patient"], folds),
        "studies": _in_both(table["StudyInstanceUID"], folds),
        "slices": _in_both(image, folds),
    }


def _in_both(names: pd.Series, folds: pd.Series) -> int:
    """How many distinct names are in several folds."""
    pairs = pd.DataFrame({"name": names, "fold": folds}).drop_duplicates()
    return int(pairs["name"].duplicated().sum())
