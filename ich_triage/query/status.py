"""DIMSE statuses that our answers carry."""

from __future__ import annotations

from pydicom.dataset import Dataset

SUCCESS = 0x0000

# C-FIND, PS3.4 Tables C.4-1 and CC.2.8-2
CANCEL = 0xFE00
PENDING = 0xFF00
#: a key was not supported for matching or existence
PENDING_UNSUPPORTED = 0xFF01
OUT_OF_RESOURCES = 0xA700
DOES_NOT_MATCH_SOP_CLASS = 0xA900
UNABLE_TO_PROCESS = 0xC000

# N-GET, N-SET, N-ACTION, PS3.7 Annex C
ATTRIBUTES_UNSUPPORTED = 0x0001
PROCESSING_FAILURE = 0x0110
INVALID_ARGUMENT = 0x0115
NO_SUCH_ACTION = 0x0123
NOT_AUTHORIZED = 0x0124
RESOURCE_LIMITATION = 0x0213

# UPS, PS3.4 Tables CC.2.1-2, CC.2.2-2, CC.2.3-3 and CC.2.6-1
ALREADY_CANCELED = 0xB304
ALREADY_COMPLETED = 0xB306
NO_LONGER_UPDATED = 0xC300
WRONG_TRANSACTION = 0xC301
ALREADY_IN_PROGRESS = 0xC302
NOT_BY_ACTION = 0xC303
NO_SUCH_STEP = 0xC307
UNKNOWN_RECEIVER = 0xC308
NOT_IN_PROGRESS = 0xC310
COMPLETED_ALREADY = 0xC311
NOBODY_TO_TELL = 0xC312


def status(code: int, comment: str) -> Dataset:
    """A status with its Error Comment (0000,0902), at most 64 characters."""
    ds = Dataset()
    ds.Status = code
    ds.ErrorComment = comment[:64]
    return ds
