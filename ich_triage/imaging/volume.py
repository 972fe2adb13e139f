"""From a series to a volume in HU with its true geometry (PS3.3 C.7.6.2.1.1)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from ich_triage.domain.completeness import SAME_POSITION_MM, Gap
from ich_triage.domain.finding import ImageReference, Vector3
from ich_triage.domain.states import ReasonCode
from ich_triage.errors import NotAnalysedError, PixelDataError

from .decode import read_frames, read_pixels
from .header import SliceHeader
from .hounsfield import is_wrapped, to_hu
from .stacks import Series

_THREADS = min(4, os.cpu_count() or 1)
#: A slice stands for no more of a gap than this share of the usual distance, to each side.
_MAX_HALF_EXTENT = 0.75


@dataclass(frozen=True, kw_only=True)
class InPlane:
    """How stored pixels were turned so that x runs to the patient's left and y to the back."""

    #: rows and columns exchanged, before the flips
    transposed: bool = False
    #: first row became last
    flipped_y: bool = False
    #: first column became last
    flipped_x: bool = False

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Stored (Rows, Columns) to canonical (Y, X)."""
        image = image.T if self.transposed else image
        return image[:: -1 if self.flipped_y else 1, :: -1 if self.flipped_x else 1]

    def undo(self, image: np.ndarray) -> np.ndarray:
        """Canonical (Y, X) to stored (Rows, Columns); `image` may be a mask or a drawing."""
        image = image[:: -1 if self.flipped_y else 1, :: -1 if self.flipped_x else 1]
        return image.T if self.transposed else image


@dataclass(frozen=True, kw_only=True, eq=False)
class Volume:
    """A head in HU. Index order (z, y, x): z towards the head, y to the back, x to the patient's left."""

    #: Series Instance UID
    series_instance_uid: str
    #: HU, (Z, Y, X), float32
    hu: np.ndarray
    #: coordinate of each slice along `normal`, mm, (Z,), ascending, float64
    positions_mm: np.ndarray
    #: thickness of each slice, mm, (Z,); the distance to its neighbours where headers do not say
    thickness_mm: np.ndarray
    #: distance between rows (y) and between columns (x), mm
    pixel_spacing: tuple[float, float]
    #: LPS unit vector of growing x
    row: Vector3
    #: LPS unit vector of growing y
    column: Vector3
    #: LPS unit vector along which `positions_mm` grow, towards the head
    normal: Vector3
    #: LPS of the centre of voxel (z, 0, 0), mm, (Z, 3)
    image_positions: np.ndarray
    #: angle by which the stack is sheared, gantry tilt, degrees; positive when slices shift to the back
    tilt_deg: float
    #: how stored pixels became (y, x)
    in_plane: InPlane
    #: the image of each slice
    images: tuple[ImageReference, ...]
    #: where slices are missing
    gaps: tuple[Gap, ...] = field(default=())
    #: what was noticed and mended, for people; no patient data
    warnings: tuple[str, ...] = field(default=())

    def to_lps(self, zyx: np.ndarray) -> np.ndarray:
        """Voxel indices (…, 3) as z, y, x, fractions allowed, to LPS mm (…, 3)."""
        zyx = np.asarray(zyx, dtype=np.float64)
        index = np.arange(len(self.image_positions))
        origin = np.stack(
            [np.interp(zyx[..., 0], index, self.image_positions[:, axis]) for axis in range(3)], axis=-1
        )
        dy, dx = self.pixel_spacing
        return origin + zyx[..., 1:2] * dy * np.array(self.column) + zyx[..., 2:3] * dx * np.array(self.row)

    def slice_extents_mm(self) -> np.ndarray:
        """What each slice stands for along the normal, mm, (Z,); see `slice_extents_mm`."""
        return slice_extents_mm(self.positions_mm, self.thickness_mm)

    def volume_ml(self, mask: np.ndarray) -> float:
        """Volume of a mask (Z, Y, X), boolean or fraction of each voxel, mL."""
        dy, dx = self.pixel_spacing
        pixels = mask.reshape(len(mask), -1).sum(axis=1, dtype=np.float64)
        return float((pixels * self.slice_extents_mm()).sum() * dy * dx / 1000)


def slice_extents_mm(positions_mm: np.ndarray, thickness_mm: np.ndarray) -> np.ndarray:
    """Half the distance to each neighbour, mm, (Z,); at the ends half the slice's own thickness.

    No half exceeds 0.75 of the median of the five distances around: a gap is not filled with what stands
    at its edges.
    """
    if len(positions_mm) < 2:
        return np.asarray(thickness_mm, dtype=np.float64).copy()
    steps = np.diff(positions_mm)
    halves = np.minimum(steps / 2, _MAX_HALF_EXTENT * ndimage.median_filter(steps, 5, mode="nearest"))
    below = np.concatenate([[thickness_mm[0] / 2], halves])
    above = np.concatenate([halves, [thickness_mm[-1] / 2]])
    return below + above


