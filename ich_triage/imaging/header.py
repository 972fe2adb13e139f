"""Headers of received images, one record per frame, read without pixels and without trust.

Attributes keep their DICOM keyword in snake case. What is missing or malformed becomes None or empty;
only what makes the object unusable or dangerous raises. Enhanced CT gives one record per frame, with
its functional groups resolved (PS3.3 Table A.38-2).
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydicom import config as pydicom_config
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from ich_triage.domain.finding import Vector3
from ich_triage.domain.uid import is_uid
from ich_triage.errors import HeaderError

from .attributes import MALFORMED, AttributeReader, positive

# Values of other people's objects are judged here; pydicom's own warnings would quote them on stderr.
pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2.1"
LEGACY_CONVERTED_ENHANCED_CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2.2"
#: The Storage SOP classes whose pixels are CT numbers (PS3.4 Table B.5-1).
CT_IMAGE_CLASSES = frozenset(
    {CT_IMAGE_STORAGE, ENHANCED_CT_IMAGE_STORAGE, LEGACY_CONVERTED_ENHANCED_CT_IMAGE_STORAGE}
)

#: Larger matrices than any CT reconstructs (2048 in ultra-high resolution) are not believed.
MAX_ROWS = MAX_COLUMNS = 4096
MAX_FRAMES = 4096
#: Pixels of one object, all frames together: 8192 frames of 512².
MAX_PIXELS = 1 << 31
#: CT numbers are at most some 30,000 HU from water, even in metal.
MAX_SLOPE, MAX_INTERCEPT_HU = 1000.0, 100_000.0
#: A deflated object may grow no further than this when it is inflated, bytes.
MAX_INFLATED_BYTES = 1 << 29

_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
# fmt: off
_KEYWORDS = [
    "ImageType", "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality",
    "Manufacturer", "StudyDescription", "SeriesDescription", "ProtocolName", "BodyPartExamined",
    "ContrastBolusAgent", "ContrastBolusAgentSequence", "KVP", "SliceThickness", "GantryDetectorTilt",
    "ConvolutionKernel", "SeriesNumber", "AcquisitionNumber", "InstanceNumber", "ImagesInAcquisition",
    "ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID", "NumberOfFrames",
    "SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "PixelSpacing", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit",
    "RescaleIntercept", "RescaleSlope", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]
# fmt: on


@dataclass(frozen=True, kw_only=True)
class PixelLocation:
    """Where the pixel data stand in the file, after inflation if the file is deflated."""

    #: of the first byte of the element's value
    offset: int
    #: bytes of the value; None when undefined, that is, encapsulated
    length: int | None


@dataclass(frozen=True, kw_only=True)
class SliceHeader:
    """What selection, geometry and decoding need to know of one image or one frame."""

    #: the file
    path: Path
    #: 1-based frame number; None for a single-frame image
    frame_number: int | None
    #: of the file meta information; empty when absent
    transfer_syntax_uid: str
    #: where the pixels are; None when there are none
    pixels: PixelLocation | None
    #: SOP Class UID
    sop_class_uid: str
    #: SOP Instance UID
    sop_instance_uid: str
    #: Study Instance UID
    study_instance_uid: str
    #: Series Instance UID
    series_instance_uid: str
    #: Modality, upper case
    modality: str
    #: Image Type (Frame Type of an enhanced image), upper case
    image_type: tuple[str, ...]
    #: Manufacturer
    manufacturer: str
    #: Study Description
    study_description: str
    #: Series Description
    series_description: str
    #: Protocol Name
    protocol_name: str
    #: Body Part Examined, upper case
    body_part_examined: str
    #: Contrast/Bolus Agent, or the meaning of its sequence's first code
    contrast_bolus_agent: str
    #: Convolution Kernel
    convolution_kernel: str
    #: KVP, kV
    kvp: float | None
    #: Slice Thickness, mm
    slice_thickness: float | None
    #: Gantry/Detector Tilt, degrees
    gantry_detector_tilt: float | None
    #: Series Number
    series_number: int | None
    #: Acquisition Number (Frame Acquisition Number)
    acquisition_number: int | None
    #: Instance Number; of a frame, its frame number
    instance_number: int | None
    #: Images in Acquisition
    images_in_acquisition: int | None
    #: Frame of Reference UID
    frame_of_reference_uid: str
    #: centre of the first pixel, mm, LPS
    image_position_patient: Vector3 | None
    #: unit vectors along a row and down a column, LPS; None unless orthonormal
    image_orientation_patient: tuple[float, ...] | None
    #: between rows, between columns, mm
    pixel_spacing: tuple[float, float] | None
    #: Number of Frames; 1 for a single-frame image
    number_of_frames: int
    #: Samples per Pixel
    samples_per_pixel: int
    #: Photometric Interpretation
    photometric_interpretation: str
    #: Rows; 0 when absent
    rows: int
    #: Columns; 0 when absent
    columns: int
    #: Bits Allocated
    bits_allocated: int
    #: Bits Stored
    bits_stored: int
    #: High Bit
    high_bit: int
    #: 0 unsigned, 1 two's complement
    pixel_representation: int
    #: Pixel Padding Value, stored value
    pixel_padding_value: int | None
    #: Pixel Padding Range Limit, stored value
    pixel_padding_range_limit: int | None
    #: Rescale Slope; 1 when absent
    rescale_slope: float
    #: Rescale Intercept, HU; 0 when absent
    rescale_intercept: float

    @property
    def is_ct_image(self) -> bool:
        """Whether the SOP class carries CT numbers."""
        return self.sop_class_uid in CT_IMAGE_CLASSES


@dataclass(frozen=True, kw_only=True)
class UnreadableFile:
    """A file whose header cannot be used."""

    #: the file
    path: Path
    #: why, in one line without patient data
    reason: str
    #: Series Instance UID; "" where the object does not say, and so may belong to any
    series_instance_uid: str = ""


def open_dataset(path: Path) -> BinaryIO:
    """Open a DICOM file for reading; a deflated one is inflated in memory, within bounds.

    Raises `HeaderError` when it cannot be inflated, or grows beyond `MAX_INFLATED_BYTES`.
    """
    meta = read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return path.open("rb")
    with path.open("rb") as file:
        head = file.read(144 + int(meta.get("FileMetaInformationGroupLength", 0)))
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        body = inflater.decompress(file.read(), MAX_INFLATED_BYTES)
    if inflater.unconsumed_tail:
        raise HeaderError("deflated object grows beyond the limit")
    if not inflater.eof:
        raise HeaderError("deflated object is truncated")
    # What follows is plain Explicit VR Little Endian now; null padding keeps the UID's length.
    deflated = DeflatedExplicitVRLittleEndian.encode()
    plain = ExplicitVRLittleEndian.encode().ljust(len(deflated), b"\0")
    return io.BytesIO(head.replace(deflated, plain, 1) + body)


def read_headers(path: Path, *, any_uid: bool = False) -> tuple[SliceHeader, ...]:
    """Read one file; one header per frame, a single one for anything that is not an image.

    `any_uid` takes the files of public sets: their UIDs may be any text, and the SOP class may be missing
    where the modality is CT. Raises `HeaderError` when the file is not DICOM, lacks its UIDs, or states
    absurd sizes.
    """
    try:
        with open_dataset(path) as file:
            return read_headers_from(file, path, any_uid=any_uid)
    except MALFORMED as error:
        raise HeaderError(f"header cannot be read ({type(error).__name__})") from None


def read_headers_from(file: BinaryIO, path: Path, *, any_uid: bool = False) -> tuple[SliceHeader, ...]:
    """Read one object that is not deflated from `file`, of which nothing after Pixel Data is needed.

    `any_uid` and errors as in `read_headers`.
    """
    try:
        ds = dcmread(file, stop_before_pixels=True, specific_tags=list(_KEYWORDS))
        if any_uid and not ds.get("SOPClassUID") and ds.get("Modality") == "CT":
            ds.SOPClassUID = CT_IMAGE_STORAGE
        headers = tuple(_headers(path, ds, _locate_pixels(file, ds)))
    except MALFORMED as error:
        # The cause quotes values of the object, which may be patient data: its type alone is kept.
        raise HeaderError(f"header cannot be read ({type(error).__name__})") from None
    if not (any_uid or is_uid(headers[0].series_instance_uid)):
        raise HeaderError("SeriesInstanceUID is not a UID")
    return headers


def read_study(paths: Iterable[Path]) -> tuple[tuple[SliceHeader, ...], tuple[UnreadableFile, ...]]:
    """Read many files; those that cannot be read are named with the reason instead of raised."""
    headers: list[SliceHeader] = []
    unreadable: list[UnreadableFile] = []
    for path in paths:
        try:
            headers += read_headers(path)
        except HeaderError as error:
            unreadable.append(UnreadableFile(path=path, reason=str(error)))
    return tuple(headers), tuple(unreadable)


def _locate_pixels(file: BinaryIO, ds: Dataset) -> PixelLocation | None:
    """`file` stands at Pixel Data, where reading stopped (PS3.5 section 7.1.2), or at its end."""
    implicit, little = ds.original_encoding
    order = "<" if little else ">"
    raw = file.read(12)
    if len(raw) < (8 if implicit else 12) or struct.unpack(order + "HH", raw[:4]) != (0x7FE0, 0x0010):
        return None
    start, size = (4, 8) if implicit else (8, 12)
    (length,) = struct.unpack(order + "L", raw[start : start + 4])
    offset = file.tell() - len(raw) + size
    return PixelLocation(offset=offset, length=None if length == 0xFFFFFFFF else length)


def _headers(path: Path, ds: Dataset, pixels: PixelLocation | None) -> Iterable[SliceHeader]:
    top = _header(path, (ds,), None, pixels)
    if not top.is_ct_image:
        yield top
        return
    _check_image(top)
    frames = ds.get("PerFrameFunctionalGroupsSequence") or ()
    if top.sop_class_uid == CT_IMAGE_STORAGE and top.number_of_frames == 1:
        yield top
        return
    if frames and len(frames) != top.number_of_frames:
        raise HeaderError("NumberOfFrames differs from the functional groups")
    shared = [_flat(item) for item in (ds.get("SharedFunctionalGroupsSequence") or ())[:1]]
    for number in range(1, top.number_of_frames + 1):
        own = [_flat(frames[number - 1])] if frames else []
        yield _header(path, (*own, *shared, ds), number, pixels)


def _flat(item: Dataset) -> Dataset:
    """The attributes of all macros of one functional-groups item, side by side."""
    flat = Dataset()
    for element in item:
        if element.VR == "SQ" and element.value:
            flat.update(element.value[0])
    return flat


def _check_image(header: SliceHeader) -> None:
    """Refuse sizes that no CT has, before anything is allocated from them."""
    if not (0 < header.rows <= MAX_ROWS and 0 < header.columns <= MAX_COLUMNS):
        raise HeaderError("Rows or Columns missing or absurd")
    if not 0 < header.number_of_frames <= MAX_FRAMES:
        raise HeaderError("NumberOfFrames absurd")
    if header.rows * header.columns * header.number_of_frames > MAX_PIXELS:
        raise HeaderError("Rows, Columns and NumberOfFrames together absurd")
    if header.bits_allocated not in (8, 16, 32) or not 0 < header.bits_stored <= header.bits_allocated:
        raise HeaderError("BitsAllocated or BitsStored missing or absurd")
    if header.pixel_representation not in (0, 1):
        raise HeaderError("PixelRepresentation absurd")
    if not 0 < abs(header.rescale_slope) <= MAX_SLOPE:
        raise HeaderError("RescaleSlope zero or absurd")
    if abs(header.rescale_intercept) > MAX_INTERCEPT_HU:
        raise HeaderError("RescaleIntercept absurd")


def _header(
    path: Path, sources: Sequence[Dataset], frame_number: int | None, pixels: PixelLocation | None
) -> SliceHeader:
    """One record; each attribute from the first of `sources` that has a value for it."""
    read = AttributeReader(sources)
    uids = {keyword: read.text(keyword) for keyword in _UIDS}
    if missing := [keyword for keyword, uid in uids.items() if not uid]:
        raise HeaderError(f"{missing[0]} missing")
    bits_stored = read.integer("BitsStored") or 0
    return SliceHeader(
        path=path,
        frame_number=frame_number,
        transfer_syntax_uid=str(getattr(sources[-1], "file_meta", Dataset()).get("TransferSyntaxUID", "")),
        pixels=pixels,
        sop_class_uid=uids["SOPClassUID"],
        sop_instance_uid=uids["SOPInstanceUID"],
        study_instance_uid=uids["StudyInstanceUID"],
        series_instance_uid=uids["SeriesInstanceUID"],
        modality=read.text("Modality").upper(),
        image_type=read.texts("FrameType") or read.texts("ImageType"),
        manufacturer=read.text("Manufacturer"),
        study_description=read.text("StudyDescription"),
        series_description=read.text("SeriesDescription"),
        protocol_name=read.text("ProtocolName"),
        body_part_examined=read.text("BodyPartExamined").upper() or read.anatomic_region(),
        contrast_bolus_agent=read.contrast_agent(),
        convolution_kernel=read.text("ConvolutionKernel"),
        kvp=read.number("KVP"),
        slice_thickness=positive(read.number("SliceThickness")),
        gantry_detector_tilt=read.number("GantryDetectorTilt"),
        series_number=read.integer("SeriesNumber"),
        acquisition_number=read.integer("FrameAcquisitionNumber", "AcquisitionNumber"),
        instance_number=frame_number or read.integer("InstanceNumber"),
        images_in_acquisition=read.integer("ImagesInAcquisition"),
        frame_of_reference_uid=read.text("FrameOfReferenceUID"),
        image_position_patient=read.position(),
        image_orientation_patient=read.orientation(),
        pixel_spacing=read.spacing(),
        number_of_frames=read.integer("NumberOfFrames") or 1,
        samples_per_pixel=read.integer("SamplesPerPixel") or 1,
        photometric_interpretation=read.text("PhotometricInterpretation").upper(),
        rows=read.integer("Rows") or 0,
        columns=read.integer("Columns") or 0,
        bits_allocated=read.integer("BitsAllocated") or 0,
        bits_stored=bits_stored,
        high_bit=read.integer("HighBit") or max(bits_stored - 1, 0),
        pixel_representation=read.integer("PixelRepresentation") or 0,
        pixel_padding_value=read.integer("PixelPaddingValue"),
        pixel_padding_range_limit=read.integer("PixelPaddingRangeLimit"),
        rescale_slope=1.0 if (slope := read.number("RescaleSlope")) is None else slope,
        rescale_intercept=read.number("RescaleIntercept") or 0.0,
    )
