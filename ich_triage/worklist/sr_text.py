"""A structured report as indented text (PS3.3 section C.17.3, SR Document Content)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pydicom import Dataset

#: Value Type to the attribute that holds the value as it is
_PLAIN = {"TEXT": "TextValue", "UIDREF": "UID", "DATETIME": "DateTime", "DATE": "Date", "TIME": "Time"}


class Line(NamedTuple):
    """One content item."""

    #: how deep it lies; 0 is the title
    depth: int
    #: its concept name
    name: str
    #: its value in words; empty for a container
    value: str


def lines(document: Dataset) -> list[Line]:
    """Every content item, in order."""
    return list(_walk(document, 0))


def _walk(item: Dataset, depth: int) -> Iterator[Line]:
    names = item.get("ConceptNameCodeSequence") or [Dataset()]
    yield Line(depth, str(names[0].get("CodeMeaning", "")), _value(item))
    for child in item.get("ContentSequence", []):
        yield from _walk(child, depth + 1)


def _value(item: Dataset) -> str:
    """What the item says, by its Value Type (PS3.3 Table C.17.3-7)."""
    kind = item.get("ValueType", "")
    if kind == "CODE":
        return str(item.ConceptCodeSequence[0].CodeMeaning)
    if kind == "NUM":
        return _number(item)
    if kind == "PNAME":
        return str(item.PersonName)
    if kind in ("IMAGE", "COMPOSITE"):
        return f"{kind.lower()} {item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID}"
    if kind in ("SCOORD", "SCOORD3D"):
        return f"{item.GraphicType.lower()} {', '.join(f'{each:.1f}' for each in item.GraphicData)}"
    keyword = {
        "TEXT": "TextValue",
        "UIDREF": "UID",
        "DATETIME": "DateTime",
        "DATE": "Date",
        "TIME": "Time",
    }.get(kind)
    return str(item.get(keyword, "")) if keyword else ""


def _number(item: Dataset) -> str:
    measured = item.get("MeasuredValueSequence") or []
    if not measured:
        return "not measured"
    unit = measured[0].MeasurementUnitsCodeSequence[0]
    code = "" if unit.CodeValue == "1" else f" {unit.CodeValue}"
    return f"{measured[0].NumericValue}{code}"
