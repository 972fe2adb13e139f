"""Typed, forgiving access to the attributes of other people's data sets."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError

from ich_triage.domain.finding import Vector3

#: What pydicom and its codecs raise on malformed input, by experience of hostile files.
MALFORMED = (
    InvalidDicomError,
    BytesLengthException,
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    NotImplementedError,
    RuntimeError,
    AssertionError,
    MemoryError,
    struct.error,
    zlib.error,
)


class AttributeReader:
    """Reads each attribute from the first of several data sets that has a value for it."""

    def __init__(self, sources: Sequence[Dataset]) -> None:
        self._sources = sources

    def _values(self, keyword: str) -> list[object]:
        for source in self._sources:
            try:
                value = source.get(keyword)
            except MALFORMED:
                continue
            if value is None or value == "":
                continue
            many = isinstance(value, Sequence) and not isinstance(value, str | bytes)
            return list(value) if many else [value]
        return []

    def texts(self, keyword: str) -> tuple[str, ...]:
        """Every value of the attribute, upper case; empty when absent."""
        return tuple(str(value).strip().upper() for value in self._values(keyword))

    def text(self, keyword: str) -> str:
        """The values joined by backslashes; empty when absent."""
        return "\\".join(str(value).strip(" \0") for value in self._values(keyword))

    def numbers(self, keyword: str, count: int) -> tuple[float, ...] | None:
        """Exactly `count` finite numbers, else None."""
        try:
            values = tuple(float(value) for value in self._values(keyword))  # type: ignore[arg-type]
        except (TypeError, ValueError):
            return None
        return values if len(values) == count and all(map(math.isfinite, values)) else None

    def number(self, keyword: str) -> float | None:
        """One finite number, else None."""
        values = self.numbers(keyword, 1)
        return values[0] if values else None

    def integer(self, *keywords: str) -> int | None:
        """One whole number from the first of `keywords` that has one, else None."""
        for keyword in keywords:
            value = self.number(keyword)
            if value is not None and value == int(value):
                return int(value)
        return None

    def position(self) -> Vector3 | None:
        """Image Position (Patient), mm, LPS."""
        values = self.numbers("ImagePositionPatient", 3)
        return (values[0], values[1], values[2]) if values else None

    def orientation(self) -> tuple[float, ...] | None:
        """Unit row and column vectors; PS3.3 C.7.6.2.1.1 asks for orthonormal ones."""
        values = self.numbers("ImageOrientationPatient", 6)
        if values is None:
            return None
        row, column = values[:3], values[3:]
        lengths = math.hypot(*row), math.hypot(*column)
        dot = sum(a * b for a, b in zip(row, column, strict=True))
        if any(abs(length - 1) > 0.01 for length in lengths) or abs(dot) > 0.01:
            return None
        return tuple(v / lengths[0] for v in row) + tuple(v / lengths[1] for v in column)

    def spacing(self) -> tuple[float, float] | None:
        """Pixel Spacing, between rows and between columns, mm; None when implausible."""
        values = self.numbers("PixelSpacing", 2)
        plausible = values is not None and all(0.02 <= value <= 10 for value in values)
        return (values[0], values[1]) if values and plausible else None

    def contrast_agent(self) -> str:
        """Contrast/Bolus Agent, else the meaning of its sequence's first code."""
        return self.text("ContrastBolusAgent") or self._meaning("ContrastBolusAgentSequence")

    def anatomic_region(self) -> str:
        """Meaning of the Anatomic Region Sequence, upper case."""
        return self._meaning("AnatomicRegionSequence").upper()

    def _meaning(self, keyword: str) -> str:
        items = self._values(keyword)
        return str(items[0].get("CodeMeaning", "")) if items and isinstance(items[0], Dataset) else ""


def positive(value: float | None) -> float | None:
    """The value when it is above zero, else None."""
    return value if value is not None and value > 0 else None
