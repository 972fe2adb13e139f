"""The key-image page as a picture: key slices with outlines, findings, labels; one look."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from ..domain.finding import Analysis, Finding
from ..domain.input_spec import BRAIN
from ..domain.labels import ABBREVIATIONS, SUBTYPES, Subtype
from ..imaging.volume import Volume
from ..imaging.windows import apply
from .common import ascii_text
from .report import Report

Masks = NDArray[np.bool_]
Colour = tuple[int, int, int]
#: left, top, right, bottom, pixels of a slice
Box = tuple[float, float, float, float]

PANEL = 512
WIDTH = 2 * PANEL
_MARGIN = 16
_LINE = 30
_TITLE_HEIGHT = 52
_STROKE = 2
_BONE_HU = 150.0
#: skin and scalp swelling around the skull, mm
_AROUND_SKULL_MM = 18.0
_MAX_PANELS = 4

_BLACK: Colour = (0, 0, 0)
_WHITE: Colour = (235, 235, 235)
_GREY: Colour = (150, 150, 150)
_ALERT: Colour = (255, 196, 0)
#: told apart by people with any kind of colour vision, and from grey (after Okabe and Ito)
COLOURS: dict[Subtype, Colour] = {
    Subtype.EPIDURAL: (240, 228, 66),
    Subtype.INTRAPARENCHYMAL: (255, 120, 50),
    Subtype.INTRAVENTRICULAR: (86, 180, 233),
    Subtype.SUBARACHNOID: (0, 200, 140),
    Subtype.SUBDURAL: (240, 130, 200),
}


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One slice on the page."""

    #: index into the volume
    slice_index: int
    #: whether the findings are outlined; the same slice stands beside it without
    outlined: bool
    #: what the slice was chosen for
    caption: str


def choose_panels(analysis: Analysis) -> list[Panel]:
    """Which slices the page shows, in reading order; at most four.

    Up to two key slices: each with outlines and beside it without, so that nothing is hidden; for a single
    one, two more slices of its finding's extent. Three or four: each with outlines.
    """
    by_slice: dict[int, list[Finding]] = {}
    for finding in analysis.findings:
        by_slice.setdefault(finding.key_slice, []).append(finding)
    keys = list(by_slice)[:_MAX_PANELS]
    if not keys:
        most = max(range(len(analysis.slices)), key=lambda i: analysis.slices[i].probabilities[0])
        return [_panel(analysis, most, what="Highest probability", outlined=False)]
    panels = []
    for key in keys:
        panels.append(_panel(analysis, key, what=", ".join(map(_short, by_slice[key])), outlined=True))
        if len(keys) <= 2:
            panels.append(_panel(analysis, key, what="Without outline", outlined=False))
    if len(keys) == 1:
        panels += [
            _panel(analysis, index, what="Extent", outlined=True) for index in _extent(by_slice[keys[0]][0])
        ]
    return panels


