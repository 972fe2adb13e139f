"""Ordinary DICOM studies below a folder, labelled study by study in a CSV file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pandas as pd

from ich_triage.domain.labels import LABELS

from .dicom import DicomReader, load_study, serving_choice
from .joined import source_table, unusable_files, without_repeats
from .labels import Labels, put, put_unknown, read_wide
from .scan import Scanner, keyed_hash, list_files
from .source import STUDY_LABELS, LabelledStudy, ProblemKind, Source, SourceTable, problems

_KEYS = ("StudyInstanceUID", "AccessionNumber")


class StudiesSource(Source):
    """Study labels by StudyInstanceUID or AccessionNumber; what each slice shows is unknown."""

    kind: Literal["studies"]
    #: folder of the studies, at any depth
    path: Path
    #: CSV: StudyInstanceUID or AccessionNumber, and any of the six labels
    labels: Path

    def table(self, scanner: Scanner) -> SourceTable:
        """See `Source`."""
        key, labels = read_wide(self.labels, _KEYS)
        files = list_files(self.path, lambda name: name != self.labels.name)
        scan = scanner.scan(self.name, self.path, files, DicomReader(key=scanner.key()))
        rows, repeats = without_repeats(scan.rows)
        keys, known = rows["StudyInstanceUID"], labels.values
        if key == "AccessionNumber":  # rows carry its keyed hash
            keys = rows["accession"]
            known = known.set_axis([keyed_hash(scanner.key(), number) for number in known.index])
        found = [labels.problems, unusable_files(scan), repeats, *_unmatched(rows, keys, known, labels)]
        rows = put_unknown(put(rows, known, keys, to=STUDY_LABELS), to=LABELS)
        return source_table(self.name, rows, found)

    def load(self, rows: pd.DataFrame) -> LabelledStudy:
        """See `Source`. The series is the one that the service would analyse."""
        return load_study(self.path, rows, serving_choice)


def _unmatched(
    rows: pd.DataFrame, keys: pd.Series, known: pd.DataFrame, labels: Labels
) -> list[pd.DataFrame]:
    """Studies and labels without each other; labels are named as their file names them."""
    studies = rows.loc[~keys.isin(known.index), "StudyInstanceUID"].unique()
    lonely = labels.values.index[~known.index.isin(keys)]
    return [
        problems(ProblemKind.FILE_WITHOUT_LABELS, studies, "study"),
        problems(ProblemKind.LABELS_WITHOUT_FILE, lonely, "study"),
    ]
