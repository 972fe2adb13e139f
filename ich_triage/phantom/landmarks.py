"""Finds in a real head CT what bleeds need: inner skull, ventricles, sulci and a head frame. No atlas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from ich_triage.errors import NotAnalysedError
from ich_triage.imaging.head import Head, find
from ich_triage.imaging.volume import Volume

from .bleeds import LINING_MM, Points
from .skull import Enclosure

#: height of the inner vertex above the commissures, mm; brain's height is about as constant as that
_VERTEX_MM = 72.0
#: CSF is at least this much darker than the brain's median, an old infarct less, HU
_CSF_FALL_HU = 14.0
#: slices with less brain than this hold no bleed, mm²
_LEAST_AREA_MM2 = 2000.0


@dataclass(frozen=True, kw_only=True)
class Landmarks:
    """Fields on the voxels of ``crop``, (Z, y, x), mm unless said otherwise."""

    #: slices of the volume's arrays that the fields cover
    crop: tuple[slice, slice, slice]
    #: signed distance to where bone no longer hides the brain, negative inside
    inside: torch.Tensor
    #: skull, its inner table taken to lie `LINING_MM` further out
    shell: Enclosure
    #: head frame: left of the midline, backwards, above the commissures
    points: Points
    #: patient y, for what settles by gravity
    patient_y: torch.Tensor
    #: ventricles, signed distance, negative inside
    ventricles: torch.Tensor
    #: share of CSF outside the ventricles, 0 to 1
    csf: torch.Tensor
    #: volume of a voxel in each slice, mL, (Z, 1, 1)
    voxel_ml: torch.Tensor


def landmarks(volume: Volume) -> Landmarks:
    """Landmarks of a head. Raises NotAnalysedError when no brain is enclosed by bone."""
    head = find(volume)
    crop = _crop(head, volume)
    dy, dx = volume.pixel_spacing
    sampling = (float(np.median(volume.slice_extents_mm())), dy, dx)
    hu = ndimage.gaussian_filter(volume.hu[crop].clip(-100, 200), (0, 0.8 / dy, 0.8 / dx))
    cavity = _cavity(head, hu, crop)
    depth = ndimage.distance_transform_edt(cavity, sampling=sampling)
    outside = ndimage.distance_transform_edt(~cavity, sampling=sampling)
    left, back, up, patient_y = _frame(volume, head, cavity, crop)
    brain_hu = float(np.median(hu[depth > 12.0]))
    dark = (hu < brain_hu - _CSF_FALL_HU) & cavity
    ventricles = _ventricles(dark, (left, back, up), depth)
    signed = ndimage.distance_transform_edt(~ventricles, sampling=sampling)
    signed = signed - ndimage.distance_transform_edt(ventricles, sampling=sampling)
    csf = _clefts(hu, cavity, brain_hu, volume.pixel_spacing) * (depth > 0.6) * (signed > 3.0)
    extents = volume.slice_extents_mm()[crop[0], None, None] * dy * dx / 1e3
    inside = _tensor(outside - depth)
    return Landmarks(
        crop=crop,
        inside=inside,
        shell=Enclosure(cavity=inside - LINING_MM, above_floor=torch.full_like(inside, 99.0)),
        points=(_tensor(left), _tensor(back), _tensor(up)),
        patient_y=_tensor(patient_y),
        ventricles=_tensor(signed),
        csf=_tensor(csf),
        voxel_ml=_tensor(extents),
    )


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def _crop(head: Head, volume: Volume) -> tuple[slice, slice, slice]:
    area = head.brain.sum(axis=(1, 2)) * head.factor**2 * volume.pixel_spacing[0] * volume.pixel_spacing[1]
    slices = np.flatnonzero(area > _LEAST_AREA_MM2)
    if not len(slices):
        raise NotAnalysedError("not_a_head", "no brain enclosed by bone to put a bleed into")
    rows = np.flatnonzero(head.brain.any(axis=(0, 2))) * head.factor
    columns = np.flatnonzero(head.brain.any(axis=(0, 1))) * head.factor
    margin = 3 * head.factor
    return (
        slice(int(slices[0]), int(slices[-1]) + 1),
        slice(max(0, int(rows[0]) - margin), min(head.shape[0], int(rows[-1]) + margin)),
        slice(max(0, int(columns[0]) - margin), min(head.shape[1], int(columns[-1]) + margin)),
    )


def _cavity(head: Head, hu: np.ndarray, crop: tuple[slice, slice, slice]) -> np.ndarray:
    """The brain's coarse mask, grown to the inner table at full resolution, per slice."""
    near = ndimage.binary_dilation(head.full(head.brain)[crop], np.ones((1, 3, 3)), iterations=head.factor)
    soft = near & (hu > -20.0) & (hu < 85.0)
    opened = ndimage.binary_opening(soft, np.ones((1, 5, 5)))
    labels, count = ndimage.label(opened)
    if not count:
        raise NotAnalysedError("not_a_head", "no brain enclosed by bone to put a bleed into")
    sizes = ndimage.sum_labels(opened, labels, np.arange(1, count + 1))
    largest = labels == 1 + int(np.argmax(sizes))
    return np.array([ndimage.binary_fill_holes(plane) for plane in largest])


