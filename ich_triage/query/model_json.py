"""Data sets of peers as the store keeps them: the DICOM JSON model (PS3.18 Annex F)."""

from __future__ import annotations

import struct
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom.dsutils import encode

from ..errors import HeaderError

Json = dict[str, Any]

_MALFORMED = (ValueError, TypeError, LookupError, AttributeError, NotImplementedError, EOFError, struct.error)


def to_json(ds: Dataset) -> Json:
    """`ds` as JSON, from which it can be sent again; what cannot be is refused before it is kept.

    Raises HeaderError.
    """
    try:
        told: Json = ds.to_json_dict()
        whole = encode(from_json(told), False, True)
    except _MALFORMED as error:
        raise HeaderError("an attribute cannot be read") from error
    if whole is None:
        raise HeaderError("an attribute has a value that cannot be sent")
    return told


def from_json(told: Json | None) -> Dataset:
    """The data set again; empty for None."""
    return Dataset.from_json(told or {})
