"""Splits: disjoint and stratified by patient; leaky, on purpose, by slice."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ich_triage.domain.labels import LABELS, SUBTYPES
from ich_triage.errors import TrainingDataError
from train import split
from train.sources.source import STUDY_LABELS

SHARES = {"train": 0.7, "calibration": 0.15, "test": 0.15}


def _table(patients: int = 200, *, slices: int = 8, positive: float = 0.5) -> pd.DataFrame:
    """Patients with one study each; half bleed, epidural rarely, in two slices of eight."""
    rng = np.random.default_rng(5)
    rows = []
    for patient in range(patients):
        kinds = rng.random(len(SUBTYPES)) < [0.08, 0.4, 0.3, 0.4, 0.5]
        study = kinds & (rng.random() < positive)
        study_labels = [bool(study.any()), *study.tolist()]
        for number in range(slices):
            shown = study & (number < 2)
            row = {
                "patient": f"{hash(patient) % 997:03d}",
                "SOPInstanceUID": f"1.{patient}.{number}",
                "frame": 0,
            }
            row |= dict(zip(LABELS, [bool(shown.any()), *shown.tolist()], strict=True))
            rows.append(row | dict(zip(STUDY_LABELS, study_labels, strict=True)))
    return pd.DataFrame(rows).astype(dict.fromkeys((*LABELS, *STUDY_LABELS), "boolean"))


def test_no_patient_is_in_two_folds() -> None:
    """Folds by patient are disjoint, cover every row, and have their shares of the patients."""
    table = _table()
    folds = split.by_patient(table, SHARES, seed=1)
    split.require_disjoint(table, folds)
    assert split.leaked_share(table, folds, train="train") == 0
    share = table.assign(fold=folds).groupby("fold")["patient"].nunique() / 200
    assert share.to_dict() == pytest.approx(SHARES, abs=0.01)


def test_folds_have_the_same_mix_of_subtypes() -> None:
    """Each fold has its share of the patients with the rarest subtype, to one; the others are close."""
    table = _table()
    folds = split.by_patient(table, SHARES, seed=1)
    patients = table.assign(fold=folds).drop_duplicates("patient")
    rarest = patients[patients["study_epidural"]].groupby("fold").size()
    for fold, share in SHARES.items():
        assert rarest[fold] == pytest.approx(share * rarest.sum(), abs=1)
        for label in STUDY_LABELS:
            of_all = patients[label].mean()
            assert patients.loc[patients["fold"] == fold, label].mean() == pytest.approx(of_all, abs=0.12)


@pytest.mark.parametrize("make", [split.by_patient, split.by_slice])
def test_a_seed_gives_the_same_folds_in_whatever_order(make) -> None:
    """Rows in another order, and patients under other hashes, fall where they fell; another seed differs."""
    table = _table()
    folds = make(table, SHARES, seed=1)
    shuffled = table.sample(frac=1, random_state=3)
    pd.testing.assert_series_equal(make(shuffled, SHARES, seed=1).sort_index(), folds, check_names=False)
    renamed = table.assign(patient="x" + table["patient"].str[::-1])
    pd.testing.assert_series_equal(make(renamed, SHARES, seed=1), folds, check_names=False)
    assert not make(table, SHARES, seed=2).equals(folds)


def test_a_split_by_slice_leaks_and_says_so() -> None:
    """Nearly every slice that is judged belongs to a patient that was trained on."""
    table = _table()
    folds = split.by_slice(table, {"train": 0.8, "validation": 0.2}, seed=1)
    assert folds.value_counts(normalize=True).to_dict() == pytest.approx({"train": 0.8, "validation": 0.2})
    assert split.leaked_share(table, folds, train="train") > 0.99
    with pytest.raises(TrainingDataError, match="patients are in several folds"):
        split.require_disjoint(table, folds)


def test_one_patient_in_two_sources_stays_on_one_side() -> None:
    """Rows of the same patient from different sources go together."""
    one, other = _table(), _table()
    other["SOPInstanceUID"] = "2" + other["SOPInstanceUID"]
    table = pd.concat([one, other], ignore_index=True)
    split.require_disjoint(table, split.by_patient(table, SHARES, seed=1))


@pytest.mark.parametrize(("positive", "message"), [(0.0, "has no bleeds"), (1.1, "has only bleeds")])
def test_a_fold_of_one_class_stops_with_the_remedy(positive: float, message: str) -> None:
    """Nothing can be learned from it or judged by it."""
    table = _table(positive=positive)
    if positive > 1:
        table[["any", "study_any"]] = True
    for make in (split.by_patient, split.by_slice):
        with pytest.raises(TrainingDataError, match=f"{message} in .* give more patients, of both kinds"):
            make(table, SHARES, seed=1)


def test_unknown_labels_are_dealt_out_too() -> None:
    """Where only studies are labelled those decide; where nothing is, the fold is refused."""
    table = _table()
    table[[str(label) for label in LABELS]] = pd.NA
    split.require_disjoint(table, split.by_patient(table, SHARES, seed=1))
    table[list(STUDY_LABELS)] = pd.NA
    with pytest.raises(TrainingDataError, match="no label that is known"):
        split.by_patient(table, SHARES, seed=1)


def test_shares_must_make_one() -> None:
    """Anything else would leave rows out or count them twice."""
    with pytest.raises(TrainingDataError, match="make 1 in all"):
        split.by_patient(_table(4), {"train": 0.8, "test": 0.1}, seed=1)
