"""The studies of the data sources, prepared once and kept as cases.

A case is named by a hash of everything that it follows from: the rows of the metadata table (which follow
from the files and their labels), what the network is fed, and the code that prepares. So a changed recipe,
file or label never finds a stale case, and an unchanged one is never prepared again.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from ich_triage import imaging
from ich_triage.domain.input_spec import InputSpec
from ich_triage.domain.labels import SUBTYPES
from ich_triage.errors import IchTriageError, TrainingDataError

from .cases import Case, Facts, Pixels, image_name, spec_json
from .gates import hyperdense_ml
from .parallel import one_thread, run
from .progress import watch
from .sources import source
from .sources.config import Sources
from .sources.source import LabelledStudy

Labels = NDArray[np.float32]

#: What must stay free on the disk beside the cases, bytes.
_SPARE = 1 << 30


@dataclass(frozen=True, kw_only=True, eq=False)
class Cache:
    """Cases of one list of sources, as one network is fed."""

    #: folder of the cases
    folder: Path
    #: what the network is fed
    spec: InputSpec

    @classmethod
    def at(cls, root: Path, spec: InputSpec) -> Cache:
        """The folder of this input below `root`."""
        name = hashlib.sha256(spec_json(spec) + _code()).hexdigest()[:12]
        return cls(folder=root / f"studies_{spec.size}_{name}", spec=spec)

    def fill(self, sources: Sources, table: pd.DataFrame, *, workers: int) -> pd.DataFrame:
        """Prepare what is missing of the studies in `table`; a row for each study.

        Columns: `source`, `StudyInstanceUID`, `patient`, `weight`, `path` of its case, and `reason` where it
        has none: such a study cannot be read, which is no error. Raises TrainingDataError when the disk
        would not hold them all, or a process dies; what is done stays.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        groups = dict(list(table.groupby(["source", "StudyInstanceUID"], sort=False)))
        jobs = [
            _Job(self._path(rows), sources.named(name), rows, self.spec) for (name, _), rows in groups.items()
        ]
        missing = [job for job in jobs if not job.path.exists()]
        for job in missing:
            job.refused.unlink(missing_ok=True)  # what stood in the way may be gone
        _require_space(self.folder, missing)
        with watch("prepare studies", total=len(jobs), done=len(jobs) - len(missing)) as advance:
            for done in run(_prepare, missing, workers=workers):
                advance(done)
        return pd.DataFrame([job.row() for job in jobs])

    def _path(self, rows: pd.DataFrame) -> Path:
        # How often a study is drawn, and for what, does not change its case.
        content = rows.drop(columns=["weight", "fold"], errors="ignore")
        told = content.to_json(orient="values", double_precision=15)
        return self.folder / f"{hashlib.sha256(told.encode()).hexdigest()[:24]}.npz"


@dataclass(frozen=True)
class _Job:
    """One study to prepare."""

    path: Path
    source: source.Source
    rows: pd.DataFrame
    spec: InputSpec

    @property
    def refused(self) -> Path:
        """Says why there is no case."""
        return self.path.with_suffix(".reason")

    def row(self) -> dict[str, object]:
        first = self.rows.iloc[0]
        there = self.path.exists()
        return {
            **first[["source", "StudyInstanceUID", "patient", "weight"]],
            "path": str(self.path) if there else None,
            "reason": None if there else self.refused.read_text(encoding="utf-8"),
        }


def _prepare(job: _Job) -> int:
    """Make one case, or say why there is none; returns 1."""
    with one_thread():
        try:
            to_case(job.source.load(job.rows), job.rows, job.spec).save(job.path)
        except IchTriageError as error:
            job.refused.write_text(str(error), encoding="utf-8")
        except OSError as error:
            # NumPy says of a write that stopped half-way how many bytes are missing, and no number.
            if error.errno not in {errno.ENOSPC, errno.EDQUOT, None}:
                raise
            raise TrainingDataError(_FULL.format(folder=job.path.parent)) from error
    return 1


_FULL = (
    "the disk of {folder} is full; what is prepared stays: free some space and run the same command "
    "again, or name a folder on a larger disk with --data to `metadata` and all that follow"
)


def to_case(study: LabelledStudy, rows: pd.DataFrame, spec: InputSpec) -> Case:
    """A labelled study as the network sees it; `rows` of the table, for what headers say."""
    volume, pixels = study.volume, Pixels.of(study.volume, spec)
    return Case(
        x=pixels.x,
        masks=_masks(study, pixels),
        labels=study.slice_labels,
        study=_study_labels(study.slice_labels, study.study_labels),
        images=np.array([image_name(image.sop_instance_uid, image.frame_number) for image in volume.images]),
        height=pixels.height,
        facts=Facts(
            study=study.study_instance_uid,
            patient=study.patient,
            true_ml=study.true_ml,
            slice_mm=tuple(volume.slice_extents_mm().tolist()),
            cell_mm2=pixels.cell_mm2,
            thickness_mm=float(np.median(volume.thickness_mm)),
            tilt_deg=volume.tilt_deg,
            bits=int(rows["BitsStored"].iloc[0]),
            hyperdense_ml=hyperdense_ml(volume),
        ),
    )


def _masks(study: LabelledStudy, pixels: Pixels) -> NDArray[np.uint8]:
    """(Z, 5, S/4, S/4), 0..255; (0, …) where nobody marked the bleeds."""
    if study.masks is None:
        return np.zeros((0, len(SUBTYPES), pixels.cells, pixels.cells), np.uint8)
    return pixels.masks(torch.from_numpy(study.masks))


def _study_labels(slices: Labels, study: Labels) -> Labels:
    """Study labels (6,) with what the slices (Z, 6) say, where all are known.

    Not the other way round: a 0 of a study is one of its slices, but where a source labels studies alone, a
    network would see slices without a bleed and none with one.
    """
    known = ~np.isnan(slices).any(axis=0)
    return np.where(np.isnan(study) & known, slices.max(axis=0), study).astype(np.float32)


@functools.cache
def _code() -> bytes:
    """Hash of the code that makes cases of studies, as it was when the command started."""
    code = hashlib.sha256()
    here = Path(__file__).parent
    own = [here / f"{name}.py" for name in ("cache", "cases", "gates", "sources/dicom", "sources/source")]
    for file in sorted(Path(str(imaging.__file__)).parent.glob("*.py")) + own:
        code.update(file.read_bytes())
    return code.digest()


def _require_space(folder: Path, missing: Sequence[_Job]) -> None:
    """Raise TrainingDataError where the disk cannot hold what is missing."""
    bytes_each = missing[0].spec.channels * missing[0].spec.size ** 2 if missing else 0
    needed = bytes_each * sum(len(job.rows) for job in missing)
    free = shutil.disk_usage(folder).free
    if needed and needed + _SPARE > free:
        raise TrainingDataError(
            f"{sum(len(job.rows) for job in missing)} slices take {needed / 1e9:.1f} GB in {folder}, where "
            f"{free / 1e9:.1f} GB are free; name a folder on a larger disk with --data, or a smaller size"
        )
