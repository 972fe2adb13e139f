"""What the index needs of a received object. Headers are other people's: expect the worst.

Values are taken as raw bytes and converted here, each on its own: pydicom's conversion warns and raises on
what real scanners send, and quotes the value while it does.
"""

from __future__ import annotations

import errno
import math
import os
import zlib
from dataclasses import asdict
from io import BytesIO
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import BinaryIO, cast

from pydicom.charset import decode_bytes, python_encoding
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, CTImageStorage, DeflatedExplicitVRLittleEndian

from ..dicom.contexts import CT_IMAGE_CLASSES
from ..domain.completeness import SlicePosition, is_axial
from ..domain.uid import is_uid
from ..errors import HeaderError
from ..store.instances import Received
from .frames import frame_positions
from .spool import Arrival, digest, seek_data_set

#: All that we read stands in the first so many bytes, or the object is no use to us. Bounds memory, and
#: what a deflated bomb can unfold to.
HEADER_LIMIT_BYTES = 8 << 20

#: longest text kept of a patient or study attribute; PS3.5 Table 6.2-1 allows 3 × 64 in the longest
TEXT_LIMIT = 256

_IDENTIFIERS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
_KEYWORDS = (
    *_IDENTIFIERS,
    "SpecificCharacterSet",
    "ImageType",
    "StudyDate",
    "AccessionNumber",
    "StudyDescription",
    "PatientName",
    "PatientID",
    "SliceThickness",
    "InstanceNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "ImagesInAcquisition",
)
_TAGS = {keyword: Tag(tag_for_keyword(keyword) or 0) for keyword in _KEYWORDS}
_LAST_TAG = max(_TAGS.values())
_SOP_INSTANCE_UID = Tag(0x0002, 0x0003)
_TRANSFER_SYNTAX = Tag(0x0002, 0x0010)
_SENDING_AE_TITLE = Tag(0x0002, 0x0017)
#: preamble and prefix before the file meta information
_PREAMBLE_BYTES = 132
_ESCAPE = b"\x1b"
_NAME_DELIMITERS = {ord(character) for character in "^=\\"}


class RawHeader:
    """Values as bytes, converted on request; what is missing or malformed is empty or None."""

    def __init__(self, data: Dataset, *, sender: str) -> None:
        self._data = data
        #: AE title of the association that brought the file, as the receiver wrote it into it
        self.sender = sender
        names = [name.strip() for name in self.ascii("SpecificCharacterSet").split("\\")]
        # an unknown character set still lets through what is ASCII (PS3.3 section C.12.1.1.2)
        self._encodings = [python_encoding.get(name, "latin-1") for name in names]

    def _bytes(self, keyword: str) -> bytes:
        element = self._data.get_item(_TAGS[keyword])
        value = element.value if element is not None else None
        return value[: 4 * TEXT_LIMIT] if isinstance(value, bytes) else b""

    def ascii(self, keyword: str) -> str:
        """A value of the default repertoire, padding removed."""
        return self._bytes(keyword).decode("latin-1").strip(" \0")

    def text(self, keyword: str) -> str:
        """A value in the object's character set, cut to `TEXT_LIMIT`, without control characters."""
        value = self._bytes(keyword)
        try:
            # only code extensions need pydicom
            if _ESCAPE in value:
                decoded = decode_bytes(value, self._encodings, _NAME_DELIMITERS)
            else:
                decoded = value.decode(self._encodings[0], "replace")
        except (UnicodeError, Warning):
            decoded = value.decode("latin-1")
        return "".join(character for character in decoded if character.isprintable()).strip()[:TEXT_LIMIT]

    def numbers(self, keyword: str, count: int) -> tuple[float, ...] | None:
        """`count` finite decimal numbers; None when it is not that."""
        try:
            values = tuple(float(part) for part in self.ascii(keyword).split("\\"))
        except ValueError:
            return None
        return values if len(values) == count and all(map(math.isfinite, values)) else None

    def integer(self, keyword: str) -> int | None:
        """One integer that a database can keep; None when it is not that."""
        number = self.numbers(keyword, 1)
        return int(number[0]) if number and abs(number[0]) < 2**31 else None


