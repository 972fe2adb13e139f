"""The RSNA layout: joined by UID, repaired exactly, and nothing bad is lost in silence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydicom import DataElement, config, dcmread

from ich_triage.domain.labels import LABELS, SUBTYPES
from ich_triage.phantom.generate import Phantom, generate
from ich_triage.phantom.spec import draw
from train.sources.rsna import RsnaSource
from train.sources.scan import Scanner
from train.sources.source import STUDY_LABELS, TABLE, SourceTable

SEEDS = (54078, 54079, 54080)
Make = Callable[[Path], RsnaSource]


@pytest.fixture(scope="module")
def truth() -> dict[int, Phantom]:
    """What the files were made from."""
    return {seed: generate(draw(seed), matrix=64) for seed in SEEDS}


@pytest.fixture
def table(drawn: Path, scanner: Scanner, rsna: Make) -> SourceTable:
    """The table of the folder as it was drawn."""
    return rsna(drawn).table(scanner)


def _study_of(table: SourceTable, phantom: Phantom) -> pd.DataFrame:
    """The rows of a phantom, known by its number of slices."""
    sizes = table.rows.groupby("StudyInstanceUID")["path"].transform("size")
    return table.rows[sizes == len(phantom.hu)]


def _kinds(table: SourceTable) -> dict[str, int]:
    return table.problems["kind"].value_counts().to_dict()


def test_every_slice_has_its_row_and_its_labels(table: SourceTable, truth: dict[int, Phantom]) -> None:
    """Header, geometry, labels of slice and study are those of the phantoms; nothing is wrong."""
    assert list(table.rows.columns) == TABLE.names
    assert len(table.problems) == 0
    for phantom in truth.values():
        rows = _study_of(table, phantom)
        assert rows["position_mm"].is_monotonic_increasing
        assert rows[list(LABELS)].to_numpy(dtype=bool).tolist() == phantom.truth.slice_labels.tolist()
        assert rows[list(STUDY_LABELS)].iloc[0].to_list() == list(phantom.truth.labels)
        assert rows["slice_distance_mm"].iloc[0] == pytest.approx(phantom.spacing[0], abs=1e-3)
        assert rows["thickness_mm"].isna().all()
        hu = phantom.hu.numpy()
        share = ((hu > 0) & (hu < 80)).mean(axis=(1, 2))
        assert rows["brain_share"].to_numpy() == pytest.approx(share, abs=0.02)


def test_groups_of_stored_bits_and_the_repair_are_told(table: SourceTable, truth: dict[int, Phantom]) -> None:
    """The three kinds of pixels of the set; only wrapped ones are repaired, and stated as they came."""
    told = {
        seed: _study_of(table, phantom)[
            ["BitsStored", "PixelRepresentation", "RescaleIntercept", "repaired"]
        ].drop_duplicates()
        for seed, phantom in truth.items()
    }
    assert {seed: rows.to_numpy().tolist() for seed, rows in told.items()} == {
        54078: [[16, 1, -1024.0, False]],
        54079: [[12, 0, -1024.0, False]],
        54080: [[12, 0, 0.0, True]],
    }


def test_patients_are_hashed_and_phantoms_known_as_such(table: SourceTable, drawn: Path) -> None:
    """No PatientID stands anywhere in the table; what was drawn never passes for a real head."""
    ids = {str(dcmread(path, stop_before_pixels=True).PatientID) for path in (drawn / "images").iterdir()}
    text = table.rows.to_csv()
    assert len(ids) == 3 and not any(each in text for each in ids)
    assert table.rows.groupby("StudyInstanceUID")["patient"].nunique().eq(1).all()
    assert table.rows["patient"].nunique() == 3
    assert table.rows["synthetic"].all()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.risk("R-016")
def test_a_study_comes_as_serving_reads_it(
    table: SourceTable, truth: dict[int, Phantom], drawn: Path, rsna: Make, seed: int
) -> None:
    """HU are exactly the phantom's, rounded: wrapped pixels, padding and offsets leave no trace."""
    phantom = truth[seed]
    study = rsna(drawn).load(_study_of(table, phantom).sample(frac=1, random_state=1))
    intercept = 0 if seed == 54080 else -1024
    expected = np.rint(phantom.hu.numpy() - intercept).clip(-1000 if seed == 54080 else 0) + intercept
    inside = np.hypot(*(np.mgrid[:64, :64] - 31.5)) < 31
    np.testing.assert_array_equal(study.volume.hu[:, inside], expected[:, inside])
    assert study.slice_labels.tolist() == phantom.truth.slice_labels.float().tolist()
    assert study.study_labels.tolist() == [float(each) for each in phantom.truth.labels]
    assert study.left_out == ()


