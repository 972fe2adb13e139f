"""CT Image Storage objects of a phantom, as a scanner would send them (PS3.3 A.3.3, CT Image IOD)."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from .generate import Phantom, generate
from .quirks import Representation, apply_quirks, draw_representation, encode, vendor_representation
from .records import PhantomSpec

SeriesKind = Literal["localizer", "soft", "bone", "thin"]

#: maker -> model, soft kernel, bone kernel
_SCANNERS: dict[str, tuple[str, str, str]] = {
    "GE MEDICAL SYSTEMS": ("Phantom Speed", "STANDARD", "BONE"),
    "SIEMENS": ("Phantom Definition", "J30s", "H60s"),
    "Philips": ("Phantom Brilliance", "UB", "YB"),
    "TOSHIBA": ("Phantom One", "FC64", "FC30"),
}


@dataclass(frozen=True, kw_only=True)
class StudyIdentity:
    """What ties the objects of one study together."""

    #: Study Instance UID
    study_uid: str
    #: Frame of Reference UID, shared by the study's series
    frame_of_reference_uid: str
    #: start of the study
    started: datetime
    #: Patient ID
    patient_id: str
    #: Accession Number
    accession: str

    @classmethod
    def of(cls, spec: PhantomSpec, *, fresh: bool = False) -> StudyIdentity:
        """Identity derived from the seed, or a new one each time if ``fresh``."""
        salt = uuid.uuid4().hex if fresh else f"{spec.seed}{spec.style}"
        number = int(uuid.uuid5(uuid.NAMESPACE_OID, salt)) % 10**8
        started = datetime.fromisoformat("2024-01-01T00:00:00+00:00") + timedelta(
            seconds=spec.seed * 977 % 31_000_000
        )
        return cls(
            study_uid=_uid("study", salt),
            frame_of_reference_uid=_uid("frame", salt),
            started=started,
            patient_id=f"PHANTOM{number:08d}",
            accession=f"A{number:08d}",
        )

    def uid(self, *parts: object) -> str:
        """A UID of this study, the same for the same parts."""
        return _uid(self.study_uid, *parts)


def _uid(*parts: object) -> str:
    return str(generate_uid(entropy_srcs=["ich-triage phantom", *map(str, parts)]))


def write_study(
    phantom: Phantom,
    folder: Path | str,
    *,
    series: Sequence[SeriesKind] = ("soft",),
    quirks: bool = False,
    fresh: bool = False,
) -> list[Path]:
    """Write the study of ``phantom`` below ``folder`` and return its files in the order they were scanned.

    ``series`` other than "soft" are reconstructed from the same patient ("bone" and "thin" cost another
    :func:`generate`). ``quirks`` writes the RSNA set's oddities; ``fresh`` makes new UIDs.
    """
    paths: list[Path] = []
    identity = StudyIdentity.of(phantom.spec, fresh=fresh)
    for number, (kind, datasets) in enumerate(_all_series(phantom, identity, series, quirks), start=1):
        target = Path(folder) / f"{number:02d}-{kind}"
        target.mkdir(parents=True, exist_ok=True)
        for index, ds in enumerate(datasets, start=1):
            path = target / f"{index:04d}.dcm"
            ds.save_as(path, enforce_file_format=True)
            paths.append(path)
    return paths


def study_datasets(
    phantom: Phantom,
    *,
    series: Sequence[SeriesKind] = ("soft",),
    quirks: bool = False,
    fresh: bool = False,
) -> list[Dataset]:
    """The same objects in memory, each with its file meta information."""
    identity = StudyIdentity.of(phantom.spec, fresh=fresh)
    return [ds for _, group in _all_series(phantom, identity, series, quirks) for ds in group]


def _all_series(
    phantom: Phantom, identity: StudyIdentity, kinds: Sequence[SeriesKind], quirks: bool
) -> Iterator[tuple[str, list[Dataset]]]:
    device, matrix = str(phantom.hu.device), phantom.hu.shape[-1]
    for number, kind in enumerate(kinds, start=1):
        if kind == "localizer":
            yield kind, [_localizer(phantom, identity, number)]
            continue
        shown = phantom
        if kind != "soft":
            shown = generate(_other_series(phantom.spec, kind), device=device, matrix=matrix)
        yield kind, series_datasets(shown, identity, number, kind=kind, quirks=quirks)


def _other_series(spec: PhantomSpec, kind: SeriesKind) -> PhantomSpec:
    scan = spec.acquisition
    thin = 1.25
    slices = int(scan.slices * scan.spacing_mm / thin)
    noise = scan.noise_hu * (scan.spacing_mm / thin) ** 0.5
    return spec.with_acquisition(
        slices=slices, spacing_mm=thin, thickness_mm=thin, noise_hu=noise, bone_kernel=kind == "bone"
    )


def series_datasets(
    phantom: Phantom, identity: StudyIdentity, number: int, *, kind: SeriesKind = "soft", quirks: bool = False
) -> list[Dataset]:
    """One CT Image object per slice of ``phantom``, as series ``number`` of the study."""
    rng = np.random.default_rng([phantom.spec.seed, 23])
    form = draw_representation(rng) if quirks else vendor_representation(phantom.spec.acquisition.vendor)
    hu = phantom.hu.cpu().numpy()
    datasets = []
    for index in range(len(hu)):
        ds = series_header(phantom, identity, number, kind)
        _plane(ds, phantom, index)
        store_pixels(ds, hu[index], form)
        ds.SOPInstanceUID = identity.uid(number, kind, index)
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        if quirks:
            apply_quirks(ds)
        datasets.append(ds)
    return datasets


def series_header(phantom: Phantom, identity: StudyIdentity, number: int, kind: str) -> Dataset:
    """Patient, General Study, General Series, Frame of Reference, General Equipment, SOP Common, CT Image."""
    scan = phantom.spec.acquisition
    model, soft, bone = _SCANNERS[scan.vendor]
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID = CTImageStorage
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    started = identity.started
    scanned = started + timedelta(seconds=40 * number)
    ds.StudyDate, ds.StudyTime = started.strftime("%Y%m%d"), started.strftime("%H%M%S")
    for name, moment in (("Series", scanned), ("Acquisition", scanned), ("Content", scanned)):
        setattr(ds, f"{name}Date", moment.strftime("%Y%m%d"))
        setattr(ds, f"{name}Time", moment.strftime("%H%M%S"))
    ds.TimezoneOffsetFromUTC = "+0000"
    ds.AccessionNumber = identity.accession
    ds.Modality = "CT"
    ds.Manufacturer, ds.ManufacturerModelName = scan.vendor, model
    ds.InstitutionName = "Synthetic"
    ds.StationName = "PHANTOM1"
    ds.DeviceSerialNumber, ds.SoftwareVersions = "1", "1"
    ds.ReferringPhysicianName = ""
    ds.StudyDescription = "CTA HEAD" if scan.contrast else "CT HEAD WITHOUT CONTRAST"
    ds.SeriesDescription = _description(phantom, kind)
    ds.PatientName, ds.PatientID = f"Phantom^{phantom.spec.seed}", identity.patient_id
    ds.PatientBirthDate, ds.PatientSex = "19500101", "O"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = identity.study_uid, identity.uid(number, kind)
    ds.StudyID, ds.SeriesNumber, ds.AcquisitionNumber = "1", number, number
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = identity.frame_of_reference_uid, "OM"
    ds.BodyPartExamined, ds.PatientPosition = "HEAD", "HFS"
    ds.KVP, ds.XRayTubeCurrent, ds.ExposureTime = "120", 220, 1000
    ds.ConvolutionKernel = bone if scan.bone_kernel else soft
    ds.GantryDetectorTilt = decimal(scan.tilt_deg)
    ds.TableHeight, ds.RotationDirection = "150", "CW"
    ds.DataCollectionDiameter = ds.ReconstructionDiameter = decimal(scan.fov_mm)
    ds.FilterType = "HEAD FILTER"
    if scan.contrast:
        ds.ContrastBolusAgent, ds.ContrastBolusRoute = "IOHEXOL 350", "IV"
        ds.ContrastBolusVolume = "70"
    return ds


def _description(phantom: Phantom, kind: str) -> str:
    if phantom.spec.acquisition.contrast:
        return "CTA HEAD 0.6 ART"
    names = {"soft": "HEAD STD", "bone": "HEAD BONE", "thin": "HEAD THIN", "localizer": "SCOUT"}
    thickness = phantom.spec.acquisition.thickness_mm
    return names[kind] if kind == "localizer" else f"{names[kind]} {thickness:.4g} mm"


def decimal(value: float) -> str:
    """A decimal string within DS's 16 bytes (PS3.5 Table 6.2-1)."""
    return f"{value:.10g}" if len(f"{value:.10g}") <= 16 else f"{value:.6e}"


