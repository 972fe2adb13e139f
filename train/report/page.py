"""The evaluation as one HTML file: no network, no script; readable in light, in dark and on paper."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from contourpy import contour_generator
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from ich_triage.domain.labels import ABBREVIATIONS
from ich_triage.model.network import MASK_STRIDE

from ..evaluation import KeySlice
from . import charts
from .content import Material

Content = Mapping[str, Any]

#: Pixels per side and grey levels of a picture, at most: enough to see, few enough to stay small.
_PIXELS, _GREYS = 256, 48
#: A cell counts as bleeding from this share on, for an outline.
_FILLED = 0.25


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One slice, with outlines as SVG paths in the slice's pixels."""

    #: pixels per side
    size: int
    #: PNG as a data URI
    href: str
    #: outline of the true bleeds
    truth: str
    #: outline of what the package marks of the subtypes that it tells
    found: str

    @classmethod
    def of(cls, key: KeySlice, told: Sequence[int]) -> Picture:
        """The key slice of a study, with the masks of the subtypes `told`, indices into `SUBTYPES`."""
        return cls(
            size=len(key.picture),
            href=png_uri(key.picture),
            truth=outline(key.truth, _FILLED),
            found=outline(key.found[told].max(axis=0, initial=0.0), _FILLED),
        )


def outline(cells: NDArray[np.float64], level: float) -> str:
    """SVG path around the cells (Y, X) that reach `level`, in pixels of the input; empty where none does."""
    closed = np.pad(cells, 1)  # so that every line ends where it began
    lines = contour_generator(z=closed).lines(level)
    pixels = [(np.asarray(line) - 0.5) * MASK_STRIDE for line in lines]  # a cell's centre is half a cell in
    return " ".join("M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in line) + "Z" for line in pixels)


def environment(*templates: Path) -> Environment:
    """Templates of the folders `templates`, and those that every report shares."""
    return Environment(
        loader=FileSystemLoader([*templates, Path(__file__).parent / "templates"]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def page(told: Content, material: Material) -> str:
    """The HTML of a report's content."""
    return (
        environment()
        .get_template("page.html")
        .render(
            told=told,
            parts=told["parts"],
            short=dict(ABBREVIATIONS) | {"any": "any", "all": "all"},
            charts={name: _charts(part) for name, part in told["parts"].items()},
            pictures={name: _pictures(part, material, name) for name, part in told["parts"].items()},
        )
    )


def _charts(part: Content) -> dict[str, str | None]:
    """Every chart of a part as a data URI, by name."""
    drawn = {
        "roc": charts.roc(part),
        "sensitivities": charts.sensitivities(part, part["gallery"]["point"]),
        "reliability": charts.reliability(part),
        "bland_altman": charts.bland_altman(part),
    }
    return {name: svg and svg_uri(svg) for name, svg in drawn.items()}


def svg_uri(svg: str) -> str:
    """A chart as a data URI."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def png_uri(grey: NDArray[np.uint8]) -> str:
    """A picture (Y, X), made smaller where it is large, as a data URI."""
    out = io.BytesIO()
    image = Image.fromarray(grey)
    image.thumbnail((_PIXELS, _PIXELS))
    image.quantize(_GREYS).save(out, format="png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def _pictures(part: Content, material: Material, name: str) -> dict[int, Picture]:
    """Pictures of the studies that the gallery shows, by study."""
    shown = {
        entry["study"]
        for kind in ("misses", "false_alarms", "examples")
        for entry in part["gallery"][kind]
        if entry["shown"]
    }
    keys, scored = material.predicted[name].keys, material.part(name)
    return {study: Picture.of(keys[study], scored.told(study)) for study in sorted(shown)}
