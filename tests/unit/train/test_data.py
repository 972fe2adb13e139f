"""Prepared studies of data sources: found again, never stale, each patient in one fold for good."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from ich_triage.domain.input_spec import InputSpec
from ich_triage.errors import TrainingDataError
from tests import pictures
from train import cache, data, metadata, split
from train.cases import Case
from train.sources.config import load

SPEC = InputSpec(size=64)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables with prepared studies beside them; not to be changed."""
    folder = tmp_path_factory.mktemp("prepared")
    data.load(pictures.tables(folder), SPEC, workers=0)
    return folder


@pytest.fixture
def folder(prepared: Path, tmp_path: Path) -> Path:
    """A copy of the tables' folder."""
    shutil.copytree(prepared / "data", tmp_path / "data")
    return tmp_path / "data"


def _files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.npz")}


def test_studies_are_prepared_once_and_for_each_input_anew(folder: Path) -> None:
    """A second load makes nothing; another input has cases of its own, of its own shape."""
    before = _files(folder)
    found = data.load(folder, SPEC, workers=0)
    assert len(before) == pictures.PATIENTS and _files(folder) == before
    other = data.load(folder, InputSpec(size=32, neighbour_offsets_mm=()), workers=0)
    assert len(_files(folder)) == 2 * pictures.PATIENTS
    assert Case.load(found.paths("test")[0]).x.shape == (pictures.SLICES, 5, 64, 64)
    assert Case.load(other.paths("test")[0]).x.shape == (pictures.SLICES, 3, 32, 32)


def test_a_changed_label_is_no_stale_case(prepared: Path, tmp_path: Path) -> None:
    """One patient's labels change: one case is made anew, and says what the table says now."""
    shutil.copytree(prepared, tmp_path / "all")
    root = tmp_path / "all"
    labels, sources = root / "pictures" / "labels.csv", root / "sources.toml"
    sources.write_text(sources.read_text().replace(str(prepared), str(root)))
    list(metadata.build(load(sources), root / "data", workers=0))
    first = data.load(root / "data", SPEC, workers=0)
    before = _files(root)
    labels.write_text(labels.read_text().replace("0-2.png,p0,2,0,0,0,0,0,0", "0-2.png,p0,2,1,1,0,0,0,0"))
    list(metadata.build(load(sources), root / "data", workers=0))
    found = data.load(root / "data", SPEC, workers=0)
    (made,) = set(_files(root)) - set(before)
    assert made in [path for fold in split.SHARES for path in found.paths(fold)]
    assert Case.load(made).study.tolist() == [1, 1, 0, 0, 0, 0]
    assert found.told() != first.told()


def test_a_case_has_the_labels_and_images_of_its_slices(folder: Path) -> None:
    """By image, from feet to head; nobody marked anything."""
    found = data.load(folder, SPEC, workers=0)
    rows = found.table[found.table["study_any"] == True].groupby("StudyInstanceUID")  # noqa: E712  nullable
    uid, rows = next(iter(rows))
    path = found.studies.loc[found.studies["StudyInstanceUID"] == uid, "path"].item()
    case = Case.load(Path(path))
    assert case.labels[:, 0].tolist() == [0, 0, 1, 1, 0, 0]
    assert case.images.tolist() == [f"{each} 0" for each in rows["SOPInstanceUID"]]
    assert not case.marked and case.facts.true_ml is None and case.facts.seed is None


def test_patients_stay_in_their_fold_when_others_join(folder: Path) -> None:
    """Who was tested on once is never trained on; newcomers are dealt out."""
    found = data.load(folder, SPEC, workers=0)
    before = found.table.drop_duplicates("patient").set_index("patient")["fold"]
    joined = pd.concat([found.table, found.table.assign(patient=found.table["patient"] + "x")])
    joined = joined.drop(columns="fold").reset_index(drop=True)
    folds = split.frozen(joined, folder / data.FOLDS_FILE, seed=5)
    after = joined.assign(fold=folds).drop_duplicates("patient").set_index("patient")["fold"]
    assert after[before.index].to_list() == before.to_list()
    assert set(after[before.index + "x"]) == set(split.SHARES)


@pytest.mark.risk("R-028")
def test_split_by_slice_leaks_and_split_by_patient_does_not(folder: Path) -> None:
    """At random, nearly every tested slice has a neighbour of the same head in training."""
    found = data.load(folder, SPEC, workers=0)
    for by, leaked in (("patient", 0.0), ("slice", 1.0)):
        slices = found.slices(by, seed=0)  # type: ignore[arg-type]
        tested, seen = (set(slices.patients[slices.folds == fold]) for fold in ("test", "train"))
        assert len(tested & seen) / len(tested) == pytest.approx(leaked, abs=0.1)
        assert len(slices.labels) == pictures.PATIENTS * pictures.SLICES


def test_a_study_that_makes_no_volume_is_left_out_and_listed(prepared: Path, tmp_path: Path) -> None:
    """The others are prepared all the same; the next run does not try it again."""
    shutil.copytree(prepared, tmp_path / "all")
    root = tmp_path / "all"
    sources = load(root / "sources.toml")
    moved = sources.model_copy(
        update={"sources": (sources.sources[0].model_copy(update={"path": root / "pictures"}),)}
    )
    (root / "data" / metadata.SOURCES_FILE).write_text(moved.model_dump_json())
    shutil.rmtree(root / "data" / data.CASES_FOLDER)
    table = metadata.read(moved, root / "data")
    for path in table.loc[table["patient"] == table["patient"].iloc[0], "path"]:
        (root / "pictures" / path).write_bytes(b"")
    found = data.load(root / "data", SPEC, workers=0)
    (listed,) = root.rglob(data.REFUSED_FILE)
    assert len(found.studies) == pictures.PATIENTS - 1
    assert len(pd.read_csv(listed)) == 1


def test_a_disk_that_fills_up_leaves_nothing_half(folder: Path) -> None:
    """The system itself says that no space is left; the next run makes what is missing."""
    path = data.load(folder, SPEC, workers=0).paths("train")[0]
    case = Case.load(path)
    path.unlink()
    path.with_suffix(".npy").unlink()
    path.with_suffix(".npy").symlink_to("/dev/full")
    with pytest.raises(TrainingDataError, match="is full; what is prepared stays: free some space"):
        data.load(folder, SPEC, workers=0)
    data.load(folder, SPEC, workers=0)
    assert Case.load(path).x.tobytes() == case.x.tobytes()


def test_a_full_disk_is_foretold(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before hours of work, with what is needed and what to do."""
    monkeypatch.setattr(cache, "_SPARE", 1 << 60)
    with pytest.raises(TrainingDataError, match="GB are free; name a folder on a larger disk"):
        data.load(folder, InputSpec(size=32), workers=0)