def _plane(ds: Dataset, phantom: Phantom, index: int) -> None:
    """Image Plane module (PS3.3 C.7.6.2)."""
    position = phantom.positions[index]
    normal = np.cross(phantom.orientation[:3], phantom.orientation[3:])
    ds.InstanceNumber = index + 1
    ds.ImagePositionPatient = [decimal(round(float(v), 6)) for v in position]
    ds.ImageOrientationPatient = [decimal(round(float(v), 8)) for v in phantom.orientation]
    ds.PixelSpacing = [decimal(phantom.spacing[1]), decimal(phantom.spacing[2])]
    ds.SliceThickness = decimal(phantom.spec.acquisition.thickness_mm)
    ds.SpacingBetweenSlices = decimal(phantom.spacing[0])
    ds.SliceLocation = decimal(round(float(position @ normal), 4))


def store_pixels(ds: Dataset, hu: np.ndarray, form: Representation) -> None:
    """Image Pixel (C.7.6.3), Modality LUT (C.11.1) and VOI LUT (C.11.2) modules."""
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = hu.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, form.bits, form.bits - 1
    ds.PixelRepresentation = int(form.signed)
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = decimal(form.intercept), "1", "HU"
    ds.WindowCenter, ds.WindowWidth = "40", "80"
    if form.padding is not None:
        ds.add_new("PixelPaddingValue", "SS" if form.signed else "US", form.padding)
    ds.PixelData = encode(hu, form).tobytes()


