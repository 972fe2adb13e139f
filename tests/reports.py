"""Hand-made reports over real or made headers, for tests of what is sent out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from ich_triage.domain.finding import (
    Analysis,
    Finding,
    ImageReference,
    PackageIdentity,
    Side,
    SliceScore,
)
from ich_triage.domain.labels import SUBTYPES, Subtype
from ich_triage.domain.states import ReasonCode, StudyState
from ich_triage.imaging.volume import InPlane, Volume
from ich_triage.outputs.report import ChosenSeries, Device, Report

PACKAGE = PackageIdentity(name="phantom-resnet18", version="1", weights_sha256="ab" * 32, synthetic=True)
CREATED = datetime(2026, 3, 4, 5, 6, 7, 890000, tzinfo=UTC)
DEVICE = Device(ae_title="ICH_TRIAGE", version="0.1.0")

SUBDURAL = Finding(
    subtype=Subtype.SUBDURAL,
    probability=0.9312,
    volume_ml=23.456,
    volume_interval_ml=(18.2, 29.9),
    abc2_ml=21.0,
    side=Side.LEFT,
    centroid_lps=(48.25, -20.5, 61.75),
    key_slice=5,
    slice_range=(3, 8),
)
SUBARACHNOID = Finding(
    subtype=Subtype.SUBARACHNOID,
    probability=0.61,
    volume_ml=None,
    volume_interval_ml=None,
    abc2_ml=None,
    side=Side.MIDLINE,
    centroid_lps=None,
    key_slice=4,
    slice_range=(4, 6),
)


def image_headers(folder: Path) -> list[Dataset]:
    """Headers of every image of `folder`, along z."""
    headers = [dcmread(path, stop_before_pixels=True) for path in sorted(folder.glob("*.dcm"))]
    return sorted(headers, key=lambda ds: float(ds.ImagePositionPatient[2]))


def made_header(**attributes: Any) -> Dataset:
    """A header with nothing but what every CT image has; `attributes` are set on top."""
    ds = Dataset()
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = "1.2.3.4"
    ds.StudyInstanceUID = "1.2.3"
    ds.SeriesInstanceUID = "1.2.3.1"
    ds.FrameOfReferenceUID = "1.2.3.5"
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def analysis_of(headers: Sequence[Dataset], *, flagged: bool = True) -> Analysis:
    """An answer over `headers`, one slice each."""
    images = [
        ImageReference(sop_class_uid=str(ds.SOPClassUID), sop_instance_uid=str(ds.SOPInstanceUID))
        for ds in headers
    ]
    probability = 0.97 if flagged else 0.03
    probabilities = (probability, 0.01, 0.02, 0.01, 0.02, probability)
    findings = (SUBDURAL, SUBARACHNOID) if flagged else ()
    return Analysis(
        package=PACKAGE,
        operating_point="balanced",
        threshold=0.35,
        probabilities=probabilities,
        flagged=flagged,
        slices=tuple(
            SliceScore(image=image, position_mm=float(index), probabilities=probabilities)
            for index, image in enumerate(images)
        ),
        findings=tuple(
            replace(finding, key_slice=min(finding.key_slice, len(images) - 1)) for finding in findings
        ),
    )


def report_of(headers: Sequence[Dataset], state: StudyState = StudyState.FLAGGED, **changes: Any) -> Report:
    """A report in `state` over `headers`."""
    first = headers[0]
    values: dict[str, Any] = {
        "study_instance_uid": str(first.StudyInstanceUID),
        "revision": 1,
        "state": state,
        "created_at": CREATED,
        "device": DEVICE,
    }
    if state in (StudyState.FLAGGED, StudyState.NOT_FLAGGED):
        values["analysis"] = analysis_of(headers, flagged=state is StudyState.FLAGGED)
        values["series"] = ChosenSeries(
            series_instance_uid=str(first.SeriesInstanceUID),
            description=str(first.get("SeriesDescription") or ""),
            number=2,
        )
    else:
        values["reason_code"] = ReasonCode.ANGIOGRAPHY
        values["reason"] = "CT angiography"
    return Report(**(values | changes))


def made_volume(headers: Sequence[Dataset], *, size: int = 128) -> Volume:
    """A round skull with brain in it on `headers`' slices, HU (Z, size, size), 1 mm pixels, 5 mm apart."""
    slices = len(headers)
    y, x = np.ogrid[:size, :size]
    radius = np.hypot(y - size / 2, x - size / 2)
    plane = np.full((size, size), -1000, dtype=np.float32)
    plane[radius < size * 0.42] = 800
    plane[radius < size * 0.38] = 30
    positions = np.arange(slices) * 5.0
    origins = np.stack([np.full(slices, -size / 2), np.full(slices, -size / 2), positions], axis=1)
    return Volume(
        series_instance_uid=str(headers[0].SeriesInstanceUID),
        hu=np.repeat(plane[None], slices, axis=0),
        positions_mm=positions,
        thickness_mm=np.full(slices, 5.0),
        pixel_spacing=(1.0, 1.0),
        row=(1.0, 0.0, 0.0),
        column=(0.0, 1.0, 0.0),
        normal=(0.0, 0.0, 1.0),
        image_positions=origins,
        tilt_deg=0.0,
        in_plane=InPlane(),
        images=tuple(
            ImageReference(sop_class_uid=str(ds.SOPClassUID), sop_instance_uid=str(ds.SOPInstanceUID))
            for ds in headers
        ),
    )


def made_masks(volume: Volume) -> np.ndarray:
    """Masks (5, Z, Y, X): a subdural disc in the picture's right half, which is the patient's left."""
    masks = np.zeros((len(SUBTYPES), *volume.hu.shape), dtype=bool)
    size = volume.hu.shape[1]
    y, x = np.ogrid[:size, :size]
    masks[SUBTYPES.index(Subtype.SUBDURAL), 3:9] = np.hypot(y - size * 0.5, x - size * 0.7) < size * 0.08
    return masks


def made_headers(count: int = 10) -> list[Dataset]:
    """Headers of one series of `count` images."""
    return [made_header(SOPInstanceUID=f"1.2.3.1.{number + 1}") for number in range(count)]
