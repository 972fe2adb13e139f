"""Small CT objects written with pydicom, as scanners write them, and an analytic head to put in."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

MakeSlice = Callable[..., Dataset]
WriteSlice = Callable[..., Path]
WriteSeries = Callable[..., list[Path]]


def ct_slice(pixels: np.ndarray | None = None, **attributes: Any) -> Dataset:
    """One axial CT image, 64² pixels of 4 mm, signed 16 bits; `attributes` by keyword, None deletes."""
    if pixels is None:
        pixels = np.full((64, 64), 40, dtype=np.int16)
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPClassUID = CTImageStorage
    ds.SOPInstanceUID = generate_uid()
    ds.StudyInstanceUID = "1.2.3"
    ds.SeriesInstanceUID = "1.2.3.4"
    ds.Modality = "CT"
    ds.PatientName = "Secret^Name"
    ds.SeriesDescription = "Head 5.0"
    ds.ConvolutionKernel = "STANDARD"
    ds.SliceThickness = 5
    ds.KVP = 120
    ds.ImagePositionPatient = [-128, -128, 0]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing = [256 / pixels.shape[-2], 256 / pixels.shape[-1]]
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = pixels.shape[-2:]
    ds.BitsAllocated = ds.BitsStored = pixels.dtype.itemsize * 8
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    ds.RescaleSlope, ds.RescaleIntercept = 1, 0
    ds.PixelData = pixels.tobytes()
    ds["PixelData"].VR = "OW"
    for keyword, value in attributes.items():
        if value is None:
            ds.pop(keyword, None)
        else:
            setattr(ds, keyword, value)
    ds.file_meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", CTImageStorage)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.get("SOPInstanceUID", "1.2.3")
    return ds


def enhanced_ct(frames: np.ndarray) -> Dataset:
    """An Enhanced CT image of frames (Z, Y, X), 5 mm apart, frame by frame from the vertex down."""
    ds = ct_slice(frames, SOPClassUID=EnhancedCTImageStorage)
    ds.NumberOfFrames = len(frames)
    spacing, orientation = ds.PixelSpacing, ds.ImageOrientationPatient
    for keyword in (
        "PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient", "SliceThickness", "RescaleSlope",
        "RescaleIntercept", "ConvolutionKernel", "KVP",
    ):  # fmt: skip
        del ds[keyword]
    shared = Dataset()
    shared.PixelMeasuresSequence = [_item(PixelSpacing=spacing, SliceThickness=5)]
    shared.PlaneOrientationSequence = [_item(ImageOrientationPatient=orientation)]
    shared.PixelValueTransformationSequence = [_item(RescaleSlope=1, RescaleIntercept=-1000)]
    shared.CTReconstructionSequence = [_item(ConvolutionKernel="STANDARD")]
    shared.CTXRayDetailsSequence = [_item(KVP=120)]
    ds.SharedFunctionalGroupsSequence = [shared]
    ds.PerFrameFunctionalGroupsSequence = []
    for index in range(len(frames)):
        item = Dataset()
        item.PlanePositionSequence = [_item(ImagePositionPatient=[-128, -128, 200 - 5 * index])]
        item.FrameContentSequence = [_item(FrameAcquisitionNumber=1)]
        item.CTImageFrameTypeSequence = [_item(FrameType=["ORIGINAL", "PRIMARY", "AXIAL", "NONE"])]
        ds.PerFrameFunctionalGroupsSequence.append(item)
    return ds


def _item(**attributes: Any) -> Dataset:
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


def analytic_head(
    slices: int = 30, size: int = 128, *, turn_deg: float = 0.0, shift_mm: float = 0.0
) -> np.ndarray:
    """HU (Z, size, size) int16: nested ellipsoids, scalp, skull, brain, in 256 mm; slices 5 mm apart."""
    z, y, x = np.meshgrid(
        np.arange(slices) * 5.0 - slices * 2.5,
        (np.arange(size) + 0.5) / size * 256 - 128,
        (np.arange(size) + 0.5) / size * 256 - 128 - shift_mm,
        indexing="ij",
    )
    cos, sin = np.cos(np.radians(turn_deg)), np.sin(np.radians(turn_deg))
    u, v = x * cos + y * sin, y * cos - x * sin

    def within(margin: float) -> np.ndarray:
        return (u / (68 + margin)) ** 2 + (v / (86 + margin)) ** 2 + (z / (72 + margin)) ** 2 < 1

    hu = np.full(u.shape, -1000, dtype=np.int16)
    hu[within(12)] = 10
    hu[within(7)] = 900
    hu[within(0)] = 34
    return hu


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Dataset], Path]:
    """Write a data set to a new file of this test."""
    numbers = itertools.count()

    def write(ds: Dataset) -> Path:
        path = tmp_path / f"{next(numbers):04}.dcm"
        ds.save_as(path, enforce_file_format=True)
        return path

    return write


@pytest.fixture
def write_slice(write: Callable[[Dataset], Path]) -> WriteSlice:
    """Write one CT image; arguments as `ct_slice`."""
    return lambda *args, **attributes: write(ct_slice(*args, **attributes))


@pytest.fixture
def write_series(write_slice: WriteSlice) -> WriteSeries:
    """Write a series of `slices` images `spacing_mm` apart along z; attributes as `ct_slice`.

    `volume` (Z, Y, X) gives the pixels, from the lowest slice up.
    """

    def write_series(
        slices: int = 30,
        spacing_mm: float = 5.0,
        *,
        volume: np.ndarray | None = None,
        start_mm: float = 0.0,
        **attributes: Any,
    ) -> list[Path]:
        attributes = {"SliceThickness": spacing_mm} | attributes
        first = attributes.pop("InstanceNumber", 1)
        return [
            write_slice(
                None if volume is None else volume[index],
                **{
                    "ImagePositionPatient": [-128, -128, start_mm + index * spacing_mm],
                    "InstanceNumber": first + index,
                }
                | attributes,
            )
            for index in range(slices)
        ]

    return write_series


@pytest.fixture(scope="session")
def make_slice() -> MakeSlice:
    """`ct_slice`."""
    return ct_slice


@pytest.fixture(scope="session")
def make_enhanced() -> Callable[[np.ndarray], Dataset]:
    """`enhanced_ct`."""
    return enhanced_ct


@pytest.fixture(scope="session")
def make_head() -> Callable[..., np.ndarray]:
    """`analytic_head`."""
    return analytic_head
