"""Convolution kernels of CT vendors, by sharpness (Convolution Kernel, (0018,1210)).

Names as the vendors' conformance statements and user manuals list them. A kernel that is not here is
`UNKNOWN`, which the descriptions and at last the pixels decide.
"""

from __future__ import annotations

import re
from enum import StrEnum


class Sharpness(StrEnum):
    """What a kernel is made for."""

    #: smooth, for brain and soft tissue
    SOFT = "soft"
    #: edge-enhancing, for bone, lung and inner ear
    SHARP = "sharp"
    #: not in the table
    UNKNOWN = "unknown"


# Siemens writes a letter (B body, H head, J iterative, U/T ultra, I/Q/S…), two digits of sharpness, a
# variant: 10-49 smooth to medium, 50 and more sharp. Canon numbers its filters by purpose.
_NUMBERED = re.compile(
    r"^(?:[BHJTUISQDE]|BR|BF|BV|BL|HR|HF|HV|HC|HP|QR|SA|SD|UR)(\d\d)[A-Z]?(?:-?\d)?[A-Z]?$"
)
_CANON = re.compile(r"^FC(\d\d)(?:[-_ ]?[A-Z0-9]+)?$")
# FC01-09 body, 10-19 body with beam-hardening correction off, 20-29 and 60-69 head; 30-39 bone,
# 50-59 lung, 80-89 high resolution; 40-49 body with enhanced edges, tolerable.
_CANON_SHARP = frozenset((*range(30, 40), *range(50, 60), *range(80, 90)))

_NAMED: dict[str, Sharpness] = {
    # GE
    **dict.fromkeys(("STND", "STD", "STD+", "STANDARD", "SOFT", "SOFTPLUS", "DETAIL"), Sharpness.SOFT),
    **dict.fromkeys(
        ("BONE", "BONEPLUS", "BONE+", "BONE PLUS", "EDGE", "EDGEPLUS", "LUNG", "ULTRA", "HD BONE"),
        Sharpness.SHARP,
    ),
    # Philips: brain UA to UC, EB is brain too; body A to C; D and Y… are sharp
    **dict.fromkeys(("UA", "UB", "UC", "EA", "EB", "EC", "A", "B", "C", "BRAIN STANDARD"), Sharpness.SOFT),
    **dict.fromkeys(("D", "E", "L", "Y", "YA", "YB", "YC", "YD", "YE", "HB", "W"), Sharpness.SHARP),
    # Neusoft, United Imaging and others that use words
    **dict.fromkeys(("BRAIN", "HEAD", "SMOOTH", "NEURO", "BRAIN SMOOTH"), Sharpness.SOFT),
    **dict.fromkeys(("SHARP", "HIGH RESOLUTION", "INNER EAR", "V_SHARP_B"), Sharpness.SHARP),
}


def sharpness(convolution_kernel: str) -> Sharpness:
    """Class of a kernel by its name; of several values, the first (Siemens adds the iteration level)."""
    name = convolution_kernel.split("\\")[0].strip().upper()
    if name in _NAMED:
        return _NAMED[name]
    if match := _CANON.match(name):
        return Sharpness.SHARP if int(match[1]) in _CANON_SHARP else Sharpness.SOFT
    if match := _NUMBERED.match(name):
        return Sharpness.SHARP if int(match[1]) >= 50 else Sharpness.SOFT
    return Sharpness.UNKNOWN
