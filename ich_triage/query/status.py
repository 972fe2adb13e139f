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


def status(code: int, comment: str) -> Dataset:
    """A status with its Error Comment (0000,0902), at most 64 characters."""
    ds = Dataset()
    ds.Status = code
    ds.ErrorComment = comment[:64]
    return ds
