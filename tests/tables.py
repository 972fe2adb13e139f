"""Metadata tables made by hand, for what reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ich_triage.domain.labels import LABELS
from train.sources.labels import put_study_labels
from train.sources.source import STUDY_LABELS, TABLE

_SLICE: dict[str, Any] = {
    "source": "one", "frame": 0, "synthetic": False, "row_spacing_mm": 0.5, "column_spacing_mm": 0.5,
    "thickness_mm": None, "Rows": 512, "Columns": 512, "BitsStored": 16, "BitsAllocated": 16,
    "PixelRepresentation": 1, "RescaleIntercept": -1024.0, "RescaleSlope": 1.0, "repaired": False,
    "brain_share": 0.3, "slice_distance_mm": 5.0, "weight": 1.0,
}  # fmt: skip
#: No bleed at all; nothing known.
NONE: tuple[bool, ...] = (False,) * len(LABELS)
UNKNOWN: tuple[None, ...] = (None,) * len(LABELS)


def bleed(*kinds: str) -> tuple[bool, ...]:
    """Labels of a slice with these subtypes."""
    return tuple(label == "any" or label in kinds for label in LABELS)


def table(studies: Mapping[str, Sequence[Sequence[bool | None]]], **values: Any) -> pd.DataFrame:
    """One study for each name, its patient's hash, with the labels of each of its slices.

    `values` stand in the other columns. Study labels follow from the slices'.
    """
    rows = [
        _SLICE
        | {
            "path": f"{name}/{number}.dcm",
            "SOPInstanceUID": f"1.{name}.{number}",
            "StudyInstanceUID": f"2.{name}",
            "SeriesInstanceUID": f"3.{name}",
            "patient": f"hash-{name}",
            "position_mm": 5.0 * number,
        }
        | values
        | dict(zip(LABELS, labels, strict=True))
        for name, slices in studies.items()
        for number, labels in enumerate(slices)
    ]
    frame = pd.DataFrame(rows).astype(dict.fromkeys(LABELS, "boolean"))
    return put_study_labels(frame)[[*TABLE.names, "weight"]].astype(dict.fromkeys(STUDY_LABELS, "boolean"))
