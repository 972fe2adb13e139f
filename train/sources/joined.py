"""From what was read to a source's table: one row for each slice, and everything that is wrong listed."""

from __future__ import annotations

import pandas as pd

from .scan import Scan
from .source import TABLE, ProblemKind, SourceTable, problems

_NO_PROBLEMS = pd.DataFrame(columns=["kind", "where", "detail"], dtype=str)


def unusable_files(scan: Scan) -> pd.DataFrame:
    """The list's rows for files that cannot be used."""
    found = scan.unusable.rename(columns={"problem": "kind", "path": "where"})
    return found[["kind", "where", "detail"]]


def without_repeats(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The first file of each SOP Instance UID and frame, and the list's rows for the others."""
    again = rows.duplicated(["SOPInstanceUID", "frame"])
    found = problems(ProblemKind.REPEATED_SLICE, rows.loc[again, "path"], rows.loc[again, "SOPInstanceUID"])
    return rows[~again].reset_index(drop=True), found


def source_table(name: str, rows: pd.DataFrame, found: list[pd.DataFrame]) -> SourceTable:
    """The table of the source `name`, studies together and slices from feet to head."""
    rows = rows.assign(source=name, slice_distance_mm=_slice_distance_mm(rows))
    rows = rows.sort_values(["StudyInstanceUID", "SeriesInstanceUID", "position_mm", "SOPInstanceUID"])
    return SourceTable(
        rows=rows[TABLE.names].reset_index(drop=True),
        problems=pd.concat([_NO_PROBLEMS, *found], ignore_index=True),
    )


def _slice_distance_mm(rows: pd.DataFrame) -> pd.Series:
    """Median distance of the slices of each row's series, mm; empty where there is only one place."""
    places = rows.drop_duplicates(["SeriesInstanceUID", "position_mm"]).sort_values("position_mm")
    steps = places.groupby("SeriesInstanceUID")["position_mm"].diff()
    median = steps.groupby(places["SeriesInstanceUID"]).median()
    return rows["SeriesInstanceUID"].map(median)
