"""Where the frames of a multi-frame CT lie, so that its completeness is a matter of geometry too."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian

from ..domain.completeness import SlicePosition, is_axial
from ..errors import HeaderError
from ..imaging.header import SliceHeader, read_headers_from


def frame_positions(path: Path, *, limit_bytes: int) -> list[SlicePosition]:
    """One for each frame; none where the first `limit_bytes` do not tell, or the object is deflated.

    A study without them waits for its quiet time. Raises OSError.
    """
    try:
        if read_file_meta_info(path).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            return []
        with path.open("rb") as file:
            return [_position(each) for each in read_headers_from(BytesIO(file.read(limit_bytes)), path)]
    except HeaderError:
        return []


def _position(header: SliceHeader) -> SlicePosition:
    orientation = header.image_orientation_patient
    return SlicePosition(
        series_instance_uid=header.series_instance_uid,
        image_position=header.image_position_patient,
        image_orientation=orientation,
        is_axial_ct=is_axial(orientation) and "LOCALIZER" not in header.image_type,
        instance_number=header.instance_number,
        slice_thickness=header.slice_thickness,
    )