def _localizer(phantom: Phantom, identity: StudyIdentity, number: int) -> Dataset:
    """A lateral scout: rays summed from side to side, heights along the table."""
    ds = series_header(phantom, identity, number, "localizer")
    ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    ds.StudyDescription = "CT HEAD WITHOUT CONTRAST" if not phantom.spec.acquisition.contrast else "CTA HEAD"
    attenuation = (phantom.hu.clamp(-1000, 2500) + 1000.0).mean(dim=2).cpu().numpy()
    rows = np.linspace(len(attenuation) - 1, 0, 256)
    low = np.floor(rows).astype(int)
    high, share = np.minimum(low + 1, len(attenuation) - 1), (rows % 1)[:, None]
    picture = attenuation[low] * (1 - share) + attenuation[high] * share - 500.0
    height = phantom.spacing[0] * (len(attenuation) - 1)
    top = phantom.positions[-1]
    ds.InstanceNumber = 1
    ds.ImagePositionPatient = ["0", decimal(round(float(top[1]), 6)), decimal(round(float(top[2]), 6))]
    ds.ImageOrientationPatient = ["0", "1", "0", "0", "0", "-1"]
    ds.PixelSpacing = [decimal(height / 255), decimal(phantom.spacing[1])]
    ds.SliceThickness = decimal(phantom.spacing[1] * phantom.hu.shape[-1])
    store_pixels(ds, picture, vendor_representation("TOSHIBA"))
    ds.SOPInstanceUID = identity.uid(number, "localizer", 0)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    return ds
