"""Label files, and what can be wrong with them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from ich_triage.domain.labels import LABELS
from ich_triage.errors import TrainingDataError
from train.sources.labels import Labels, put, put_study_labels, read_long, read_wide


def _write(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text("\n".join(lines))
    return path


def _row(labels: Labels, key: str) -> list[bool | None]:
    return [None if value is pd.NA else value for value in labels.values.loc[key].to_list()]


def _listed(labels: Labels) -> set[tuple[str, str]]:
    return set(zip(labels.problems["kind"], labels.problems["where"], strict=True))


def test_long_labels(tmp_path: Path) -> None:
    """Each slice gets its six; `any` 0 says it of all; what else is not stated is unknown."""
    lines = [f"ID_a_{label},{int(label in ('any', 'subdural'))}" for label in LABELS]
    labels = read_long(_write(tmp_path, "ID,Label", *lines, lines[0], "ID_b_any,0", "ID_c_any,1"))
    assert _row(labels, "ID_a") == [True, False, False, False, False, True]
    assert _row(labels, "ID_b") == [False] * 6
    assert _row(labels, "ID_c") == [True, None, None, None, None, None]
    assert labels.problems.empty


def test_long_labels_that_contradict_themselves(tmp_path: Path) -> None:
    """`any` 0 beside a subtype 1 leaves all six unknown; 0 and 1 for one label leave that one unknown."""
    lines = ["ID_a_any,0", "ID_a_subdural,1", "ID_b_any,1", "ID_b_any,0", "ID_b_epidural,0"]
    labels = read_long(_write(tmp_path, "ID,Label", *lines))
    assert _row(labels, "ID_a") == [None] * 6
    assert _row(labels, "ID_b") == [None, False, None, None, None, None]
    assert _listed(labels) == {("contradicting_labels", "ID_a"), ("conflicting_labels", "ID_b_any")}


def test_wide_labels_with_some_columns(tmp_path: Path) -> None:
    """`any` follows from the subtypes only where they decide it; other columns are listed, not read."""
    every = ",".join(LABELS[1:])
    lines = [f"study,{every},Age", "s1,0,0,1,0,0,70", "s2,0,0,0,0,0,70", "s3,0,0,,0,0,70"]
    labels = read_wide(_write(tmp_path, *lines), ["study"])[1]
    assert [_row(labels, key)[0] for key in ("s1", "s2", "s3")] == [True, False, None]
    assert _listed(labels) == {("unknown_subtype", "Age")}


def test_wide_labels_that_are_wrong(tmp_path: Path) -> None:
    """Rows of another length, values that are no label, no key, two opinions: listed by line, row or key."""
    labels = read_wide(
        _write(tmp_path, "study,any,SUBDURAL", "s1,1,TRUE", "s1,1,0", "s2,maybe,0", ",1,1", "s3,1", "s4,0,"),
        ["study"],
    )[1]
    assert _row(labels, "s1") == [True, None, None, None, None, None]
    assert _row(labels, "s2") == [None, None, None, None, None, False]
    assert _row(labels, "s4") == [False] * 6
    assert _listed(labels) == {
        ("conflicting_labels", "s1_subdural"),
        ("malformed_row", "s2"),
        ("malformed_row", "row 4"),
        ("malformed_row", "line 6"),
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is no CSV file"),
        ("study,bleed\ns1,1", "it needs study or number and at least one of any, epidural"),
        ("any\n1", "it needs study or number"),
        ("study,any,Any\ns1,1,0", "two columns of one name"),
    ],
)
def test_files_that_hold_no_labels(tmp_path: Path, content: str, message: str) -> None:
    """The error names the file and what it must have."""
    with pytest.raises(TrainingDataError, match=message):
        read_wide(_write(tmp_path, content), ["study", "number"])
    with pytest.raises(TrainingDataError, match=r"with the columns ID, Label|two columns"):
        read_long(_write(tmp_path, content))
    with pytest.raises(TrainingDataError, match="correct `labels`"):
        read_long(tmp_path / "gone.csv")


def test_study_labels_follow_from_slices(tmp_path: Path) -> None:
    """One positive slice decides; without one, an unknown slice leaves the study unknown."""
    rows = pd.DataFrame({"StudyInstanceUID": list("aabbcc"), "key": list("123456")})
    labels = read_wide(_write(tmp_path, "key,any", "1,1", "2,", "3,0", "4,", "5,0", "6,0"), ["key"])[1]
    made = put_study_labels(put(rows, labels.values, rows["key"], to=LABELS))
    assert made["study_any"].to_list() == [True, True, pd.NA, pd.NA, False, False]
    assert made["study_epidural"].to_list() == [pd.NA, pd.NA, pd.NA, pd.NA, False, False]
