"""Phantoms in the RSNA layout."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from pydicom import dcmread

from ich_triage.domain.labels import LABELS
from ich_triage.errors import HeaderError
from ich_triage.imaging.header import read_headers
from train.sources import phantoms
from train.sources.config import load


def test_files_look_like_those_of_the_set(drawn: Path) -> None:
    """Names, UIDs and attributes are the set's: what serving refuses, the set's own way of reading takes."""
    path = sorted((drawn / "images").iterdir())[0]
    ds = dcmread(path, stop_before_pixels=True)
    assert path.stem == ds.SOPInstanceUID and path.stem.startswith("ID_")
    assert ds.StudyInstanceUID.startswith("ID_") and "WindowCenter" in ds
    for keyword in ("SOPClassUID", "SliceThickness", "InstanceNumber", "Manufacturer", "PatientName"):
        assert keyword not in ds
    assert len(ds.WindowCenter) == 2
    with pytest.raises(HeaderError):
        read_headers(path)
    assert read_headers(path, any_uid=True)[0].is_ct_image


def test_each_image_has_six_labels(drawn: Path) -> None:
    """The long CSV has one row for each image and label, and none besides."""
    with (drawn / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    wanted = {f"{path.stem}_{label}" for path in (drawn / "images").iterdir() for label in LABELS}
    assert {row["ID"] for row in rows} == wanted and len(rows) == len(wanted)
    assert {row["Label"] for row in rows} == {"0", "1"}
    assert load(drawn / "sources.toml").named("phantoms").weight == 1.0


def test_a_second_run_draws_what_is_missing(layout: Path) -> None:
    """A phantom whose labels are there is not drawn again; one without them is."""
    labels = (layout / "labels.csv").read_text()
    images = sorted((layout / "images").iterdir())
    for image in images:
        image.unlink()
    next((layout / "parts").glob("54078-*")).unlink()
    phantoms.write(layout, count=3, seed=54078, matrix=64, workers=0)
    assert len(list((layout / "images").iterdir())) == 21
    assert (layout / "labels.csv").read_text() == labels