def read(arrival: Arrival) -> Received:
    """Read the header of one file of the spool; where the file is to lie is for the caller to say.

    A CT image that does not say its series is one of series "", which is no UID: it may be a slice of any.

    Raises HeaderError when study, series, instance or class cannot be read from it, OSError.
    """
    header = _read_raw(arrival.path)
    identifiers = {keyword: header.ascii(keyword) for keyword in _IDENTIFIERS}
    sop_class_uid, series_instance_uid = identifiers["SOPClassUID"], identifiers["SeriesInstanceUID"]
    if sop_class_uid in CT_IMAGE_CLASSES and not is_uid(series_instance_uid):
        del identifiers["SeriesInstanceUID"]
        series_instance_uid = ""
    for keyword, value in identifiers.items():
        if not is_uid(value):
            study = identifiers["StudyInstanceUID"]
            raise HeaderError(
                f"{keyword} is {'not a UID' if value else 'missing'}",
                study_instance_uid=study if is_uid(study) else None,
            )
    positions: list[SlicePosition] = []
    if sop_class_uid == CTImageStorage:
        positions = [_position(header, series_instance_uid)]
    elif sop_class_uid in CT_IMAGE_CLASSES:
        positions = frame_positions(arrival.path, limit_bytes=HEADER_LIMIT_BYTES)
    return Received(
        study_instance_uid=identifiers["StudyInstanceUID"],
        series_instance_uid=series_instance_uid,
        sop_instance_uid=identifiers["SOPInstanceUID"],
        sop_class_uid=sop_class_uid,
        patient_name=header.text("PatientName"),
        patient_id=header.text("PatientID"),
        accession_number=header.text("AccessionNumber"),
        study_description=header.text("StudyDescription"),
        study_date=header.text("StudyDate"),
        calling_ae_title=header.sender,
        size=arrival.path.stat().st_size,
        sha256=digest(arrival.path),
        received_at=arrival.received_at,
        stat=arrival.high_priority,
        positions=[asdict(position) for position in positions] or None,
    )


def named_uid(path: Path) -> str:
    """SOP Instance UID of a file of the spool as its sender has called it; the object may say otherwise.

    Raises OSError.
    """
    with path.open("rb") as file:
        seek_data_set(file)
        length = file.tell()
        file.seek(0)
        return _decode(_meta(file.read(length)), _SOP_INSTANCE_UID)


def _read_raw(path: Path) -> RawHeader:
    with path.open("rb") as file:
        length = min(os.fstat(file.fileno()).st_size, HEADER_LIMIT_BYTES)
        # broad, since this is the boundary to hostile bytes, on which pydicom raises whatever it likes
        try:
            with mmap(file.fileno(), length, access=ACCESS_READ) as data:
                return _parse(data)
        except OSError:
            raise  # the machine's trouble, not the object's: it will pass
        except MemoryError as error:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)) from error
        except Exception as error:
            raise HeaderError(f"the header cannot be parsed ({type(error).__name__})") from error


def _parse(data: mmap) -> RawHeader:
    file = cast(BinaryIO, data)
    seek_data_set(file)
    meta = _meta(data[: data.tell()])
    syntax = UID(_decode(meta, _TRANSFER_SYNTAX))
    if syntax == DeflatedExplicitVRLittleEndian:
        inflate = zlib.decompressobj(-zlib.MAX_WBITS).decompress
        file = BytesIO(inflate(data[data.tell() :], HEADER_LIMIT_BYTES))
    header = read_dataset(
        file,
        syntax.is_implicit_VR,
        syntax.is_little_endian,
        stop_when=lambda tag, _vr, _length: tag > _LAST_TAG,
        specific_tags=list(_TAGS.values()),
    )
    return RawHeader(header, sender=_decode(meta, _SENDING_AE_TITLE)[:16])


def _meta(head: bytes) -> Dataset:
    """Group 0002 of what stands before the data set; we have written it ourselves."""
    return read_dataset(BytesIO(head[_PREAMBLE_BYTES:]), False, True)


def _decode(data: Dataset, tag: BaseTag) -> str:
    element = data.get_item(tag)
    value = element.value if element is not None else None
    return value.decode("latin-1").strip(" \0") if isinstance(value, bytes) else ""


def _position(header: RawHeader, series_instance_uid: str) -> SlicePosition:
    position = header.numbers("ImagePositionPatient", 3)
    orientation = header.numbers("ImageOrientationPatient", 6)
    thickness = header.numbers("SliceThickness", 1)
    is_localizer = "LOCALIZER" in header.ascii("ImageType").upper()
    return SlicePosition(
        series_instance_uid=series_instance_uid,
        image_position=(position[0], position[1], position[2]) if position else None,
        image_orientation=orientation,
        is_axial_ct=is_axial(orientation) and not is_localizer,
        instance_number=header.integer("InstanceNumber"),
        images_in_acquisition=header.integer("ImagesInAcquisition"),
        slice_thickness=thickness[0] if thickness else None,
    )
