"""Is a head series geometrically whole? Pure geometry on what headers say, no I/O.

What positions can tell: that nothing is missing *between* the slices that arrived. What they cannot
tell: whether more is still to come at either end, since a study sent from the skull base upward is
contiguous at every moment. So wholeness asks for all the evidence there is:

- no gap against the spacing of the neighbouring slices. Spacing may change along the head (thin through
  the skull base, thick above), so each distance is judged by the median of the five around it;
- no distance far beyond the slice thickness: every second slice alone is evenly spaced too;
- a head's length is covered. Foramen magnum to vertex is about 130 to 150 mm in adults; 100 mm lets
  children through and holds back the first two thirds of an adult;
- instance numbers, when they are unique, run without a hole and from the first on: this sees a series
  that arrives from the vertex down, or over several associations at once;
- no fewer images than the scanner says the acquisition has (Images in Acquisition, PS3.3 C.7.6.1).

The end of an ascending series stays unknowable until the sender falls silent; the caller therefore also
waits for the association's end or about a second without a new instance. Where the evidence is
withheld wrongly (numbers that start elsewhere) the study only waits for its quiet time.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from .finding import Vector3

#: Extent along the slice normal that a head series has at least, mm.
HEAD_COVERAGE_MM = 100.0
#: Fewer slices than this are no head series: 100 mm in slices of 10 mm.
MIN_SLICES = 10
#: A distance this many times its neighbours' median is a gap; 2 would be one missing slice.
GAP_RATIO = 1.6
#: A distance this many times the slice thickness is a gap; 10 mm intervals of 5 mm slices are in use.
THICKNESS_RATIO = 2.2
#: Cosine of the steepest inclination against the body axis at which a slice is still called axial.
_AXIAL_COS = math.cos(math.radians(45))
#: Positions closer than this are the same position, mm.
SAME_POSITION_MM = 0.05
#: Normals further apart than this belong to different stacks, cosine of 0.5 degrees.
SAME_NORMAL_COS = math.cos(math.radians(0.5))


@dataclass(frozen=True, kw_only=True)
class SlicePosition:
    """What completeness needs to know of one received image."""

    #: Series Instance UID
    series_instance_uid: str
    #: Image Position (Patient), mm, LPS; None when absent
    image_position: Vector3 | None
    #: Image Orientation (Patient), row then column, LPS; None when absent
    image_orientation: tuple[float, ...] | None
    #: an axial CT image that is no localizer
    is_axial_ct: bool
    #: Instance Number
    instance_number: int | None = None
    #: Images in Acquisition
    images_in_acquisition: int | None = None
    #: Slice Thickness, mm
    slice_thickness: float | None = None


@dataclass(frozen=True, kw_only=True)
class Gap:
    """A stretch along the slice normal where slices are missing."""

    #: the slice before it, mm along the normal
    start_mm: float
    #: the slice after it, mm along the normal
    end_mm: float


def slice_normal(image_orientation: Sequence[float]) -> Vector3:
    """Unit normal of an image plane, LPS, turned towards the head (+z); row × column otherwise."""
    rx, ry, rz, cx, cy, cz = image_orientation
    normal = (ry * cz - rz * cy, rz * cx - rx * cz, rx * cy - ry * cx)
    length = math.hypot(*normal) or 1.0
    sign = -1.0 if normal[2] < 0 else 1.0
    return (sign * normal[0] / length, sign * normal[1] / length, sign * normal[2] / length)


def is_axial(image_orientation: Sequence[float] | None) -> bool:
    """Whether a plane of that orientation, LPS, cuts across the body axis."""
    return image_orientation is not None and slice_normal(image_orientation)[2] > _AXIAL_COS


def along(normal: Sequence[float], point: Sequence[float]) -> float:
    """Coordinate of `point` along `normal`, mm."""
    return sum(a * b for a, b in zip(normal, point, strict=True))


def unique_positions(positions_mm: Iterable[float]) -> list[float]:
    """Ascending, without repetitions closer than `SAME_POSITION_MM`."""
    unique: list[float] = []
    for position in sorted(positions_mm):
        if not unique or position - unique[-1] > SAME_POSITION_MM:
            unique.append(position)
    return unique


def find_gaps(positions_mm: Iterable[float], slice_thickness: float | None = None) -> tuple[Gap, ...]:
    """Where slices are missing.

    `positions_mm` along the normal in any order; `slice_thickness` is the largest in the stack, mm.
    """
    unique = unique_positions(positions_mm)
    steps = [b - a for a, b in pairwise(unique)]
    gaps = []
    for index, step in enumerate(steps):
        usual = median(steps[max(0, index - 2) : index + 3])
        too_wide = slice_thickness is not None and step > THICKNESS_RATIO * max(slice_thickness, 1.0)
        if too_wide or step > GAP_RATIO * usual:
            gaps.append(Gap(start_mm=unique[index], end_mm=unique[index + 1]))
    return tuple(gaps)


def coverage_mm(positions_mm: Iterable[float]) -> float:
    """Extent along the normal, mm, half a step beyond the outermost slices included."""
    unique = unique_positions(positions_mm)
    if len(unique) < 2:
        return 0.0
    return unique[-1] - unique[0] + (unique[1] - unique[0] + unique[-1] - unique[-2]) / 2


def is_whole(slices: Sequence[SlicePosition]) -> bool:
    """Whether the images of *one* series make a whole head, as far as can be known.

    Two stacks under one Series Instance UID are whole when one of them is.
    """
    images = [image for image in slices if image.is_axial_ct]
    if len(images) < MIN_SLICES or not _numbered_without_hole(slices):
        return False
    promised = max((image.images_in_acquisition or 0 for image in images), default=0)
    if len(slices) < promised:
        return False
    return any(_stack_is_whole(stack) for stack in _by_orientation(images))


def whole_series(slices: Iterable[SlicePosition]) -> tuple[str, ...]:
    """Series Instance UIDs of the whole head series among the images of one study."""
    series: dict[str, list[SlicePosition]] = defaultdict(list)
    for image in slices:
        series[image.series_instance_uid].append(image)
    return tuple(uid for uid, images in series.items() if is_whole(images))


def _stack_is_whole(stack: list[tuple[float, SlicePosition]]) -> bool:
    positions = [position for position, _ in stack]
    thickness = max((image.slice_thickness or 0.0 for _, image in stack), default=0.0) or None
    return (
        len(unique_positions(positions)) >= MIN_SLICES
        and coverage_mm(positions) >= HEAD_COVERAGE_MM
        and not find_gaps(positions, thickness)
    )


def _by_orientation(images: Iterable[SlicePosition]) -> list[list[tuple[float, SlicePosition]]]:
    """Stacks of parallel images, each with its coordinate along the stack's own normal."""
    stacks: list[tuple[Vector3, list[tuple[float, SlicePosition]]]] = []
    for image in images:
        if image.image_position is None or image.image_orientation is None:
            continue
        normal = slice_normal(image.image_orientation)
        for stack_normal, stack in stacks:
            if along(stack_normal, normal) >= SAME_NORMAL_COS:
                stack.append((along(stack_normal, image.image_position), image))
                break
        else:
            stacks.append((normal, [(along(normal, image.image_position), image)]))
    return [stack for _, stack in stacks]


def _numbered_without_hole(slices: Sequence[SlicePosition]) -> bool:
    """Whether instance numbers leave nothing out; numbers absent or repeated say nothing."""
    numbers = [image.instance_number for image in slices if image.instance_number is not None]
    if len(numbers) < len(slices) or len(set(numbers)) < len(numbers):
        return True
    return min(numbers) <= 1 and max(numbers) - min(numbers) + 1 == len(numbers)