def _extent(finding: Finding) -> list[int]:
    """Half-way from the key slice to either end of the finding."""
    first, last = finding.slice_range
    key = finding.key_slice
    return sorted({(first + key) // 2, (last + key + 1) // 2} - {key})


def render(report: Report, analysis: Analysis, *, volume: Volume, masks: Masks) -> NDArray[np.uint8]:
    """The page, RGB (Rows, 1024, 3); brain window, patient's right on the picture's left.

    `masks`: bool (5, Z, Y, X) on the volume's grid, in the order of SUBTYPES. Nothing that identifies the
    patient is drawn.
    """
    panels = choose_panels(analysis)
    head = _head_height(analysis)
    rows = -(-len(panels) // 2) * PANEL
    foot = _MARGIN + _LINE * (1 + len(report.labels)) + _MARGIN // 2
    page = Image.new("RGB", (WIDTH, head + rows + foot), _BLACK)
    draw = ImageDraw.Draw(page)
    _draw_head(draw, analysis)
    boxes = _head_boxes(volume, {panel.slice_index for panel in panels})
    for number, panel in enumerate(panels):
        place = (number % 2 * PANEL, head + number // 2 * PANEL)
        box = boxes[panel.slice_index]
        page.paste(_draw_panel(panel, analysis, volume=volume, masks=masks, box=box), place)
    _draw_foot(draw, report, head + rows)
    return np.asarray(page)


def _short(finding: Finding) -> str:
    """`SDH left`"""
    return " ".join(filter(None, (ABBREVIATIONS[finding.subtype], finding.side)))


def _panel(analysis: Analysis, index: int, *, what: str, outlined: bool) -> Panel:
    caption = f"{what}, slice {index + 1}/{len(analysis.slices)}"
    return Panel(slice_index=index, outlined=outlined, caption=caption)


def _head_height(analysis: Analysis) -> int:
    return _MARGIN + _TITLE_HEIGHT + _LINE * max(len(analysis.findings), 1) + _MARGIN // 2


def _draw_head(draw: ImageDraw.ImageDraw, analysis: Analysis) -> None:
    draw.text((_MARGIN, _MARGIN), "SUSPECTED INTRACRANIAL HAEMORRHAGE", _ALERT, font=_font(34))
    score = f"P {analysis.probabilities[0]:.2f}"
    draw.text((WIDTH - _MARGIN, _MARGIN), score, _ALERT, font=_font(34), anchor="ra")
    top = _MARGIN + _TITLE_HEIGHT
    if not analysis.findings:
        draw.text(
            (_MARGIN, top), "No subtype reaches its threshold; nothing is outlined.", _WHITE, font=_font(22)
        )
    for number, finding in enumerate(analysis.findings):
        y = top + number * _LINE
        draw.rectangle((_MARGIN, y + 5, _MARGIN + 16, y + 21), COLOURS[finding.subtype])
        draw.text((_MARGIN + 28, y), _describe(finding, analysis), _WHITE, font=_font(22))


def _describe(finding: Finding, analysis: Analysis) -> str:
    """`SDH subdural, left: 23 mL (18 to 30), P 0.93, slices 4 to 9`"""
    side = f", {finding.side}" if finding.side else ""
    parts = [f"{ABBREVIATIONS[finding.subtype]} {finding.subtype}{side}:"]
    if finding.volume_ml is None:
        parts.append("not outlined,")
    elif finding.volume_interval_ml is None:
        parts.append(f"{_ml(finding.volume_ml)} mL,")
    else:
        lower, upper = finding.volume_interval_ml
        parts.append(f"{_ml(finding.volume_ml)} mL ({_ml(lower)} to {_ml(upper)}),")
    first, last = finding.slice_range
    parts.append(f"P {finding.probability:.2f}, slices {first + 1} to {last + 1} of {len(analysis.slices)}")
    return " ".join(parts)


def _ml(volume: float) -> str:
    return f"{volume:.1f}" if volume < 10 else f"{volume:.0f}"


def _draw_foot(draw: ImageDraw.ImageDraw, report: Report, top: int) -> None:
    y = top + _MARGIN // 2
    package = report.analysis.package if report.analysis else None
    source = ascii_text(_source(report))
    model = ascii_text(package.key) if package else ""
    draw.text((_MARGIN, y), source, _GREY, font=_font(18))
    draw.text(
        (WIDTH - _MARGIN, y),
        f"ICH Triage {report.device.version}, {model}",
        _GREY,
        font=_font(18),
        anchor="ra",
    )
    for label in report.labels:
        y += _LINE
        draw.text((_MARGIN, y), label, _ALERT, font=_font(22))


def _source(report: Report) -> str:
    if report.series is None:
        return ""
    description = f" {report.series.description[:32]}" if report.series.description else ""
    return (
        f"Series {report.series.number or '?'}{description}, revision {report.revision}, brain window 40/80"
    )


def _draw_panel(
    panel: Panel,
    analysis: Analysis,
    *,
    volume: Volume,
    masks: Masks,
    box: Box,
) -> Image.Image:
    grey = apply(volume.hu[panel.slice_index], BRAIN)
    shades = Image.fromarray(np.rint(grey * 255).astype(np.uint8))
    pixels = np.asarray(_scaled(shades, box, Image.Resampling.BICUBIC).convert("RGB")).copy()
    if panel.outlined:
        for finding in reversed(analysis.findings):
            mask = masks[SUBTYPES.index(finding.subtype), panel.slice_index]
            pixels[_outline(mask, box)] = COLOURS[finding.subtype]
    picture = Image.fromarray(pixels)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, PANEL - 1, PANEL - 1), outline=(60, 60, 60))
    draw.text((10, 8), panel.caption, _WHITE, font=_font(20), stroke_width=2, stroke_fill=_BLACK)
    for letter, x, anchor in (("R", 10, "lm"), ("L", PANEL - 10, "rm")):
        draw.text(
            (x, PANEL // 2), letter, _WHITE, font=_font(26), anchor=anchor, stroke_width=2, stroke_fill=_BLACK
        )
    return picture


def _outline(mask: NDArray[np.bool_], box: Box) -> NDArray[np.bool_]:
    """The rim just outside `mask` (Y, X), on the panel's grid: what is inside stays visible."""
    if not mask.any():
        return np.zeros((PANEL, PANEL), dtype=bool)
    shape = Image.fromarray(mask.astype(np.uint8) * 255)
    inside = np.asarray(_scaled(shape, box, Image.Resampling.BILINEAR)) >= 128
    rim: NDArray[np.bool_] = ndimage.binary_dilation(inside, iterations=_STROKE + 1)
    return rim & ~ndimage.binary_dilation(inside)


def _scaled(picture: Image.Image, box: Box, resampling: Image.Resampling) -> Image.Image:
    """The part of `picture` in `box` (left, top, right, bottom; pixels, may lie outside), panel-sized."""
    left, top, right, bottom = box
    scale = (right - left) / PANEL, (bottom - top) / PANEL
    # PIL samples at pixel centres: (x + 0.5) * scale + left gives the place in the source
    matrix = (scale[0], 0.0, left, 0.0, scale[1], top)
    return picture.transform((PANEL, PANEL), Image.Transform.AFFINE, matrix, resample=resampling)


def _head_boxes(volume: Volume, indices: Collection[int]) -> dict[int, Box]:
    """For each slice a square around its skull; all of one size in mm. The head rest stays out."""
    dy, dx = volume.pixel_spacing
    extents = {index: _skull_extent(volume.hu[index]) for index in indices}
    half_mm = _AROUND_SKULL_MM + max(
        max((right - left) * dx, (bottom - top) * dy) / 2 for left, top, right, bottom in extents.values()
    )
    return {
        index: (
            (left + right) / 2 - half_mm / dx,
            (top + bottom) / 2 - half_mm / dy,
            (left + right) / 2 + half_mm / dx,
            (top + bottom) / 2 + half_mm / dy,
        )
        for index, (left, top, right, bottom) in extents.items()
    }


def _skull_extent(hu: NDArray[np.float32]) -> Box:
    """Around the largest piece of bone in a slice (Y, X), pixels; the whole slice where there is none."""
    bone = _largest(hu > _BONE_HU)
    rows, columns = np.flatnonzero(bone.any(axis=1)), np.flatnonzero(bone.any(axis=0))
    if not len(rows):
        return (0.0, 0.0, float(hu.shape[1]), float(hu.shape[0]))
    return (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected part of `mask`."""
    parts, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.asarray(parts == sizes.argmax())


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
