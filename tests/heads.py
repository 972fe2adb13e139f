"""Tiny heads that the input gate takes for whole: an ellipsoid of bone around brain, perhaps with a clot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from ich_triage.imaging.header import read_study
from ich_triage.imaging.stacks import split
from ich_triage.imaging.volume import Volume, assemble
from tests.scanner import ct_slice

PIXELS = 64
PIXEL_MM = 3.75
SLICES = 14
SLICE_MM = 10.0
#: HU of what tests put into the brain
CLOT_HU = 75


def tiny_head(
    *,
    study: str | None = None,
    series: str | None = None,
    clot: bool = False,
    first: int = 1,
    last: int = SLICES,
    name: str = "Test^Head",
) -> list[Dataset]:
    """Slices `first` to `last` of 64² pixels, 10 mm apart; `clot` is 20 mm wide, on the patient's left."""
    study, series = study or generate_uid(), series or generate_uid()[:50]
    pixels = _pixels(clot)
    datasets = []
    for number in range(first, last + 1):
        ds = ct_slice(number, study=study, series=series, thickness=SLICE_MM, name=name)
        ds.Rows = ds.Columns = PIXELS
        ds.PixelSpacing = [PIXEL_MM, PIXEL_MM]
        ds.ImagePositionPatient = [-PIXELS * PIXEL_MM / 2, -PIXELS * PIXEL_MM / 2, SLICE_MM * number]
        ds.ConvolutionKernel, ds.SeriesDescription, ds.BodyPartExamined = "STANDARD", "HEAD STD", "HEAD"
        ds.PatientBirthDate, ds.PatientSex, ds.StudyTime, ds.StudyID = "19500101", "O", "010203", "1"
        ds.FrameOfReferenceUID = f"{series}.0"
        ds.PixelData = pixels[number - 1].astype("<i2").tobytes()
        datasets.append(ds)
    return datasets


def volume_of(datasets: list[Dataset], folder: Path) -> Volume:
    """The volume that the service reads from them; `folder` takes the files."""
    paths = [folder / f"{number}.dcm" for number in range(len(datasets))]
    for ds, path in zip(datasets, paths, strict=True):
        ds.save_as(path, enforce_file_format=True)
    headers, _ = read_study(paths)
    (series,) = split(headers)
    return assemble(series)


def _pixels(clot: bool) -> NDArray[np.float64]:
    """HU (Z, Y, X)."""
    z, y, x = np.mgrid[:SLICES, :PIXELS, :PIXELS].astype(float)
    z, y, x = (z - SLICES / 2 + 0.5) * SLICE_MM, (y - PIXELS / 2) * PIXEL_MM, (x - PIXELS / 2) * PIXEL_MM
    hu = np.full(x.shape, -1000.0)
    hu[(x / 78) ** 2 + (y / 98) ** 2 + (z / 85) ** 2 < 1] = 1000
    brain = (x / 68) ** 2 + (y / 88) ** 2 + (z / 75) ** 2 < 1
    hu[brain] = 35 + 3 * np.sin(x + 2 * y + 3 * z)[brain]
    if clot:
        hu[(x - 30) ** 2 + y**2 + (z - 15) ** 2 < 12**2] = CLOT_HU
    return np.round(hu)
