"""Candidate stacks: the images of one series that belong to one reconstruction of one scan.

A Series Instance UID promises little (PS3.3 A.1.2.3): scanners and archives put two kernels, two
orientations, a scout, or a repeated scan under one. `split` takes them apart.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from statistics import median

from ich_triage.domain.completeness import (
    SAME_NORMAL_COS,
    SAME_POSITION_MM,
    Gap,
    along,
    coverage_mm,
    find_gaps,
    slice_normal,
    unique_positions,
)
from ich_triage.domain.finding import Vector3

from .header import SliceHeader

#: An acquisition with this share of the stack's positions stands for the scan.
_WHOLE_ACQUISITION = 0.8
#: Positions occupied more than once, as a share, from which on the stack holds several scans.
_REPEATED_SCAN = 0.5


@dataclass(frozen=True)
class Series:
    """One candidate stack, in order along the slice normal towards the head, then as acquired."""

    #: never empty
    headers: tuple[SliceHeader, ...]

    @property
    def first(self) -> SliceHeader:
        """The lowest image; what a stack has in common is read from it."""
        return self.headers[0]

    @property
    def series_instance_uid(self) -> str:
        """Series Instance UID."""
        return self.first.series_instance_uid

    @property
    def description(self) -> str:
        """Series Description, else Protocol Name."""
        return self.first.series_description or self.first.protocol_name

    @cached_property
    def has_geometry(self) -> bool:
        """Whether every image states position, orientation and pixel spacing."""
        return all(
            header.image_position_patient and header.image_orientation_patient and header.pixel_spacing
            for header in self.headers
        )

    @cached_property
    def normal(self) -> Vector3:
        """Unit slice normal towards the head, LPS; needs `has_geometry`."""
        return slice_normal(self.first.image_orientation_patient or (1, 0, 0, 0, 1, 0))

    @cached_property
    def positions_mm(self) -> tuple[float, ...]:
        """Coordinate of each image along `normal`, mm, ascending; empty without geometry."""
        if not self.has_geometry:
            return ()
        return tuple(along(self.normal, header.image_position_patient or ()) for header in self.headers)

    @cached_property
    def spacing_mm(self) -> float:
        """Median distance of neighbouring slices, mm; 0 for fewer than two."""
        unique = unique_positions(self.positions_mm)
        return median(b - a for a, b in pairwise(unique)) if len(unique) > 1 else 0.0

    @cached_property
    def thickness_mm(self) -> float:
        """Median slice thickness, mm; the spacing where headers do not say."""
        stated = [header.slice_thickness for header in self.headers if header.slice_thickness]
        return median(stated) if stated else self.spacing_mm

    @cached_property
    def coverage_mm(self) -> float:
        """Extent along the normal, mm."""
        return coverage_mm(self.positions_mm)

    @cached_property
    def gaps(self) -> tuple[Gap, ...]:
        """Where slices are missing."""
        thickest = max((header.slice_thickness or 0.0 for header in self.headers), default=0.0)
        return find_gaps(self.positions_mm, thickest or None)

    @cached_property
    def phases(self) -> int:
        """How many images stand at the most crowded position."""
        return max(Counter(_occurrences(self.positions_mm)).values(), default=1)


def split(headers: Iterable[SliceHeader]) -> tuple[Series, ...]:
    """All candidate stacks of a study; the order of `headers` makes no difference."""
    stacks: list[Series] = []
    for group in _grouped(sorted(headers, key=_acquired), _reconstruction):
        for alike in _by_orientation(group):
            for stack in _by_overlap(_ordered(alike)):
                stacks += _by_scan(stack)
    return tuple(stacks)


def _acquired(header: SliceHeader) -> tuple[object, ...]:
    """Total order, as acquired; the UID decides last so that no two runs differ."""
    return (
        header.acquisition_number or 0,
        header.instance_number or 0,
        header.sop_instance_uid,
        header.frame_number or 0,
    )


def _reconstruction(header: SliceHeader) -> Hashable:
    spacing = header.pixel_spacing and tuple(round(value, 4) for value in header.pixel_spacing)
    return (
        header.series_instance_uid,
        header.sop_class_uid,
        header.image_type[:3],
        header.convolution_kernel,
        header.rows,
        header.columns,
        spacing,
        header.contrast_bolus_agent,
    )


def _grouped(
    headers: Iterable[SliceHeader], key: Callable[[SliceHeader], Hashable]
) -> list[list[SliceHeader]]:
    groups: dict[Hashable, list[SliceHeader]] = defaultdict(list)
    for header in headers:
        groups[key(header)].append(header)
    return list(groups.values())


def _by_orientation(headers: Sequence[SliceHeader]) -> list[list[SliceHeader]]:
    """Images whose rows and columns run alike; those without orientation on their own: they have no place.

    Parallel is not enough: a mirrored or turned image has the same normal, up to its sign.
    """
    groups: list[tuple[Sequence[float] | None, list[SliceHeader]]] = []
    for header in headers:
        orientation = header.image_orientation_patient
        for known, group in groups:
            if known is orientation or (known and orientation and same_orientation(known, orientation)):
                group.append(header)
                break
        else:
            groups.append((orientation, [header]))
    return [group for _, group in groups]


def same_orientation(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two Image Orientations (Patient) agree in row and in column."""
    return all(along(one[part], other[part]) >= SAME_NORMAL_COS for part in (slice(3), slice(3, 6)))


