"""The exploration as one HTML file: no network, no script; readable in light, in dark and on paper."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ich_triage.domain.labels import ABBREVIATIONS, LABELS
from ich_triage.imaging import windows

from ..freqhist import FrequencyBins
from ..recipe import WINDOWS
from ..report.page import environment, png_uri, svg_uri
from ..sources.dicom import brain_share
from ..sources.source import ProblemKind
from . import charts
from .pixels import KINDS, LEAST_BRAIN, NONE, Example, Floats

Content = Mapping[str, Any]

#: Charts of a part, by name.
_CHARTS: dict[str, Callable[[Content], str | None]] = {
    "labels": charts.labels,
    "together": charts.together,
    "storage": charts.storage,
    "brain": charts.brain,
    "geometry": charts.geometry,
}
_SHORT = {"any": "any", NONE: "no bleed"} | {str(kind): short for kind, short in ABBREVIATIONS.items()}
#: What becomes of what is wrong.
BECAME: dict[ProblemKind, str] = {
    ProblemKind.UNREADABLE_FILE: "left out; tried again at the next run",
    ProblemKind.UNREADABLE_HEADER: "left out",
    ProblemKind.CORRUPT_PIXELS: "left out",
    ProblemKind.NOT_CT: "left out",
    ProblemKind.NAME_DIFFERS: "kept, joined by the UID",
    ProblemKind.REPEATED_SLICE: "left out; the first file counts",
    ProblemKind.OTHER_SIZE: "left out; the usual size of a patient's pictures counts",
    ProblemKind.FILE_WITHOUT_LABELS: "kept, labels unknown; a picture is left out",
    ProblemKind.LABELS_WITHOUT_FILE: "unused",
    ProblemKind.CONFLICTING_LABELS: "that label is unknown",
    ProblemKind.CONTRADICTING_LABELS: "all six labels are unknown",
    ProblemKind.UNKNOWN_SUBTYPE: "not used",
    ProblemKind.MALFORMED_ROW: "not used",
    ProblemKind.READERS_DISAGREE: "that label is unknown",
}


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One slice in one window."""

    #: PNG as a data URI
    href: str
    #: what is seen
    words: tuple[str, ...]


def page(told: Content, examples: Sequence[Example], bins: FrequencyBins | None) -> str:
    """The HTML of a report's content."""
    by_source = {source["name"]: _of(examples, source["name"]) for source in told["sources"]}
    return environment(Path(__file__).parent / "templates").get_template("exploration.html").render(
        told=told,
        short=_SHORT,
        became=BECAME,
        least_brain=LEAST_BRAIN,
        group=charts.group_name,
        charts={
            part["name"]: {name: _uri(draw(part)) for name, draw in _CHARTS.items()} for part in told["parts"]
        },
        frequency=_uri(charts.frequency(told["frequency"]) if told["frequency"] else None),
        windows={
            name: {_labels(each): _windows(each, bins) for each in _two(shown)}
            for name, shown in by_source.items()
        },
        examples={
            name: {kind: [_example(each) for each in shown if each.kind == kind] for kind in KINDS}
            for name, shown in by_source.items()
        },
    )  # fmt: skip


def _uri(svg: str | None) -> str | None:
    return svg and svg_uri(svg)


def _of(examples: Iterable[Example], source: str) -> list[Example]:
    return [each for each in examples if each.source == source]


def _two(shown: Sequence[Example]) -> list[Example]:
    """One example with a bleed and one without, as far as there are such: those with most brain."""
    found = sorted(shown, key=lambda each: -brain_share(each.hu))
    return [each for each in found if each.kind != NONE][:1] + [each for each in found if each.kind == NONE][
        :1
    ]


def _example(example: Example) -> Picture:
    place = f"slice {example.number} of {example.slices}"
    return Picture(href=_grey(windows.apply(example.hu, WINDOWS["brain"])), words=(_labels(example), place))


def _windows(example: Example, bins: FrequencyBins | None) -> list[Picture]:
    """The same slice in every window, and by the frequency histogram bins."""
    found = [
        Picture(
            href=_grey(windows.apply(example.hu, window)),
            words=(name, f"{window.level:g} / {window.width:g} HU"),
        )
        for name, window in WINDOWS.items()
    ]
    if bins:
        words = ("frequency bins", f"{bins.hu[0]:.0f} to {bins.hu[-1]:.0f} HU".replace("-", "−"))
        found.append(Picture(href=_grey(bins.apply(example.hu)), words=words))
    return found


def _grey(unit: Floats) -> str:
    return png_uri(np.rint(unit * 255).astype(np.uint8))


def _labels(example: Example) -> str:
    """What is known to be there; an unknown label is told as unknown."""
    named = [_SHORT[label] for label, value in zip(LABELS, example.labels, strict=True) if value == 1]
    named = named[1:] if len(named) > 1 and named[0] == "any" else named
    unknown = "; some labels unknown" if np.isnan(example.labels).any() else ""
    said = ", ".join(named) or ("unknown" if np.isnan(example.labels[0]) else "no bleed")
    return f"{'study: ' if example.of_study else ''}{said}{unknown}"
