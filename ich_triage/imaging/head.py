"""Where head, brain and midline are: threshold and shape only, at about 2 mm, fast enough for every study.

No atlas and no network: the skull is dense and closed, what it encloses is the brain. The masks serve the
input gate, the side of a finding and the pictures; they are no measurement.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .volume import Volume

#: Size of a cell of the masks, mm, as near as whole pixels come to it.
_CELL_MM = 2.0
_BONE_HU = 180.0
_AIR_HU = -300.0
#: Cerebrospinal fluid with its noise up to clotted blood, HU.
_BRAIN_HU = (-15.0, 110.0)
#: Openings of the skull narrower than twice this do not join brain and face, mm.
_NECK_MM = 6.0
#: Share of a piece's outline that bone follows where the piece lies within the skull.
MIN_ENCLOSED = 0.5
_CROSS_2D = ndimage.generate_binary_structure(2, 1)[None]
_RING_2D = np.hypot(*np.mgrid[-2:3, -2:3])[None] <= 2.3
_ANGLES_COARSE = np.arange(-24.0, 24.1, 3.0)
_ANGLES_FINE = np.arange(-2.5, 2.6, 0.5)


@dataclass(frozen=True, kw_only=True)
class Midline:
    """A plane through the head that parts left from right; it leans where the head is turned or rolled.

    In pixel millimetres (x · dx, y · dy), slice by slice.
    """

    #: turn of the plane within the slice, degrees; positive when its front points to the patient's left
    angle_deg: float
    #: distance of the plane from pixel (0, 0) along its own normal, mm, per slice (Z,)
    offsets_mm: np.ndarray
    #: between rows, between columns, mm
    pixel_spacing: tuple[float, float]

    def left_mm(self, zyx: np.ndarray) -> np.ndarray:
        """Distance of voxels (…, 3) from the midline, mm (…); positive on the patient's left."""
        zyx = np.asarray(zyx, dtype=np.float64)
        dy, dx = self.pixel_spacing
        u, _ = _turned(zyx[..., 2] * dx, zyx[..., 1] * dy, self.angle_deg)
        return u - np.interp(zyx[..., 0], np.arange(len(self.offsets_mm)), self.offsets_mm)


@dataclass(frozen=True, kw_only=True, eq=False)
class Head:
    """Masks on cells of `factor` × `factor` pixels, (Z, ceil(Y / factor), ceil(X / factor)), bool."""

    #: pixels per cell in y and x
    factor: int
    #: rows and columns of a slice
    shape: tuple[int, int]
    #: everything of the patient, without table and head rest
    head: np.ndarray
    #: bone of the head
    bone: np.ndarray
    #: what the skull encloses
    brain: np.ndarray
    #: what parts left from right
    midline: Midline

    def full(self, mask: np.ndarray) -> np.ndarray:
        """One of the masks at the resolution of the volume, (Z, Y, X) bool."""
        rows, columns = self.shape
        return mask.repeat(self.factor, axis=1).repeat(self.factor, axis=2)[:, :rows, :columns]


def find(volume: Volume) -> Head:
    """Masks and midline of a volume; masks are empty where there is no head."""
    factor = max(1, round(_CELL_MM / min(volume.pixel_spacing)))
    cells = _coarse(volume.hu, factor)
    dy, dx = (spacing * factor for spacing in volume.pixel_spacing)
    head = _without_table(cells > _AIR_HU)
    bone = head & (cells > _BONE_HU)
    brain = _brain(cells, head, bone, max(1, round(_NECK_MM / 2 / min(dy, dx))))
    return Head(
        factor=factor,
        shape=(volume.hu.shape[1], volume.hu.shape[2]),
        head=head,
        bone=bone,
        brain=brain,
        midline=_midline(brain, factor, volume.pixel_spacing),
    )


def _coarse(hu: np.ndarray, factor: int) -> np.ndarray:
    """Mean over cells; the ragged edge is filled with air."""
    slices, rows, columns = hu.shape
    pad = (-rows % factor, -columns % factor)
    if any(pad):
        hu = np.pad(hu, ((0, 0), (0, pad[0]), (0, pad[1])), constant_values=-1000.0)
    rows, columns = hu.shape[1] // factor, hu.shape[2] // factor
    by_row = np.add.reduce(hu.reshape(slices, rows, factor, columns * factor), axis=2)
    return np.add.reduce(by_row.reshape(slices, rows, columns, factor), axis=3) / factor**2