def _ordered(headers: Sequence[SliceHeader]) -> Series:
    """Along the normal where geometry is there, else as acquired; `headers` come as acquired."""
    stack = Series(tuple(headers))
    if not stack.has_geometry:
        return stack
    at = zip(stack.positions_mm, range(len(headers)), strict=True)
    return Series(tuple(headers[index] for _, index in sorted(at)))


def _by_overlap(stack: Series) -> list[Series]:
    """Other thickness, voltage or vendor's image type through the same region is another reconstruction.

    Through neighbouring regions it is one scan: thin, summed or at more kV at the base, thick above.
    """
    groups = _grouped(stack.headers, lambda header: (header.slice_thickness, header.kvp, header.image_type))
    if len(groups) < 2 or not stack.has_geometry:
        return [stack]
    parts = [_ordered(group) for group in groups]
    spans = sorted((part.positions_mm[0], part.positions_mm[-1]) for part in parts)
    overlap = any(high > low + stack.thickness_mm for (_, high), (low, _) in pairwise(spans))
    return parts if overlap else [stack]


def _by_scan(stack: Series) -> list[Series]:
    """Take repeated scans apart: by acquisition where one is whole, else by order of appearance."""
    if stack.phases < 2:
        return [stack]
    places = len(unique_positions(stack.positions_mm))
    acquisitions = [_ordered(group) for group in _grouped(stack.headers, lambda h: h.acquisition_number)]
    if len(acquisitions) > 1 and any(
        len(unique_positions(part.positions_mm)) >= _WHOLE_ACQUISITION * places for part in acquisitions
    ):
        return [scan for part in acquisitions for scan in _by_scan(part)]
    if len(stack.headers) - places < _REPEATED_SCAN * places:
        return [stack]  # a few slices sent twice; `volume.assemble` looks at their pixels
    if stack.phases > 2:
        return [stack]  # a dynamic series: selection refuses it as such
    turns = zip(_turns(stack.positions_mm), stack.headers, strict=True)
    groups: dict[int, list[SliceHeader]] = defaultdict(list)
    for turn, header in turns:
        groups[turn].append(header)
    return [_ordered(group) for group in groups.values()]


def _occurrences(positions_mm: Sequence[float]) -> list[int]:
    """Index of the distinct position that each ascending position falls on."""
    places: list[int] = []
    for index, position in enumerate(positions_mm):
        same = index > 0 and position - positions_mm[index - 1] <= SAME_POSITION_MM
        places.append(places[-1] if same else len(places))
    return places


def _turns(positions_mm: Sequence[float]) -> list[int]:
    """How many images stood at the same place before each one."""
    seen: Counter[int] = Counter()
    turns = []
    for place in _occurrences(positions_mm):
        turns.append(seen[place])
        seen[place] += 1
    return turns
