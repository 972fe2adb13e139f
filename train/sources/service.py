"""The service's own studies, labelled by the radiologists' feedback."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from ich_triage.domain.labels import LABELS, SUBTYPES
from ich_triage.errors import TrainingDataError
from ich_triage.settings import load as load_settings
from ich_triage.store import feedback, migrate, results
from ich_triage.store.database import Database
from ich_triage.store.tables import Feedback

from .dicom import DicomReader, load_study, serving_choice
from .joined import source_table, unusable_files, without_repeats
from .labels import frame, put, put_unknown
from .scan import Scanner, state_of
from .source import STUDY_LABELS, LabelledStudy, ProblemKind, Source, SourceTable, problems


class ServiceSource(Source):
    """Study labels by feedback: the latest of each reader, where the readers agree.

    Studies without feedback are left out: that nobody contradicted a result does not make it true.
    """

    kind: Literal["service"]
    #: the service's configuration file, which names the database and the spool
    config: Path

    def table(self, scanner: Scanner) -> SourceTable:
        """See `Source`. Raises SettingsError and DatabaseVersionError, too."""
        labels, paths, found = self._read()
        root = self._spool()
        states = {path: state_of(root, path) for path in paths}
        lost = [path for path, state in states.items() if state is None]
        found.append(problems(ProblemKind.LABELS_WITHOUT_FILE, lost, "the spool no longer has it"))
        files = [state for state in states.values() if state]
        scan = scanner.scan(self.name, root, files, DicomReader(key=scanner.key()))
        rows, repeats = without_repeats(scan.rows)
        rows = put_unknown(put(rows, labels, rows["StudyInstanceUID"], to=STUDY_LABELS), to=LABELS)
        return source_table(self.name, rows, [*found, unusable_files(scan), repeats])

    def load(self, rows: pd.DataFrame) -> LabelledStudy:
        """See `Source`. The series is the one that the service analysed."""
        return load_study(self._spool(), rows, serving_choice)

    def _spool(self) -> Path:
        spool = load_settings(self.config).spool
        if spool.url:
            raise TrainingDataError(
                f"{self.config}: training reads folders, and this spool is in {spool.where}: copy it out "
                "with `ich-triage backup --out …`, and give a configuration with [spool] path at its spool/"
            )
        return spool.path

    def _read(self) -> tuple[pd.DataFrame, list[str], list[pd.DataFrame]]:
        """Labels by study, paths of the images that the readers judged, and disagreements."""
        database = Database(load_settings(self.config).database.url)
        try:
            migrate.require_current(database)
            with database.read() as session:
                return _from_feedback(session)
        finally:
            database.close()


def _from_feedback(session: Session) -> tuple[pd.DataFrame, list[str], list[pd.DataFrame]]:
    by_study: defaultdict[str, list[Feedback]] = defaultdict(list)
    for given in feedback.all_that_count(session):
        by_study[given.revision.study.study_instance_uid].append(given)
    if not by_study:
        raise TrainingDataError(
            "the service's database has no feedback yet: radiologists give it first; until "
            "then leave this source out"
        )
    states, paths, disputed, removed = [], [], [], {}
    for study, opinions in by_study.items():
        state, against = _consensus(opinions)
        states.append(state)
        disputed += [f"{study} {LABELS[n]}" for n in np.flatnonzero(against)]
        newest = max((each.revision for each in opinions), key=lambda revision: revision.number)
        if newest.study.images_removed_at and newest.objects_sha256:
            removed[study] = f"retention removed its images on {newest.study.images_removed_at:%Y-%m-%d}"
        paths += [each.path for each in results.instances(session, newest)]
    found = [
        problems(ProblemKind.READERS_DISAGREE, disputed),
        problems(ProblemKind.LABELS_WITHOUT_FILE, removed, removed.values()),
    ]
    return frame(list(by_study), np.array(states)), paths, found


def _consensus(given: Sequence[Feedback]) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    """Six labels of a study, −1 where unknown, and which are so because readers disagree."""
    said = np.array([_labels_of(each) for each in given], dtype=np.int8)
    against = (said == 0).any(axis=0) & (said == 1).any(axis=0)
    unknown = against | against[0]  # whether there is a bleed at all comes before of which kind
    return np.where(unknown, -1, said.max(axis=0)).astype(np.int8), against


def _labels_of(given: Feedback) -> list[int]:
    """What one reader says: six labels, −1 where the reader leaves the subtypes open."""
    if not feedback.sees_bleed(given):
        return [0] * len(LABELS)
    if given.subtypes is None:
        return [1] + [-1] * len(SUBTYPES)
    return [1, *(int(subtype in given.subtypes) for subtype in SUBTYPES)]
