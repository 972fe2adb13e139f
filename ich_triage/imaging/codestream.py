"""What a compressed frame says about its own size, read before any decoder allocates memory for it.

ITU-T T.81 Table B.1 and B.2 (JPEG), T.87 Table C.1 (JPEG-LS), T.800 Table A.9 (JPEG 2000, HTJ2K alike).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_SOC_SIZ = b"\xff\x4f\xff\x51"
_START_OF_FRAME = frozenset((*range(0xC0, 0xD0), 0xF7)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD9)))


@dataclass(frozen=True, kw_only=True)
class FrameSize:
    """Size of one coded picture."""

    #: pixels from top to bottom
    rows: int
    #: pixels from left to right
    columns: int
    #: colour planes
    components: int


def frame_size(frame: bytes) -> FrameSize | None:
    """Size of a JPEG, JPEG-LS or JPEG 2000 codestream; None when its header cannot be found."""
    start = frame.find(_SOC_SIZ, 0, 4096)  # past the boxes of a JP2 file, which some writers leave in
    try:
        return _jpeg_2000(frame, start) if start >= 0 else _jpeg(frame)
    except (struct.error, IndexError):
        return None


def _jpeg_2000(frame: bytes, start: int) -> FrameSize:
    width, height, left, top = struct.unpack_from(">4L", frame, start + 8)
    (components,) = struct.unpack_from(">H", frame, start + 40)
    return FrameSize(rows=height - top, columns=width - left, components=components)


def _jpeg(frame: bytes) -> FrameSize | None:
    position = 0
    while position < len(frame):
        if frame[position] != 0xFF:
            return None
        marker = frame[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
        elif marker in _START_OF_FRAME:
            rows, columns, components = struct.unpack_from(">HHB", frame, position + 5)
            return FrameSize(rows=rows, columns=columns, components=components)
        elif marker in _WITHOUT_LENGTH:
            position += 2
        else:
            position += 2 + struct.unpack_from(">H", frame, position + 2)[0]
    return None
