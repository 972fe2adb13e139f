"""The lines of requirements.txt."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

REPOSITORY = Path(__file__).parents[3]


@dataclass(frozen=True, kw_only=True)
class Pin:
    """One of them."""

    #: package
    name: str
    #: its version
    version: str
    #: whether it is for this system and Python
    here: bool


def pins() -> list[Pin]:
    """All of them."""
    lines = (REPOSITORY / "requirements.txt").read_text().splitlines()
    asked = [Requirement(line.removesuffix("\\")) for line in lines if re.match(r"\w", line)]
    return [
        Pin(
            name=each.name,
            version=str(each.specifier).removeprefix("=="),
            here=each.marker is None or each.marker.evaluate(),
        )
        for each in asked
    ]