def test_labels_are_joined_by_uid_not_by_order(
    table: SourceTable, layout: Path, scanner: Scanner, rsna: Make
) -> None:
    """Shuffled label rows and exchanged file names change no label; the names are listed."""
    lines = (layout / "labels.csv").read_text().splitlines()
    shuffled = np.random.default_rng(0).permutation(lines[1:])
    (layout / "labels.csv").write_text("\n".join([lines[0], *shuffled]))
    one, other = sorted((layout / "images").iterdir())[:2]
    spare = one.with_suffix(".spare")
    one.rename(spare)
    other.rename(one)
    spare.rename(other)
    again = rsna(layout).table(scanner)
    pd.testing.assert_frame_equal(again.rows.drop(columns="path"), table.rows.drop(columns="path"))
    assert _kinds(again) == {"name_differs": 2}


def test_uids_without_the_prefix_are_the_same(
    table: SourceTable, layout: Path, scanner: Scanner, rsna: Make
) -> None:
    """Files whose SOP Instance UID lacks the `ID_` of their name and their labels are joined all the same."""
    for path in (layout / "images").iterdir():
        ds = dcmread(path)
        ds["SOPInstanceUID"] = DataElement(
            ds["SOPInstanceUID"].tag,
            "UI",
            ds.SOPInstanceUID.removeprefix("ID_"),
            validation_mode=config.IGNORE,
        )
        ds.save_as(path)
    again = rsna(layout).table(scanner)
    assert len(again.problems) == 0
    columns = [*LABELS, *STUDY_LABELS]
    pd.testing.assert_frame_equal(again.rows[columns], table.rows[columns])


def test_bad_files_are_listed_and_the_others_kept(layout: Path, scanner: Scanner, rsna: Make) -> None:
    """Corrupt pixels, no DICOM, a repeated slice: each is named with its reason and left out."""
    corrupt, rubbish, original = sorted((layout / "images").iterdir())[:3]
    corrupt.write_bytes(corrupt.read_bytes()[:-100])
    rubbish.write_bytes(b"no DICOM at all")
    (layout / "images" / "ID_copy.dcm").write_bytes(original.read_bytes())
    made = rsna(layout).table(scanner)
    listed = made.problems.set_index("where")["kind"].to_dict()
    assert listed == {
        corrupt.name: "corrupt_pixels",
        rubbish.name: "unreadable_header",
        "ID_copy.dcm": "repeated_slice",
    }
    assert len(made.rows) == 111 - 2


def test_labels_and_files_without_each_other_are_listed(layout: Path, scanner: Scanner, rsna: Make) -> None:
    """A file without labels stays, its labels unknown; labels without a file are unused."""
    lines = (layout / "labels.csv").read_text().splitlines()
    unlabelled = lines[1].removesuffix("_any,0").removesuffix("_any,1")
    kept = [line for line in lines if not line.startswith(unlabelled)]
    (layout / "labels.csv").write_text("\n".join([*kept, *(f"ID_gone_{label},0" for label in LABELS)]))
    made = rsna(layout).table(scanner)
    listed = made.problems.set_index("kind")["where"].to_dict()
    assert listed == {"file_without_labels": f"{unlabelled}.dcm", "labels_without_file": "ID_gone"}
    row = made.rows[made.rows["SOPInstanceUID"] == unlabelled]
    assert row[list(LABELS)].isna().all(axis=None)
    study = made.rows[made.rows["StudyInstanceUID"] == row["StudyInstanceUID"].iloc[0]]
    assert set(study["study_epidural"].isna()) == {True}, "one slice unknown, no other positive"


def test_conflicting_labels_are_unknown(layout: Path, scanner: Scanner, rsna: Make) -> None:
    """A label that is 0 and 1, a subtype that is none, a value that is no label: listed, not guessed."""
    first = (layout / "labels.csv").read_text().splitlines()[1].split("_any")[0]
    with (layout / "labels.csv").open("a") as file:
        file.write(f"{first}_epidural,1\n{first}_subdurl,1\n{first}_subdural,0.5\n{first}_any\nnonsense,0\n")
    made = rsna(layout).table(scanner)
    listed = set(zip(made.problems["kind"], made.problems["where"], strict=True))
    assert listed == {
        ("conflicting_labels", f"{first}_epidural"),
        ("unknown_subtype", f"{first}_subdurl"),
        ("malformed_row", f"{first}_subdural"),
        ("malformed_row", f"line {2 + 111 * 6 + 3}"),
        ("malformed_row", "nonsense"),
    }
    row = made.rows[made.rows["SOPInstanceUID"] == first]
    assert row["epidural"].isna().all() and row[[str(each) for each in SUBTYPES[1:]]].notna().all(axis=None)


def test_a_folder_without_a_usable_file_gives_an_empty_table(
    layout: Path, scanner: Scanner, rsna: Make
) -> None:
    """Every file is listed; nothing else breaks on the way."""
    for path in (layout / "images").iterdir():
        path.write_bytes(b"rubbish")
    made = rsna(layout).table(scanner)
    assert made.rows.empty and list(made.rows.columns) == TABLE.names
    assert _kinds(made) == {"unreadable_header": 111}
