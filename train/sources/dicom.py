"""DICOM files of any source: one look at each for the table, and studies as the service reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from ich_triage.domain.completeness import along, slice_normal
from ich_triage.domain.states import ReasonCode
from ich_triage.errors import HeaderError, NotAnalysedError, PixelDataError
from ich_triage.imaging.attributes import MALFORMED
from ich_triage.imaging.decode import read_frames_from
from ich_triage.imaging.header import SliceHeader, open_dataset, read_headers, read_headers_from
from ich_triage.imaging.hounsfield import is_wrapped, to_hu
from ich_triage.imaging.select import select
from ich_triage.imaging.stacks import Series, split
from ich_triage.imaging.volume import assemble

from .scan import Row, keyed_hash, unusable
from .source import LabelledStudy, ProblemKind, labelled

#: Patient IDs of phantoms begin so (`phantom/dicom.py`); such slices are never taken for real ones.
PHANTOM_PATIENT = "PHANTOM"
#: What counts as brain in `img_pct_window`, HU, ends left out.
_BRAIN_HU = (0.0, 80.0)

Choose = Callable[[Sequence[SliceHeader]], Series]


@dataclass(frozen=True, kw_only=True)
class DicomReader:
    """Reads one DICOM file: header, brain share, repair; see `scan.Reader`."""

    #: secret of the patients' hashes
    key: bytes
    #: UIDs may be any text; see `imaging.header.read_headers`
    any_uid: bool = False

    @property
    def fingerprint(self) -> str:
        """See `scan.Reader`."""
        return f"dicom {self.any_uid} {keyed_hash(self.key, '')}"

    def __call__(self, path: Path) -> list[Row]:
        """A row for each frame. Raises OSError where the system cannot read the file."""
        try:
            return self._rows(path)
        except HeaderError as error:
            row = unusable(ProblemKind.UNREADABLE_HEADER, str(error))
        except PixelDataError as error:
            row = unusable(ProblemKind.CORRUPT_PIXELS, str(error))
        except MALFORMED as error:
            row = unusable(ProblemKind.UNREADABLE_HEADER, f"header cannot be read ({type(error).__name__})")
        path.read_bytes()  # a file that the system cannot give is no malformed one: this raises OSError
        return [row]

    def _rows(self, path: Path) -> list[Row]:
        with open_dataset(path) as file:
            headers = read_headers_from(file, path, any_uid=self.any_uid)
            if not headers[0].is_ct_image:
                return [unusable(ProblemKind.NOT_CT, f"SOP class {headers[0].sop_class_uid}")]
            file.seek(0)
            ds = dcmread(file, stop_before_pixels=True, specific_tags=["PatientID", "AccessionNumber"])
            frames = zip(headers, read_frames_from(file, headers), strict=True)
            return [self._row(header, to_hu(stored, header), ds) for header, stored in frames]

    def _row(self, header: SliceHeader, hu: NDArray[np.float32], ds: Dataset) -> Row:
        patient, accession = (
            str(ds.get(keyword) or "").strip() for keyword in ("PatientID", "AccessionNumber")
        )
        return {
            "accession": keyed_hash(self.key, accession) if accession else None,
            "frame": header.frame_number or 0,
            "SOPInstanceUID": header.sop_instance_uid,
            "StudyInstanceUID": header.study_instance_uid,
            "SeriesInstanceUID": header.series_instance_uid,
            "patient": keyed_hash(self.key, patient or header.study_instance_uid),
            "synthetic": patient.startswith(PHANTOM_PATIENT),
            "position_mm": _position_mm(header),
            "row_spacing_mm": header.pixel_spacing[0] if header.pixel_spacing else None,
            "column_spacing_mm": header.pixel_spacing[1] if header.pixel_spacing else None,
            "thickness_mm": header.slice_thickness,
            "Rows": header.rows,
            "Columns": header.columns,
            "BitsStored": header.bits_stored,
            "BitsAllocated": header.bits_allocated,
            "PixelRepresentation": header.pixel_representation,
            "RescaleIntercept": header.rescale_intercept,
            "RescaleSlope": header.rescale_slope,
            "repaired": is_wrapped(header),
            "brain_share": brain_share(hu),
        }


def brain_share(hu: NDArray[np.float32]) -> float:
    """Share of pixels between 0 and 80 HU (`img_pct_window` of the published study)."""
    low, high = _BRAIN_HU
    return float(np.mean((hu > low) & (hu < high)))


def _position_mm(header: SliceHeader) -> float | None:
    if header.image_position_patient is None or header.image_orientation_patient is None:
        return None
    return along(slice_normal(header.image_orientation_patient), header.image_position_patient)


def load_study(root: Path, rows: pd.DataFrame, choose: Choose, *, any_uid: bool = False) -> LabelledStudy:
    """Read the files of one study and put their labels to the slices that `choose` takes.

    Raises NotAnalysedError where they make no volume, HeaderError where a file has changed since.
    """
    paths = [root / path for path in dict.fromkeys(rows["path"])]
    wanted = set(zip(rows["SOPInstanceUID"], rows["frame"], strict=True))
    headers = [header for path in paths for header in read_headers(path, any_uid=any_uid)]
    headers = [each for each in headers if (each.sop_instance_uid, each.frame_number or 0) in wanted]
    return labelled(rows, assemble(choose(headers)))


def serving_choice(headers: Sequence[SliceHeader]) -> Series:
    """The series that the service would analyse. Raises NotAnalysedError."""
    selection = select(headers)
    if selection.chosen is None:
        raise NotAnalysedError(selection.code or ReasonCode.NO_CT_IMAGES, selection.reason)
    return selection.chosen


def largest_stack(headers: Sequence[SliceHeader]) -> Series:
    """The stack with most slices: for sets that were chosen before, and say nothing of their series.

    Raises NotAnalysedError where nothing has a place.
    """
    stacks = [stack for stack in split(headers) if stack.has_geometry]
    if not stacks:
        raise NotAnalysedError(ReasonCode.NO_GEOMETRY, "position, orientation or pixel spacing missing")
    return max(stacks, key=lambda stack: len(stack.headers))
