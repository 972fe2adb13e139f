"""Slices saved as PNG or JPEG in one display window: small public sets come so."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from pydantic import Field

from ich_triage.dicom.uids import named_uid
from ich_triage.domain.finding import ImageReference
from ich_triage.domain.labels import LABELS
from ich_triage.errors import PixelDataError, TrainingDataError
from ich_triage.imaging.volume import InPlane, Volume

from .dicom import brain_share
from .joined import source_table, unusable_files, without_repeats
from .labels import put, put_study_labels, read_wide
from .scan import Row, Scanner, keyed_hash, list_files, unusable
from .source import LabelledStudy, ProblemKind, Source, SourceTable, labelled, problems

_ENDINGS = (".png", ".jpg", ".jpeg")
_MALFORMED = (
    UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError, EOFError, struct.error
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PictureReader:
    """Reads one picture: its size and brain share; see `scan.Reader`."""

    #: centre of the window, HU
    level: float
    #: width of the window, HU
    width: float

    @property
    def fingerprint(self) -> str:
        """See `scan.Reader`."""
        return f"picture {self.level} {self.width}"

    def __call__(self, path: Path) -> list[Row]:
        """One row. Raises OSError where the system cannot read the file."""
        try:
            grey, top = _read_grey(path)
        except TrainingDataError as error:
            return [unusable(ProblemKind.UNREADABLE_HEADER, str(error))]
        except _MALFORMED as error:
            return [unusable(ProblemKind.CORRUPT_PIXELS, f"picture cannot be read ({type(error).__name__})")]
        except OSError as error:
            if error.errno is not None:
                raise
            return [unusable(ProblemKind.CORRUPT_PIXELS, "picture is truncated")]
        bits = top.bit_length()
        return [
            {
                "frame": 0,
                "synthetic": False,
                "Rows": grey.shape[0],
                "Columns": grey.shape[1],
                "BitsStored": bits,
                "BitsAllocated": bits,
                "PixelRepresentation": 0,
                "RescaleIntercept": self.level - self.width / 2,
                "RescaleSlope": self.width / top,
                "repaired": False,
                "brain_share": brain_share(self.to_hu(grey, top)),
            }
        ]

    def to_hu(self, grey: NDArray[np.integer], top: int) -> NDArray[np.float32]:
        """Grey values (Y, X) from 0 to `top` as HU, float32; what the window cut off stays cut off."""
        low = np.float32(self.level - self.width / 2)
        return grey.astype(np.float32) * np.float32(self.width / top) + low

    def hu(self, path: Path) -> NDArray[np.float32]:
        """The picture in HU, (Y, X). Raises PixelDataError where it has changed since it was listed."""
        try:
            return self.to_hu(*_read_grey(path))
        except _MALFORMED as error:
            raise PixelDataError(f"a picture cannot be read any more ({type(error).__name__})") from error
        except OSError as error:
            if error.errno is not None:
                raise
            raise PixelDataError("a picture is truncated that was whole when it was listed") from error


def _read_grey(path: Path) -> tuple[NDArray[np.integer], int]:
    """Grey values (Y, X) and the largest that the format holds. Raises TrainingDataError for colours."""
    with Image.open(path) as picture:
        if picture.mode.startswith("I"):
            return np.asarray(picture, dtype=np.int32), 65535
        if picture.mode == "L":
            return np.asarray(picture, dtype=np.int32), 255
        channels = np.asarray(picture.convert("RGB"), dtype=np.int32)
    if (channels.max(axis=-1) - channels.min(axis=-1)).max() > _GREY_WITHIN:
        raise TrainingDataError("a coloured picture: markings or a colour map have replaced pixels")
    return channels[..., 1], 255


#: JPEG stores grey as a colour and gives the three channels back a little apart.
_GREY_WITHIN = 3


class PicturesSource(Source):
    """Slice labels by file. What pictures do not say is assumed, and is an option.

    Each patient is taken for one study; the first column of a picture is the patient's right, the first row
    the front, as it is shown to radiologists.
    """

    kind: Literal["pictures"]
    #: folder of the pictures, at any depth
    path: Path
    #: CSV: file (below `path`), patient, slice (a number), and any of the six labels
    labels: Path
    #: centre of the window in which they were saved, HU
    level: float
    #: width of that window, HU
    width: float = Field(gt=0)
    #: assumed distance of pixels, mm; 230 mm over 512 pixels is usual for heads
    spacing_mm: float = Field(default=0.45, gt=0)
    #: assumed distance and thickness of slices, mm
    slice_mm: float = Field(default=5.0, gt=0)
    #: assumed place of the slice with the lowest number
    first_slice: Literal["bottom", "top"] = "bottom"

    def table(self, scanner: Scanner) -> SourceTable:
        """See `Source`."""
        _, labels = read_wide(self.labels, ["file"], others=["patient", "slice"])
        places, found = _places(self.labels)
        files = list_files(self.path, lambda name: name.lower().endswith(_ENDINGS))
        scan = scanner.scan(self.name, self.path, files, PictureReader(level=self.level, width=self.width))
        rows = scan.rows
        found += [labels.problems, unusable_files(scan)]
        unlabelled = ~rows["path"].isin(places.index)
        found.append(problems(ProblemKind.FILE_WITHOUT_LABELS, rows.loc[unlabelled, "path"], "left out"))
        lonely = places.index.difference([file.path for file in files], sort=False)
        found.append(problems(ProblemKind.LABELS_WITHOUT_FILE, lonely))
        rows, repeats = without_repeats(self._placed(rows[~unlabelled], places, scanner.key()))
        rows, odd = _of_one_size(rows)
        rows = put_study_labels(put(rows, labels.values, rows["path"], to=LABELS))
        return source_table(self.name, rows, [*found, repeats, odd])

    def load(self, rows: pd.DataFrame) -> LabelledStudy:
        """See `Source`."""
        rows = rows.sort_values("position_mm")
        reader = PictureReader(level=self.level, width=self.width)
        hu = np.stack([reader.hu(self.path / path) for path in rows["path"]])
        return labelled(rows, self._volume(hu, rows))

    def _placed(self, rows: pd.DataFrame, places: pd.DataFrame, key: bytes) -> pd.DataFrame:
        """Rows with the identifiers and the geometry that a DICOM header would have given."""
        place = places.loc[rows["path"]]
        patients = [keyed_hash(key, f"{self.name}/{patient}") for patient in place["patient"]]
        number = place["slice"].to_numpy(dtype=np.float64)
        up = 1 if self.first_slice == "bottom" else -1
        return rows.assign(
            patient=patients,
            StudyInstanceUID=[named_uid("picture study", self.name, patient) for patient in patients],
            SeriesInstanceUID=[named_uid("picture series", self.name, patient) for patient in patients],
            SOPInstanceUID=[
                named_uid("picture", self.name, patient, f"{at:g}")
                for patient, at in zip(patients, number, strict=True)
            ],
            position_mm=up * number * self.slice_mm,
            row_spacing_mm=self.spacing_mm,
            column_spacing_mm=self.spacing_mm,
            thickness_mm=self.slice_mm,
        ).reset_index(drop=True)

    def _volume(self, hu: NDArray[np.float32], rows: pd.DataFrame) -> Volume:
        positions = rows["position_mm"].to_numpy(copy=True)  # torch takes none that it may not write to
        centre = -self.spacing_mm * (np.array(hu.shape[:0:-1]) - 1) / 2
        return Volume(
            series_instance_uid=rows["SeriesInstanceUID"].iloc[0],
            hu=hu,
            positions_mm=positions,
            thickness_mm=np.full(len(hu), self.slice_mm),
            pixel_spacing=(self.spacing_mm, self.spacing_mm),
            row=(1.0, 0.0, 0.0),
            column=(0.0, 1.0, 0.0),
            normal=(0.0, 0.0, 1.0),
            image_positions=np.column_stack([np.tile(centre, (len(hu), 1)), positions]),
            tilt_deg=0.0,
            in_plane=InPlane(),
            images=tuple(
                ImageReference(sop_class_uid="", sop_instance_uid=uid) for uid in rows["SOPInstanceUID"]
            ),
        )


def _places(path: Path) -> tuple[pd.DataFrame, list[pd.DataFrame]]:
    """Patient and slice of each file, by file, and what is wrong. Raises TrainingDataError."""
    told = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", on_bad_lines="skip")
    if missing := [name for name in ("file", "patient", "slice") if name not in told.columns]:
        raise TrainingDataError(f"{path.name} has no column {missing[0]}; it needs file, patient and slice")
    told = told[["file", "patient", "slice"]].apply(lambda column: column.str.strip())
    told = told[told["file"] != ""]
    number = pd.to_numeric(told["slice"], errors="coerce")
    wrong = number.isna() | (told["patient"] == "")
    found = [
        problems(ProblemKind.MALFORMED_ROW, told.loc[wrong, "file"], "no patient, or slice is no number")
    ]
    told = told.assign(slice=number)[~wrong].drop_duplicates()
    again = told.duplicated("file", keep=False)
    found.append(
        problems(ProblemKind.MALFORMED_ROW, told.loc[again, "file"].unique(), "several patients or slices")
    )
    return told[~again].set_index("file"), found


def _of_one_size(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of each patient that have the size of most of them, and the list's rows for the others."""
    if rows.empty:
        return rows, problems(ProblemKind.OTHER_SIZE, [])
    size = rows["Rows"].astype(str) + "×" + rows["Columns"].astype(str)
    usual = size.groupby(rows["patient"]).transform(lambda sizes: sizes.mode().iloc[0])
    odd = size != usual
    found = problems(ProblemKind.OTHER_SIZE, rows.loc[odd, "path"], (size + ", not " + usual)[odd])
    return rows[~odd].reset_index(drop=True), found
