"""Makes a phantom's pixels, masks and truth from its spec."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ich_triage.domain.finding import Side, Vector3
from ich_triage.domain.labels import SUBTYPES, Subtype

from .fields import Fields, build
from .grid import SliceGrid, series_grid
from .paint import Painted, paint
from .physics import acquire, add_table, spread
from .records import PhantomSpec

#: working pixels per stored pixel; the rest is bilinear, below the point spread
_WORKING = 0.68
#: coarse samples lie this much further apart than working pixels, mm
_COARSER_MM = 1.2
#: share of a voxel from which a bleed belongs to the mask; blood in CSF is thinner
MASK_SHARE, MASK_SHARE_CSF = 0.5, 0.3
#: smallest area that makes a slice positive, mm²; about a 4 mm dot
_VISIBLE_MM2 = 12.0
#: A reader sees a bleed whose contrast on its best slice, times the root of how many such dots it fills, is
#: five times (Rose, J Opt Soc Am 1948;38:196) what tissue and noise vary by in one dot, HU (estimate).
_ROSE, _CLUTTER_HU = 5.0, 5.0
#: From here on bone's partial volume hides blood, HU: no clot is as dense, and no reader outlines it.
_HIDDEN_HU = 100.0
#: Contrast that any bleed counts for, HU: a large one betrays itself by its shape and by what it displaces.
_SHAPE_HU = 6.0


@dataclass(frozen=True, kw_only=True)
class BleedTruth:
    """What became of the bleeds of one subtype."""

    #: which of the five
    subtype: Subtype
    #: volume of the mask, mL
    volume_ml: float
    #: side of the patient
    side: Side
    #: centroid of the mask, LPS, mm
    centroid_lps: Vector3
    #: mean HU asked for, before noise
    hu: float


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The known answer."""

    #: visible bleeds, in the order of `SUBTYPES`
    bleeds: tuple[BleedTruth, ...]
    #: (Z, 6) bool in the order of `LABELS`
    slice_labels: Tensor

    @property
    def labels(self) -> tuple[bool, ...]:
        """Study labels in the order of `LABELS`."""
        return tuple(bool(v) for v in self.slice_labels.any(dim=0))


@dataclass(frozen=True, kw_only=True)
class Phantom:
    """One synthetic series. Axes (slice, row, column); slices ascend along the normal."""

    #: (Z, Y, X) float32, HU
    hu: Tensor
    #: (5, Z, Y, X) bool in the order of `SUBTYPES`
    masks: Tensor
    #: slice distance along the normal, row and column spacing, mm
    spacing: tuple[float, float, float]
    #: ImagePositionPatient of every slice, (Z, 3), LPS, mm
    positions: np.ndarray
    #: ImageOrientationPatient
    orientation: tuple[float, float, float, float, float, float]
    #: gantry tilt, degrees
    tilt_deg: float
    #: the known answer
    truth: Truth
    #: what it was made from
    spec: PhantomSpec


def generate(spec: PhantomSpec, *, device: str = "cpu", matrix: int = 512) -> Phantom:
    """The phantom of ``spec`` with ``matrix``² pixels per slice, tensors on ``device``."""
    with torch.inference_mode():
        grid = series_grid(spec.acquisition, matrix)
        working = round(matrix * _WORKING)
        working_mm = grid.spacing[1] * (matrix - 1) / (working - 1)
        fields = build(
            spec,
            grid,
            working=working,
            samples_per_pixel=working_mm / (working_mm + _COARSER_MM),
            device=device,
        )
        ideal, shares, contrasts = _render(spec, grid, fields, working, working_mm)
        noiseless = spread(spec.acquisition, grid, ideal)
        hu = add_table(acquire(spec, grid, noiseless), grid, spec.seed)
        seen = _seen(shares, contrasts, noiseless, working_mm**2)
        masks, truth = _truth(spec, grid, _masks(shares, noiseless), seen)
    return Phantom(
        hu=hu,
        masks=masks,
        spacing=grid.spacing,
        positions=grid.positions(),
        orientation=grid.orientation,
        tilt_deg=spec.acquisition.tilt_deg,
        truth=truth,
        spec=spec,
    )


def generate_batch(
    specs: Iterable[PhantomSpec], *, device: str = "cpu", matrix: int = 512
) -> Iterator[Phantom]:
    """Phantoms one after the other; each is already vectorised over all its voxels."""
    for spec in specs:
        yield generate(spec, device=device, matrix=matrix)


