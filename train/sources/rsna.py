"""The layout of the RSNA 2019 challenge: `ID_….dcm` in a folder, `ID_x_subtype,Label` in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pandas as pd

from ich_triage.domain.labels import LABELS

from .dicom import DicomReader, largest_stack, load_study
from .joined import source_table, unusable_files, without_repeats
from .labels import RSNA_PREFIX, Labels, put, put_study_labels, read_long
from .scan import FileState, Scanner, list_files
from .source import LabelledStudy, ProblemKind, Source, SourceTable, problems

_ENDING = ".dcm"


class RsnaSource(Source):
    """Slice labels, joined on the SOP Instance UID, with or without its prefix `ID_`."""

    kind: Literal["rsna"]
    #: folder of the DICOM files
    path: Path
    #: the long CSV
    labels: Path

    def table(self, scanner: Scanner) -> SourceTable:
        """See `Source`."""
        labels = read_long(self.labels)
        files = list_files(self.path, lambda name: name.lower().endswith(_ENDING))
        scan = scanner.scan(self.name, self.path, files, DicomReader(key=scanner.key(), any_uid=True))
        rows, repeats = without_repeats(scan.rows)
        keys = RSNA_PREFIX + rows["SOPInstanceUID"].str.removeprefix(RSNA_PREFIX)
        found = [labels.problems, unusable_files(scan), repeats, *_unmatched(rows, keys, files, labels)]
        rows = put_study_labels(put(rows, labels.values, keys, to=LABELS))
        return source_table(self.name, rows, found)

    def load(self, rows: pd.DataFrame) -> LabelledStudy:
        """See `Source`. The files do not describe their series; the stack with most slices is taken."""
        return load_study(self.path, rows, largest_stack, any_uid=True)


def _unmatched(
    rows: pd.DataFrame, keys: pd.Series, files: list[FileState], labels: Labels
) -> list[pd.DataFrame]:
    """Names that are not the UID; files and labels without each other."""
    differs = _keys_of(rows["path"]) != keys
    known = labels.values.index
    unlabelled = known.get_indexer(keys) < 0
    # a file that cannot be used is there all the same, and listed for what is wrong with it
    present = pd.concat([keys, _keys_of(pd.Series([file.path for file in files], dtype=str))])
    lonely = known[pd.Index(present.unique()).get_indexer(known) < 0]
    return [
        problems(ProblemKind.NAME_DIFFERS, rows.loc[differs, "path"], rows.loc[differs, "SOPInstanceUID"]),
        problems(ProblemKind.FILE_WITHOUT_LABELS, rows.loc[unlabelled, "path"]),
        problems(ProblemKind.LABELS_WITHOUT_FILE, lonely),
    ]


def _keys_of(paths: pd.Series) -> pd.Series:
    """The key that each file's name stands for."""
    names = paths.str.slice(stop=-len(_ENDING)).str.replace(r"^.*/", "", regex=True)
    return RSNA_PREFIX + names.str.removeprefix(RSNA_PREFIX)
