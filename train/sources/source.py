"""What every source is: a table of slices, a list of what is wrong with it, and its studies as volumes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ich_triage.domain.labels import LABELS
from ich_triage.imaging.volume import Volume

if TYPE_CHECKING:
    from .scan import Scanner

#: Study labels, beside the slice labels, which are named as in `LABELS`.
STUDY_LABELS = tuple(f"study_{label}" for label in LABELS)

#: What reading one image gives; one row for each slice.
SCANNED = pa.schema(
    [
        ("path", pa.string()),  # of the file, below the source's folder; seed of a phantom that is in no file
        ("frame", pa.int32()),  # 1-based frame number; 0 for a single-frame image
        ("SOPInstanceUID", pa.string()),
        ("StudyInstanceUID", pa.string()),
        ("SeriesInstanceUID", pa.string()),
        ("patient", pa.string()),  # keyed hash of the PatientID, or of the study where that is empty
        ("synthetic", pa.bool_()),  # drawn, not scanned
        ("position_mm", pa.float64()),  # along the slice normal, towards the head; empty without geometry
        ("row_spacing_mm", pa.float64()),  # between rows
        ("column_spacing_mm", pa.float64()),  # between columns
        ("thickness_mm", pa.float64()),  # SliceThickness; empty where the header does not say
        ("Rows", pa.int32()),
        ("Columns", pa.int32()),
        ("BitsStored", pa.int32()),
        ("BitsAllocated", pa.int32()),
        ("PixelRepresentation", pa.int32()),
        ("RescaleIntercept", pa.float64()),  # as stated; see `repaired`
        ("RescaleSlope", pa.float64()),
        ("repaired", pa.bool_()),  # wrapped 12-bit pixels, mended as the service mends them
        ("brain_share", pa.float64()),  # share of pixels with 0 < HU < 80, after the repair
    ]
)

#: The metadata table: one row for each slice of a source.
TABLE = pa.schema(
    [
        pa.field("source", pa.string()),  # name of the source
        *SCANNED,
        pa.field("slice_distance_mm", pa.float64()),  # median distance of the series' slices
        *(pa.field(label, pa.bool_()) for label in (*LABELS, *STUDY_LABELS)),  # empty where unknown
    ]
)


class ProblemKind(StrEnum):
    """What can be wrong with labelled data. Each is listed with its place; none stops the others."""

    #: the system gave no such file, or not all of it; tried again at the next run
    UNREADABLE_FILE = "unreadable_file"
    #: not an image of this kind, or its header cannot be used; left out
    UNREADABLE_HEADER = "unreadable_header"
    #: pixels are missing, truncated or cannot be decoded; left out
    CORRUPT_PIXELS = "corrupt_pixels"
    #: a DICOM object, but no CT image; left out
    NOT_CT = "not_ct"
    #: the file's name is not its SOP Instance UID; joined by the UID
    NAME_DIFFERS = "name_differs"
    #: the same slice as an earlier file's; left out
    REPEATED_SLICE = "repeated_slice"
    #: a picture of another size than most of its patient's; left out
    OTHER_SIZE = "other_size"
    #: nothing says what it shows; kept, labels unknown
    FILE_WITHOUT_LABELS = "file_without_labels"
    #: there is no such file or study; labels unused
    LABELS_WITHOUT_FILE = "labels_without_file"
    #: rows say different things about one label; that label is unknown
    CONFLICTING_LABELS = "conflicting_labels"
    #: `any` is 0 although a subtype is 1; all labels of the slice or study are unknown
    CONTRADICTING_LABELS = "contradicting_labels"
    #: a label or column that is none of the six; not used
    UNKNOWN_SUBTYPE = "unknown_subtype"
    #: a row or value that cannot be understood; not used
    MALFORMED_ROW = "malformed_row"
    #: readers disagree on a label of a study; that label is unknown
    READERS_DISAGREE = "readers_disagree"


def problems(kind: ProblemKind, where: Iterable[str], detail: str | Iterable[str] = "") -> pd.DataFrame:
    """Rows for the list of problems: `kind`, `where` (file, label's ID, line or study) and `detail`."""
    places = list(where)
    details = [detail] * len(places) if isinstance(detail, str) else list(detail)
    return pd.DataFrame({"kind": [str(kind)] * len(places), "where": places, "detail": details}, dtype=str)


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceTable:
    """What a source holds."""

    #: the slices; columns as in `TABLE`
    rows: pd.DataFrame
    #: what is wrong; columns `kind`, `where`, `detail`
    problems: pd.DataFrame


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledStudy:
    """One study as serving reads it, with what is known of it."""

    #: Study Instance UID
    study_instance_uid: str
    #: keyed hash of the patient's id
    patient: str
    #: the pixels, (Z, Y, X) HU, and their geometry
    volume: Volume
    #: slice labels in the order of `LABELS`, (Z, 6): 0, 1, or NaN where unknown
    slice_labels: NDArray[np.float32]
    #: study labels in the order of `LABELS`, (6,): 0, 1, or NaN where unknown
    study_labels: NDArray[np.float32]
    #: SOP Instance UIDs of rows that are not in the volume: of other series or stacks, and repeats
    left_out: tuple[str, ...]
    #: where each subtype is, (5, Z, Y, X); None where nobody marked the bleeds
    masks: NDArray[np.bool_] | None = None

    @property
    def true_ml(self) -> tuple[float, ...] | None:
        """Volume of each subtype, mL; None where nobody marked the bleeds."""
        return None if self.masks is None else tuple(self.volume.volume_ml(mask) for mask in self.masks)


class Source(BaseModel, ABC):
    """One entry of the list of sources."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: unique short name, else the kind; names the table's file
    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")
    #: how often a study of this source is drawn, against one of another with weight 1
    weight: float = Field(default=1.0, gt=0)

    @field_validator("path", "labels", "config", check_fields=False)
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return (
            path.expanduser().absolute()
        )  # the list is kept with the tables, and read from there in other folders

    @model_validator(mode="before")
    @classmethod
    def _named_by_kind(cls, values: dict[str, Any]) -> dict[str, Any]:
        return {"name": values.get("kind"), **values}

    @abstractmethod
    def table(self, scanner: Scanner) -> SourceTable:
        """Read what was not read before and join it with its labels. Raises TrainingDataError."""

    @abstractmethod
    def load(self, rows: pd.DataFrame) -> LabelledStudy:
        """The study that `rows`, all rows of one study in this source's table, belong to.

        Raises NotAnalysedError where its slices make no volume.
        """

    def require_current(self, rows: pd.DataFrame) -> None:
        """Raise TrainingDataError where `rows`, this source's whole table, are not of what `load` gives."""


def labels_of(rows: pd.DataFrame, columns: Iterable[str]) -> NDArray[np.float32]:
    """Label columns as numbers, (rows, labels): 0, 1, or NaN where unknown."""
    return rows[list(columns)].astype("boolean").to_numpy(dtype=np.float32, na_value=np.nan)


def labelled(rows: pd.DataFrame, volume: Volume) -> LabelledStudy:
    """Put the labels of `rows` to the slices of `volume`, by SOP Instance UID and frame."""
    by_image = rows.set_index(["SOPInstanceUID", "frame"])
    wanted = [(image.sop_instance_uid, image.frame_number or 0) for image in volume.images]
    shown = {image.sop_instance_uid for image in volume.images}
    first = rows.iloc[0]
    return LabelledStudy(
        study_instance_uid=first["StudyInstanceUID"],
        patient=first["patient"],
        volume=volume,
        slice_labels=labels_of(by_image.loc[wanted], LABELS),
        study_labels=labels_of(rows.iloc[:1], STUDY_LABELS)[0],
        left_out=tuple(uid for uid in rows["SOPInstanceUID"] if uid not in shown),
    )