def assemble(series: Series) -> Volume:
    """Read, decode and order one series.

    Raises `NotAnalysedError` when geometry is missing, or any image of it cannot be decoded: a slice not
    looked at must not pass for one without a finding.
    """
    if not series.has_geometry:
        raise NotAnalysedError(ReasonCode.NO_GEOMETRY, "position, orientation or pixel spacing missing")
    warnings: list[str] = []
    pixels = _read(series.headers)
    keep = _without_duplicates(series, pixels, warnings)
    headers = [series.headers[index] for index in keep]
    positions = np.array([series.positions_mm[index] for index in keep])
    if any(map(is_wrapped, headers)):
        warnings.append("12-bit pixels without their sign were unwrapped")
    in_plane, row, column, origins = _canonical(headers)
    return Volume(
        series_instance_uid=series.series_instance_uid,
        hu=np.stack([in_plane.apply(pixels[index]) for index in keep]),
        positions_mm=positions,
        thickness_mm=_thickness(headers, positions),
        pixel_spacing=_spacing(headers[0], in_plane),
        row=row,
        column=column,
        normal=series.normal,
        image_positions=origins,
        tilt_deg=_tilt(origins, np.array(column), np.array(series.normal)),
        in_plane=in_plane,
        images=tuple(_reference(header) for header in headers),
        gaps=series.gaps,
        warnings=tuple(warnings),
    )


def read_slice(header: SliceHeader) -> tuple[np.ndarray, tuple[float, float]]:
    """HU (Y, X), float32, of one image as `Volume.hu` has it, and the distances of its rows and columns, mm.

    Without an orientation it stays as it is stored. Raises PixelDataError.
    """
    hu = to_hu(read_pixels(header), header)
    if header.image_position_patient is None or header.image_orientation_patient is None:
        return hu, header.pixel_spacing or (1.0, 1.0)
    in_plane, *_ = _canonical([header])
    return in_plane.apply(hu), _spacing(header, in_plane)


def _read(headers: Sequence[SliceHeader]) -> list[np.ndarray]:
    """HU (Rows, Columns) of each header, in order; files are decoded side by side."""
    by_file: dict[object, list[int]] = {}
    for index, header in enumerate(headers):
        by_file.setdefault(header.path, []).append(index)
    found: list[np.ndarray | None] = [None] * len(headers)

    def read_file(indices: list[int]) -> None:
        own = [headers[index] for index in indices]
        try:
            for index, header, stored in zip(indices, own, read_frames(own), strict=True):
                found[index] = to_hu(stored, header)
        except PixelDataError as error:
            raise NotAnalysedError(
                ReasonCode.UNREADABLE_PIXELS, f"image {own[0].sop_instance_uid}: {error}"
            ) from error

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(read_file, by_file.values()))
    return [image for image in found if image is not None]


def _without_duplicates(series: Series, pixels: Sequence[np.ndarray], warnings: list[str]) -> list[int]:
    """Indices to keep, one per position: the first as acquired."""
    keep: list[int] = []
    for index, position in enumerate(series.positions_mm):
        if not keep or position - series.positions_mm[keep[-1]] > SAME_POSITION_MM:
            keep.append(index)
        else:
            same = np.array_equal(pixels[index], pixels[keep[-1]])
            what = "repeats another" if same else "differs from another at its position"
            warnings.append(f"image {series.headers[index].sop_instance_uid} {what}; left out")
    return keep


def _canonical(headers: Sequence[SliceHeader]) -> tuple[InPlane, Vector3, Vector3, np.ndarray]:
    """The turn to canonical axes, the turned row and column vectors, and origins (Z, 3), LPS mm."""
    first = headers[0]
    assert first.image_orientation_patient is not None
    row, column = np.array(first.image_orientation_patient).reshape(2, 3)
    origins = np.array([header.image_position_patient for header in headers], dtype=np.float64)
    dy, dx = first.pixel_spacing or (1.0, 1.0)
    rows, columns = first.rows, first.columns
    transposed = abs(row[0]) < abs(column[0])
    if transposed:
        row, column, dy, dx, rows, columns = column, row, dx, dy, columns, rows
    flipped_x, flipped_y = bool(row[0] < 0), bool(column[1] < 0)
    if flipped_x:
        origins = origins + row * dx * (columns - 1)
        row = -row
    if flipped_y:
        origins = origins + column * dy * (rows - 1)
        column = -column
    turn = InPlane(transposed=bool(transposed), flipped_y=flipped_y, flipped_x=flipped_x)
    return turn, _vector(row), _vector(column), origins


def _vector(values: np.ndarray) -> Vector3:
    x, y, z = (float(value) for value in values)
    return (x, y, z)


def _spacing(header: SliceHeader, in_plane: InPlane) -> tuple[float, float]:
    dy, dx = header.pixel_spacing or (1.0, 1.0)
    return (dx, dy) if in_plane.transposed else (dy, dx)


def _thickness(headers: Sequence[SliceHeader], positions_mm: np.ndarray) -> np.ndarray:
    """Stated thickness, else the median distance of slices, mm (Z,)."""
    usual = float(np.median(np.diff(positions_mm))) if len(positions_mm) > 1 else 1.0
    return np.array([header.slice_thickness or usual for header in headers])


def _tilt(origins: np.ndarray, column: np.ndarray, normal: np.ndarray) -> float:
    """Angle between the way from first to last slice and the normal, in the plane of `column`."""
    way = origins[-1] - origins[0]
    return float(np.degrees(np.arctan2(way @ column, way @ normal))) if len(origins) > 1 else 0.0


def _reference(header: SliceHeader) -> ImageReference:
    return ImageReference(
        sop_class_uid=header.sop_class_uid,
        sop_instance_uid=header.sop_instance_uid,
        frame_number=header.frame_number,
    )