def _largest(mask: np.ndarray) -> np.ndarray:
    labels, count = ndimage.label(mask)
    if count == 0:
        return mask
    sizes = np.bincount(labels.ravel())
    return labels == sizes[1:].argmax() + 1


def _without_table(dense: np.ndarray) -> np.ndarray:
    """The largest piece once what is thinner than 4 cells, the shell of a head rest, is cut off."""
    core = _largest(ndimage.binary_erosion(dense, _CROSS_2D, iterations=2))
    return ndimage.binary_dilation(core, _CROSS_2D, iterations=2, mask=dense)


def _brain(cells: np.ndarray, head: np.ndarray, bone: np.ndarray, radius: int) -> np.ndarray:
    """The largest piece of brain density that bone encloses, slice by slice, holes filled.

    Bridges through the skull's openings are cut first; muscle outside has bone on one side only.
    """
    low, high = _BRAIN_HU
    inside = head & ~bone
    tissue = inside & (cells > low) & (cells < high)
    core = ndimage.binary_erosion(tissue, _CROSS_2D, iterations=radius)
    grown = ndimage.binary_dilation(core, _CROSS_2D, iterations=radius, mask=inside)
    labels, count = ndimage.label(grown, np.pad(_CROSS_2D, ((1, 1), (0, 0), (0, 0))))
    around = ndimage.grey_dilation(labels, footprint=_RING_2D) * ~grown
    outline = np.bincount(around.ravel(), minlength=count + 1)
    along_bone = np.bincount(around.ravel(), weights=bone.ravel(), minlength=count + 1)
    kept = along_bone >= MIN_ENCLOSED * np.maximum(outline, 1)
    kept[0] = False
    brain = _largest(kept[labels])
    return ndimage.binary_fill_holes(brain, _CROSS_2D) if brain.any() else brain


def _turned(x: np.ndarray, y: np.ndarray, angle_deg: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates across (towards the left) and along a line turned by `angle_deg`."""
    cos, sin = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    return x * cos + y * sin, y * cos - x * sin


def _midline(brain: np.ndarray, factor: int, pixel_spacing: tuple[float, float]) -> Midline:
    """The turn at which the halves of the brain's outline mirror each other best.

    At each turn the outline's left and right edges give a middle per slice and line; the best turn is
    where those middles stray least from one plane.
    """
    areas = brain.sum(axis=(1, 2))
    slices = np.flatnonzero(areas > areas.max(initial=0) / 2)
    dy, dx = pixel_spacing
    if len(slices) < 2:
        centre = brain.shape[2] * factor * dx / 2
        return Midline(angle_deg=0.0, offsets_mm=np.full(len(brain), centre), pixel_spacing=pixel_spacing)
    used = brain[slices]
    edge = used & ~ndimage.binary_erosion(used, _CROSS_2D)
    z, y, x = np.nonzero(edge)
    y_mm = (y * factor + (factor - 1) / 2) * dy
    x_mm = (x * factor + (factor - 1) / 2) * dx
    z = slices[z]
    best = min(_ANGLES_COARSE, key=lambda angle: _strays(z, y_mm, x_mm, angle)[0])
    best = min(best + _ANGLES_FINE, key=lambda angle: _strays(z, y_mm, x_mm, angle)[0])
    _, slope, intercept = _strays(z, y_mm, x_mm, best)
    return Midline(
        angle_deg=float(best),
        offsets_mm=intercept + slope * np.arange(len(brain)),
        pixel_spacing=pixel_spacing,
    )


def _strays(z: np.ndarray, y_mm: np.ndarray, x_mm: np.ndarray, angle: float) -> tuple[float, float, float]:
    """How far middles stray from a plane, mm, and the plane's slope and intercept over slices."""
    u, v = _turned(x_mm, y_mm, angle)
    line = ((v - v.min()) / (2 * _CELL_MM)).astype(int)
    key = z * (line.max() + 1) + line
    left, right = np.full(key.max() + 1, -np.inf), np.full(key.max() + 1, np.inf)
    np.maximum.at(left, key, u)
    np.minimum.at(right, key, u)
    found = np.flatnonzero(np.isfinite(left) & (left - right > 10 * _CELL_MM))
    if len(found) < 2:
        return np.inf, 0.0, float(u.mean())
    middle = (left[found] + right[found]) / 2
    slices = found // (line.max() + 1)
    slope, intercept = np.polyfit(slices, middle, 1) if slices.min() < slices.max() else (0.0, middle.mean())
    stray = np.abs(middle - slope * slices - intercept).mean()
    return float(stray) + 0.002 * abs(angle), float(slope), float(intercept)