def _frame(
    volume: Volume, head: Head, cavity: np.ndarray, crop: tuple[slice, slice, slice]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    index = np.moveaxis(np.mgrid[crop], 0, -1).astype(np.float64)
    left = head.midline.left_mm(index)
    dy, dx = volume.pixel_spacing
    along = np.gradient(left[0], dy, dx)
    back = index[..., 1] * dy * float(along[1].mean()) - index[..., 2] * dx * float(along[0].mean())
    middle = [np.mean([b[c].min(), b[c].max()]) for b, c in zip(back, cavity, strict=True) if c.any()]
    drift = np.polyval(np.polyfit(np.arange(len(middle)), middle, 1), np.arange(len(back)))
    up = volume.positions_mm[crop[0]]
    height = np.broadcast_to((up - up[-1] + _VERTEX_MM)[:, None, None], left.shape)
    patient_y = volume.to_lps(index)[..., 1]
    return left, back - drift[:, None, None], height, patient_y


def _clefts(
    hu: np.ndarray, cavity: np.ndarray, brain_hu: float, pixel_spacing: tuple[float, float]
) -> np.ndarray:
    """Share of CSF in narrow places darker than brain and than what lies 6 mm about: no infarct."""
    sigma = (0.0, 6.0 / pixel_spacing[0], 6.0 / pixel_spacing[1])
    weight = ndimage.gaussian_filter(cavity.astype(np.float32), sigma)
    around = ndimage.gaussian_filter(np.where(cavity, hu, 0.0), sigma) / np.maximum(weight, 1e-3)
    narrow = ((around - 2.0 - hu) / 6.0).clip(0, 1)
    return ((brain_hu - 4.0 - hu) / 10.0).clip(0, 1) * narrow * cavity


def _ventricles(
    dark: np.ndarray, frame: tuple[np.ndarray, np.ndarray, np.ndarray], depth: np.ndarray
) -> np.ndarray:
    """Dark pieces in the middle of the head, seen on any slice between third ventricle and callosum."""
    left, back, up = frame
    middle = (np.abs(left) < 32) & (np.abs(back) < 62) & (up > -14) & (up < 40) & (depth > 22)
    lateral = ((left / 34) ** 2 + (back / 62) ** 2 + ((up - 12) / 26) ** 2) < 1
    pieces = ndimage.binary_opening(dark & middle & lateral, np.ones((1, 3, 3)))
    labels, count = ndimage.label(pieces)
    if not count:
        return pieces
    sizes = ndimage.sum_labels(pieces, labels, np.arange(1, count + 1))
    return np.isin(labels, 1 + np.flatnonzero(sizes > 0.08 * sizes.max()))
