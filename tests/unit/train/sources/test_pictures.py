"""Pictures in one window become HU again, as far as the window let them through."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ich_triage.errors import TrainingDataError
from train.sources.pictures import PicturesSource
from train.sources.scan import Scanner

LEVEL, WIDTH = 40.0, 102.0
#: HU of each slice: below the window, within, above
HU = np.array([-500.0, 11.0, 40.0, 60.0, 500.0])


def _window(hu: NDArray[np.float64], top: int) -> NDArray[np.integer]:
    unit = ((hu - LEVEL) / WIDTH + 0.5).clip(0, 1)
    return np.rint(unit * top).astype(np.uint8 if top == 255 else np.uint16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two patients: PNG in 8 bits, and PNG in 16 bits and JPEG in colours that are grey."""
    root = tmp_path / "pictures"
    for patient in ("1", "2"):
        (root / patient).mkdir(parents=True)
    for number, hu in enumerate(HU):
        Image.fromarray(_window(np.full((20, 30), hu), 255)).save(root / "1" / f"{number}.png")
    for number, hu in enumerate(HU[:4]):
        Image.fromarray(_window(np.full((20, 30), hu), 65535)).save(root / "2" / f"{number}.png")
    grey = Image.fromarray(_window(np.full((20, 30), HU[4]), 255)).convert("RGB")
    grey.save(root / "2" / "4.jpg", quality=95)
    return root


def _source(folder: Path, *extra: str, **options: object) -> PicturesSource:
    lines = ["file,patient,slice,any,subdural"]
    lines += [f"1/{n}.png,p1,{n},{int(n == 2)},{int(n == 2)}" for n in range(5)]
    lines += [f"2/{n}.{'jpg' if n == 4 else 'png'},p2,{n},0,0" for n in range(5)]
    (folder / "labels.csv").write_text("\n".join([*lines, *extra]))
    return PicturesSource(
        kind="pictures",
        name="public",
        path=folder,
        labels=folder / "labels.csv",
        level=LEVEL,
        width=WIDTH,
        **options,
    )


@pytest.mark.parametrize("bits", [8, 16])
def test_the_window_is_inverted(folder: Path, scanner: Scanner, bits: int) -> None:
    """HU within the window come back to half a grey value; what was cut off stays at its ends."""
    source = _source(folder)
    table = source.table(scanner)
    assert table.problems.empty
    study = source.load(table.rows[table.rows["study_any"] == (bits == 8)])
    seen = study.volume.hu[:, 10, 10]
    assert seen == pytest.approx(HU.clip(LEVEL - WIDTH / 2, LEVEL + WIDTH / 2), abs=0.5 * WIDTH / 255 + 0.01)
    rows = table.rows[table.rows["path"] == "1/1.png"]
    assert (rows["RescaleIntercept"].item(), rows["RescaleSlope"].item()) == (-11.0, pytest.approx(0.4))
    assert rows["brain_share"].item() == 1.0


def test_patient_slice_and_labels_go_with_the_file(folder: Path, scanner: Scanner) -> None:
    """One study for a patient, at the assumed distances, in the stated order; patients are hashed."""
    source = _source(folder, slice_mm=4.0, spacing_mm=0.5, first_slice="top")
    rows = source.table(scanner).rows
    assert rows["patient"].nunique() == rows["StudyInstanceUID"].nunique() == 2
    assert not rows["patient"].isin(["p1", "p2"]).any()
    first = rows[rows["path"].str.startswith("1/")]
    assert first["path"].to_list() == [f"1/{n}.png" for n in (4, 3, 2, 1, 0)]
    study = source.load(first)
    assert np.diff(study.volume.positions_mm).tolist() == [4.0] * 4
    assert study.volume.pixel_spacing == (0.5, 0.5)
    assert study.slice_labels[:, [0, 5]].tolist() == [[0, 0], [0, 0], [1, 1], [0, 0], [0, 0]]
    assert study.study_labels[[0, 5]].tolist() == [1, 1] and np.isnan(study.study_labels[1])


def test_what_is_wrong_is_listed(folder: Path, scanner: Scanner) -> None:
    """Broken, coloured, unlabelled, lonely, of another size, without a place, twice the same slice."""
    (folder / "1" / "0.png").write_bytes((folder / "1" / "0.png").read_bytes()[:45])
    colours = np.zeros((20, 30, 3), dtype=np.uint8)
    colours[5:9, 5:9, 0] = 255
    Image.fromarray(colours).save(folder / "1" / "1.png")
    Image.fromarray(np.zeros((10, 10), dtype=np.uint8)).save(folder / "1" / "2.png")
    for name in ("unlabelled", "again", "nowhere"):
        Image.fromarray(np.zeros((20, 30), dtype=np.uint8)).save(folder / f"{name}.png")
    source = _source(folder, "again.png,p2,3,0,0", "nowhere.png,p2,top,0,0", "gone.png,p2,9,0,0")
    table = source.table(scanner)
    listed = set(zip(table.problems["kind"], table.problems["where"], strict=True))
    assert listed == {
        ("corrupt_pixels", "1/0.png"),
        ("unreadable_header", "1/1.png"),
        ("other_size", "1/2.png"),
        ("file_without_labels", "unlabelled.png"),
        ("repeated_slice", "again.png"),
        ("malformed_row", "nowhere.png"),
        ("file_without_labels", "nowhere.png"),
        ("labels_without_file", "gone.png"),
    }
    assert len(table.rows) == 10 - 3


def test_a_file_without_its_columns_is_refused(folder: Path, scanner: Scanner) -> None:
    """Without patient and slice no picture has a place."""
    source = _source(folder)
    source.labels.write_text("file,any\n1/1.png,1")
    with pytest.raises(TrainingDataError, match="no column patient"):
        source.table(scanner)