def _render(spec: PhantomSpec, grid: SliceGrid, fields: Fields, working: int, width_mm: float) -> Painted:
    """Paint slice by slice (small enough for the cache) and average the sub-slices."""
    names = list(fields.channels)
    stack = torch.stack([fields.channels[name] for name in names], dim=1)
    n, (top, bottom, left, right) = grid.subslices, fields.window
    size = (bottom - top + 1, right - left + 1)
    hu = torch.full((grid.slices, working, working), -1000.0, device=stack.device)
    shares = torch.zeros((len(SUBTYPES), grid.slices, working, working), device=stack.device)
    contrasts = torch.zeros_like(shares)
    for index in range(grid.slices):
        block = stack[index * n : (index + 1) * n]
        fine = F.interpolate(block, size=size, mode="bilinear", align_corners=True)
        channels = {name: fine[:, c] for c, name in enumerate(names)}
        slab = paint(spec, channels, fields.clots, width_mm)
        hu[index, top : bottom + 1, left : right + 1] = slab.hu.mean(0)
        shares[:, index, top : bottom + 1, left : right + 1] = slab.shares.mean(1)
        contrasts[:, index, top : bottom + 1, left : right + 1] = slab.contrasts.mean(1)
    return Painted(hu=hu, shares=shares, contrasts=contrasts)


def _seen(shares: Tensor, contrasts: Tensor, noiseless: Tensor, pixel_mm2: float) -> Tensor:
    """Whether a reader would see the bleed of each subtype on its best slice, (5,) bool (Rose criterion)."""
    there = F.interpolate(noiseless[:, None], size=shares.shape[2:], mode="bilinear", align_corners=True)
    shown = there[:, 0] < _HIDDEN_HU
    stands_out = torch.maximum(contrasts, _SHAPE_HU * shares) * shown  # as partial volume leaves it
    signal = (stands_out.square().sum((2, 3)) * pixel_mm2 / _VISIBLE_MM2).sqrt()
    return signal.amax(1) >= _ROSE * _CLUTTER_HU


def _masks(shares: Tensor, noiseless: Tensor) -> Tensor:
    """Voxels with enough blood to see it, (5, Z, Y, X)."""
    size = noiseless.shape[1:]
    masks = torch.zeros((*shares.shape[:2], *size), dtype=torch.bool, device=shares.device)
    for index, subtype in enumerate(SUBTYPES):
        if not bool(shares[index].any()):
            continue
        fine = F.interpolate(shares[index][:, None], size=size, mode="bilinear", align_corners=True)[:, 0]
        limit = MASK_SHARE_CSF if subtype is Subtype.SUBARACHNOID else MASK_SHARE
        masks[index] = (fine >= limit) & (noiseless < _HIDDEN_HU)
    return masks


def _truth(spec: PhantomSpec, grid: SliceGrid, masks: Tensor, seen: Tensor) -> tuple[Tensor, Truth]:
    """Drops what is too small or too faint to see, then measures the rest."""
    area = grid.spacing[1] * grid.spacing[2]
    visible = torch.zeros(masks.shape[:2], dtype=torch.bool, device=masks.device)
    for index in {SUBTYPES.index(bleed.subtype) for bleed in spec.bleeds}:
        visible[index] = (masks[index].flatten(1).sum(-1) * area >= _VISIBLE_MM2) & seen[index]
        masks[index] &= visible[index][:, None, None]
    bleeds = []
    for index, subtype in enumerate(SUBTYPES):
        if bool(visible[index].any()):
            bleeds.append(_measure(spec, grid, masks[index], subtype))
    labels = torch.cat((visible.any(0)[None], visible)).T.contiguous()
    return masks, Truth(bleeds=tuple(bleeds), slice_labels=labels)


def _measure(spec: PhantomSpec, grid: SliceGrid, mask: Tensor, subtype: Subtype) -> BleedTruth:
    where = torch.nonzero(mask).double().cpu().numpy()
    row, column = np.asarray(grid.orientation[:3]), np.asarray(grid.orientation[3:])
    axes = np.stack((grid.step, column * grid.spacing[1], row * grid.spacing[2]))
    places = grid.origin + where @ axes
    across = (places @ grid.to_head.T)[:, 0]
    return BleedTruth(
        subtype=subtype,
        volume_ml=float(len(where) * np.prod(grid.spacing) / 1e3),
        side=side_of(across),
        centroid_lps=tuple(places.mean(0).tolist()),
        hu=float(np.mean([b.hu for b in spec.bleeds if b.subtype is subtype])),
    )


def side_of(across_mm: np.ndarray) -> Side:
    """Side from the voxels' distances to the midline plane, positive towards the patient's left."""
    left = float(np.mean(across_mm > 0))
    if abs(float(np.mean(across_mm))) < 4.0 and float(np.ptp(across_mm)) < 30.0:
        return Side.MIDLINE
    if 0.2 <= left <= 0.8:
        return Side.BILATERAL
    return Side.LEFT if left > 0.5 else Side.RIGHT
