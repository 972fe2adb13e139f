"""From masks and probabilities to findings: how large, on which side, where."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist, squareform

from ..domain.finding import Finding, Side
from ..domain.labels import SUBTYPES
from ..imaging.head import Midline
from ..imaging.volume import Volume
from ..model.manifest import VOLUME_FLOOR_ML, MaskRule
from ..model.masks import parts

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

#: A bleed is on both sides when the smaller share reaches this.
_BILATERAL_SHARE = 0.2
#: A bleed lies on the midline when its centroid is this near to it and it is no wider than that.
_MIDLINE_MM, _MIDLINE_WIDTH_MM = 4.0, 30.0
#: ABC/2 counts a slice wholly, half or not by its area against the largest (Kothari et al., Stroke 1996).
_ABC_FULL, _ABC_HALF = 0.75, 0.25


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What masks are measured in."""

    #: the volume
    volume: Volume
    #: what parts left from right
    midline: Midline
    #: how the package makes findings of masks
    rule: MaskRule

    def voxel_ml(self) -> Floats:
        """Volume of one voxel of each slice, mL, (Z,)."""
        dy, dx = self.volume.pixel_spacing
        return np.asarray(self.volume.slice_extents_mm() * dy * dx / 1000)


def measure(masks: Bools, study: Floats, slices: Floats, scene: Scene) -> tuple[Finding, ...]:
    """The findings of a flagged study, most probable first.

    `masks` (5, Z, Y, X) of the subtypes, `study` (6,) and `slices` (Z, 6) calibrated probabilities.
    """
    return tuple(
        _finding(k, masks[k], float(study[k + 1]), slices[:, k + 1], scene)
        for k in scene.rule.reported(study)
    )


def _finding(index: int, mask: Bools, probability: float, by_slice: Floats, scene: Scene) -> Finding:
    if not mask.any():
        return _without_mask(index, probability, by_slice)
    zyx = np.argwhere(mask)
    weights = scene.voxel_ml()[zyx[:, 0]]
    volume_ml = float(weights.sum())
    areas = mask.sum(axis=(1, 2))
    x, y, z = np.average(scene.volume.to_lps(zyx), axis=0, weights=weights).tolist()
    return Finding(
        subtype=SUBTYPES[index],
        probability=probability,
        volume_ml=volume_ml,
        volume_interval_ml=_interval(volume_ml, scene.rule.volume_error[index]),
        abc2_ml=abc2_ml(mask, scene),
        side=side_of(scene.midline.left_mm(zyx), weights),
        centroid_lps=(x, y, z),
        key_slice=int(areas.argmax()),
        slice_range=(int(zyx[0, 0]), int(zyx[-1, 0])),
    )


def _without_mask(index: int, probability: float, by_slice: Floats) -> Finding:
    """The network is sure of the study, but of no voxel."""
    key = int(by_slice.argmax())
    likely = np.flatnonzero(by_slice >= by_slice[key] / 2)
    return Finding(
        subtype=SUBTYPES[index],
        probability=probability,
        volume_ml=None,
        volume_interval_ml=None,
        abc2_ml=None,
        side=None,
        centroid_lps=None,
        key_slice=key,
        slice_range=(int(likely[0]), int(likely[-1])),
    )


def _interval(volume_ml: float, error: tuple[float, float]) -> tuple[float, float]:
    spread = volume_ml + VOLUME_FLOOR_ML
    return max(0.0, volume_ml + error[0] * spread), max(volume_ml, volume_ml + error[1] * spread)


def side_of(left_mm: Floats, weights: Floats) -> Side:
    """Side of voxels from their distances to the midline, positive on the patient's left, mm."""
    total = weights.sum()
    centre = float((left_mm * weights).sum() / total)
    if abs(centre) < _MIDLINE_MM and float(np.ptp(left_mm)) < _MIDLINE_WIDTH_MM:
        return Side.MIDLINE
    share = float(weights[left_mm > 0].sum() / total)
    if min(share, 1 - share) >= _BILATERAL_SHARE:
        return Side.BILATERAL
    return Side.LEFT if share > 0.5 else Side.RIGHT


def abc2_ml(mask: Bools, scene: Scene) -> float:
    """ABC/2 of the largest connected part of a mask (Z, Y, X), mL (Kothari et al., Stroke 1996).

    A: longest diameter in the slice of largest area; B: width across it; C: height.
    """
    sizes, labels = parts(mask, scene.voxel_ml())
    largest = labels == sizes.argmax()
    areas = largest.sum(axis=(1, 2))
    a, b = _diameters(np.argwhere(largest[areas.argmax()]) * np.array(scene.volume.pixel_spacing))
    share = areas / areas.max()
    counted = np.where(share >= _ABC_FULL, 1.0, np.where(share >= _ABC_HALF, 0.5, 0.0))
    c = float((counted * scene.volume.slice_extents_mm()).sum())
    pixel = float(np.mean(scene.volume.pixel_spacing))
    return (a + pixel) * (b + pixel) * c / 2000


def _diameters(points_mm: Floats) -> tuple[float, float]:
    """Longest diameter of points (N, 2) and their width across it, mm."""
    # No hull means a line or fewer than three points: few enough to compare all.
    with contextlib.suppress(QhullError, ValueError):
        points_mm = points_mm[ConvexHull(points_mm).vertices]
    distances = squareform(pdist(points_mm)) if len(points_mm) > 1 else np.zeros((1, 1))
    i, j = np.unravel_index(distances.argmax(), distances.shape)
    longest = float(distances[i, j])
    if longest == 0:
        return 0.0, 0.0
    along = (points_mm[j] - points_mm[i]) / longest
    return longest, float(np.ptp(points_mm @ np.array([-along[1], along[0]])))
