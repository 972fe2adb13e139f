"""How pages say what documents hold: short words for states, findings, names, times."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from ..domain.labels import ABBREVIATIONS, Subtype
from ..domain.states import StudyState

Json = dict[str, Any]

#: what a state is called on a page
STATES: dict[StudyState, str] = {
    StudyState.FLAGGED: "Flagged",
    StudyState.NOT_FLAGGED: "Not flagged",
    StudyState.NOT_ANALYSED: "Not analysed",
    StudyState.FAILED: "Failed",
    StudyState.IN_PROGRESS: "In progress",
    StudyState.RECEIVING: "Receiving",
}
_KINDS = {
    "flagged": "Flagged",
    "not_analysed": "Not analysed",
    "open": "In progress or failed",
    "not_flagged": "Not flagged",
}
_SIDES = {"left": "left", "right": "right", "midline": "midline", "bilateral": "both sides"}


def state(value: str) -> str:
    """The state in words."""
    return STATES[StudyState(value)]


def kind(value: str) -> str:
    """The kind of study in words."""
    return _KINDS[value]


def person(name: str) -> str:
    """A DICOM person name for reading: family name, given names; the first group that is not empty."""
    group = next((each for each in name.split("=") if each.strip("^ ")), "")
    family, *given = [part.strip() for part in group.split("^")]
    rest = " ".join(part for part in given if part)
    return ", ".join(part for part in (family, rest) if part) or "(no name)"


def day(value: str) -> str:
    """A DICOM date, DA, as ISO 8601; as it is where it is none."""
    return f"{value[:4]}-{value[4:6]}-{value[6:]}" if len(value) == 8 and value.isdigit() else value


def subtype(value: str) -> str:
    """Its abbreviation."""
    return ABBREVIATIONS[Subtype(value)]


def extent(finding: Json) -> str:
    """Side and volume of a finding."""
    ml = finding["volume_ml"]
    volume = None if ml is None else f"{ml:.1f} mL" if ml < 10 else f"{ml:.0f} mL"
    side = _SIDES.get(finding["side"] or "")
    return ", ".join(part for part in (side, volume) if part) or "no place told"


def percent(value: float) -> str:
    """A probability; never 0 or 100%, which nobody has measured."""
    return "< 1%" if value < 0.005 else "> 99%" if value > 0.995 else f"{100 * value:.0f}%"


def clock(moment: str) -> str:
    """An ISO 8601 time as this machine's wall shows it."""
    return f"{datetime.fromisoformat(moment).astimezone():%Y-%m-%d %H:%M:%S}"


def seconds(value: float | None) -> str:
    """A duration of at most some minutes."""
    if value is None:
        return "–"
    return f"{value:.1f} s" if value < 100 else f"{value / 60:.0f} min"


def waiting(s: float) -> str:
    """How long a study has waited, in the words with which the page goes on (`static/list.js`)."""
    minutes = int(s // 60)
    if s < 60:
        return f"{int(s)} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


FILTERS: dict[str, Callable[..., Any]] = {
    "state": state,
    "kind": kind,
    "person": person,
    "day": day,
    "subtype": subtype,
    "extent": extent,
    "percent": percent,
    "clock": clock,
    "seconds": seconds,
    "waiting": waiting,
}
