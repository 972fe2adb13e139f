"""Data sets of peers as the store keeps them: the DICOM JSON model (PS3.18 Annex F)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom.dsutils import encode

from ..errors import HeaderError

Json = dict[str, Any]


def kept(ds: Dataset, keywords: Collection[str]) -> Json:
    """Some attributes of a peer's data set, private ones within them left out, as JSON.

    What could not be sent again is refused before it is kept. Raises HeaderError.
    """
    # broad, since a decoder raises whatever it likes for the bytes of a peer
    try:
        part = Dataset()
        for keyword in keywords:
            if keyword in ds:
                part[keyword] = ds[keyword]
        part.remove_private_tags()
        told = to_json(part)
        whole = encode(from_json(told), False, True)
    except Exception as error:
        raise HeaderError("an attribute cannot be read") from error
    if whole is None:
        raise HeaderError("an attribute has a value that cannot be sent")
    return told


def to_json(ds: Dataset) -> Json:
    """A data set of ours as JSON."""
    told: Json = ds.to_json_dict()
    return told


def from_json(told: Json | None) -> Dataset:
    """The data set again; empty for None."""
    return Dataset.from_json(told or {})
