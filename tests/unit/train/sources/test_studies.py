"""Ordinary DICOM studies with labels by study."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from ich_triage.domain.labels import LABELS
from ich_triage.errors import NotAnalysedError
from tests.heads import SLICES, tiny_head
from tests.scanner import dose_report
from train.sources.scan import Scanner
from train.sources.studies import StudiesSource


def _save(folder: Path, datasets: list[Dataset]) -> str:
    """Write a study; returns its UID."""
    folder.mkdir(parents=True)
    for number, ds in enumerate(datasets):
        ds.save_as(folder / f"IM{number:03d}", enforce_file_format=True)
    return str(datasets[0].StudyInstanceUID)


@pytest.fixture
def bleeding(tmp_path: Path) -> str:
    """A study with a clot and a dose report, and one without; returns the UID of the first."""
    first = tiny_head(clot=True)
    first.append(dose_report(first[0].StudyInstanceUID))
    second = tiny_head()
    for ds in second:
        ds.AccessionNumber, ds.PatientID = "ACC10", "ID8"
    uid = _save(tmp_path / "studies" / "a", first)
    _save(tmp_path / "studies" / "b" / "deep", second)
    return uid


def _source(tmp_path: Path, *lines: str) -> StudiesSource:
    path = tmp_path / "studies" / "labels.csv"
    path.write_text("\n".join(lines))
    return StudiesSource(kind="studies", name="site", path=tmp_path / "studies", labels=path)


def test_labels_by_accession_number(tmp_path: Path, bleeding: str, scanner: Scanner) -> None:
    """Both studies get theirs; what slices show is unknown; the number itself is in no column."""
    source = _source(tmp_path, "AccessionNumber,any,subdural", "ACC9,1,0", "ACC10,0,0", "ACC11,1,1")
    table = source.table(scanner)
    rows = table.rows.groupby(table.rows["StudyInstanceUID"] == bleeding)
    assert rows["study_any"].unique().map(list).to_dict() == {True: [True], False: [False]}
    assert table.rows[list(LABELS)].isna().all(axis=None)
    assert "ACC" not in table.rows.to_csv()
    assert not table.rows["synthetic"].any()
    listed = set(zip(table.problems["kind"], table.problems["where"], strict=True))
    assert listed == {("not_ct", "a/IM014"), ("labels_without_file", "ACC11")}


def test_labels_by_study_uid(tmp_path: Path, bleeding: str, scanner: Scanner) -> None:
    """A study without labels stays in the table, unknown, and is listed once."""
    table = _source(tmp_path, "StudyInstanceUID,any", f"{bleeding},1", f"{generate_uid()},0").table(scanner)
    kinds = table.problems["kind"].value_counts().to_dict()
    assert kinds == {"not_ct": 1, "file_without_labels": 1, "labels_without_file": 1}
    labelled = table.rows["study_any"].notna()
    assert set(table.rows.loc[labelled, "StudyInstanceUID"]) == {bleeding}
    assert len(table.rows) == 2 * SLICES


def test_a_study_is_the_series_that_the_service_would_choose(
    tmp_path: Path, bleeding: str, scanner: Scanner
) -> None:
    """The volume is the head's, without the scout; of its labels only those of the study are known."""
    scout = tiny_head(study=bleeding)[0]
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    scout.save_as(tmp_path / "studies" / "a" / "scout", enforce_file_format=True)
    source = _source(tmp_path, "StudyInstanceUID,any,epidural", f"{bleeding},1,")
    rows = source.table(scanner).rows
    study = source.load(rows[rows["StudyInstanceUID"] == bleeding])
    assert study.volume.hu.shape == (SLICES, 64, 64)
    assert study.study_labels[0] == 1 and np.isnan(study.study_labels[1:]).all()
    assert np.isnan(study.slice_labels).all()
    assert study.left_out == (scout.SOPInstanceUID,)
    few = rows[(rows["StudyInstanceUID"] == bleeding) & (rows["position_mm"] < 50)]
    with pytest.raises(NotAnalysedError):
        source.load(few)
