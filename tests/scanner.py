"""A scanner's objects, small ones: CT slices and what else comes with a head study."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from struct import pack

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, XRayRadiationDoseSRStorage, generate_uid


def ct_slice(
    number: int,
    *,
    study: str,
    series: str,
    thickness: float = 5.0,
    pixels: int = 32,
    name: str = "Test^Head",
) -> Dataset:
    """Axial slice `number` (from 1) of a stack along z, `pixels`² of noise that depends on nothing else."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, f"{series}.{number}"
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.StudyInstanceUID, data.SeriesInstanceUID = study, series
    data.PatientName, data.PatientID, data.AccessionNumber = name, "ID7", "ACC9"
    data.StudyDate, data.StudyDescription, data.Modality = "20260102", "CT head", "CT"
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.ImagePositionPatient = [-100, -100, thickness * number]
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data.InstanceNumber, data.SliceThickness, data.PixelSpacing = number, thickness, [0.5, 0.5]
    data.Rows = data.Columns = pixels
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 1
    data.RescaleIntercept, data.RescaleSlope = 0, 1
    noise = np.random.default_rng(number).normal(40, 10, (pixels, pixels))
    data.PixelData = noise.astype("<i2").tobytes()
    return data


def head(slices: int = 24, *, study: str | None = None, pixels: int = 32) -> list[Dataset]:
    """A geometrically whole head: 24 slices of 5 mm cover 120 mm."""
    study, series = study or generate_uid(), generate_uid()[:50]
    return [ct_slice(number, study=study, series=series, pixels=pixels) for number in range(1, slices + 1)]


def dose_report(study: str) -> Dataset:
    """A radiation dose report without content: no image, no place."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = XRayRadiationDoseSRStorage, generate_uid()
    data.StudyInstanceUID, data.SeriesInstanceUID = study, generate_uid()
    data.PatientName, data.PatientID, data.Modality = "Test^Head", "ID7", "SR"
    return data


#: the least that the index wants, as raw elements: tag → (VR, value)
IDENTIFIERS: dict[int, tuple[str, bytes]] = {
    0x00080016: ("UI", CTImageStorage.encode()),
    0x00080018: ("UI", b"1.2.3.4.1"),
    0x0020000D: ("UI", b"1.2.3"),
    0x0020000E: ("UI", b"1.2.3.4"),
}


def raw_file(path: Path, elements: Mapping[int, tuple[str, bytes]]) -> Path:
    """A file with exactly these elements, explicit VR little endian; no library has a say in them."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, "1.2.3.4.1"
    with path.open("wb") as file:
        file.write(bytes(128) + b"DICM")
        write_file_meta_info(file, meta)  # type: ignore[arg-type]
        for tag, (vr, value) in sorted(elements.items()):
            padded = value + b" \0"[vr == "UI" :][:1] * (len(value) % 2)
            file.write(pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(padded)) + padded)
    return path


def save(objects: list[Dataset], folder: Path) -> list[Path]:
    """Write them as files, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{number:04d}.dcm" for number in range(len(objects))]
    for data, file in zip(objects, files, strict=True):
        data.save_as(file, enforce_file_format=True)
    return files
