"""Random changes to a prepared study, the same for all its slices: what scanners and patients vary.

They act on the network's input, where a window has cut off most of the HU range: what is cut off stays so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ich_triage.domain.input_spec import InputSpec

from .scalp import other_scalp

#: From here on a window has cut off what is brighter.
_WHITE = 0.998
#: What destroyed brain turns into, and where brain ends, HU.
_FLUID, _DENSEST = 8.0, 50.0


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """How far each change goes."""

    #: probability of a left-right flip; never up-down, blood settles with gravity
    flip: float = 0.5
    #: rotation, ± degrees
    rotation_deg: float = 15.0
    #: scale, ± share
    scale: float = 0.10
    #: shift, ± share of the side
    shift: float = 0.04
    #: stretch of one axis against the other, ± share
    stretch: float = 0.05
    #: HU shift, ± HU
    hu: float = 5.0
    #: contrast about 35 HU, ± share
    contrast: float = 0.12
    #: slow shading over the slice, as from beam hardening: standard deviation up to, HU
    shading_hu: float = 3.0
    #: brightening beside bone, up to, HU per unit of bone: within 2 to 4 mm, and over a centimetre or two
    rim_hu: float = 160.0
    cupping_hu: float = 25.0
    #: probability of another scalp
    scalp: float = 0.5
    #: probability of old damage: infarcts, small-vessel disease; 0 where bleeds are not marked, so not spared
    damage: float = 0.5
    #: noise added, standard deviation up to, HU
    noise_hu: float = 5.0
    #: Gaussian blur (positive) or sharpening (negative) in units of one blur, between
    blur: tuple[float, float] = (-0.6, 1.0)


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A square cut out of all slices alike, somewhere over a place."""

    #: share of each side
    share: float
    #: the place: across and down, -1 … 1 from edge to edge
    towards: tuple[float, float]


def augment(
    x: Tensor,
    masks: Tensor,
    spec: InputSpec,
    *,
    generator: torch.Generator,
    cut: Cut | None = None,
    ranges: Ranges | None = None,
) -> tuple[Tensor, Tensor]:
    """Change slices (Z, C, S, S) in 0..1 and masks (Z, 5, s, s) in 0..1 alike; returns new tensors."""
    ranges = ranges or Ranges()
    if ranges.scalp and float(torch.rand(1, generator=generator)) < ranges.scalp:
        x = other_scalp(x, spec, generator)
    theta = _affine(ranges, generator)
    if cut:
        theta[:, :, :2] *= cut.share
        theta[:, :, 2] += torch.tensor([_off_centre(at, cut.share, generator) for at in cut.towards])
    size = cut.share if cut else 1.0
    x, masks = _warp(x, theta, size), _warp(masks, theta, size)
    return _appearance(x, masks, spec, ranges, generator), masks


def _off_centre(at: float, share: float, generator: torch.Generator) -> float:
    """Centre of a cut that holds `at`, mostly, and does not leave the image."""
    return min(max(at + _uniform(0.8 * share, generator), share - 1), 1 - share)


def _uniform(limit: float, generator: torch.Generator) -> float:
    return float(torch.empty(1).uniform_(-limit, limit, generator=generator))


def _affine(ranges: Ranges, generator: torch.Generator) -> Tensor:
    """(1, 2, 3) for `affine_grid`."""
    angle = math.radians(_uniform(ranges.rotation_deg, generator))
    scale = 1 + _uniform(ranges.scale, generator)
    stretch = 1 + _uniform(ranges.stretch, generator)
    flip = -1.0 if float(torch.rand(1, generator=generator)) < ranges.flip else 1.0
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear = turn @ torch.diag(torch.tensor([flip * scale * stretch, scale / stretch]))
    shift = torch.tensor([[2 * _uniform(ranges.shift, generator)], [2 * _uniform(ranges.shift, generator)]])
    return torch.cat([linear, shift], dim=1)[None]


def _warp(images: Tensor, theta: Tensor, size: float) -> Tensor:
    rows, columns = (round(side * size) for side in images.shape[2:])
    grid = F.affine_grid(theta, [1, 1, rows, columns], align_corners=False)
    # All slices move alike, so they are the channels of one image: one grid for all.
    warped = F.grid_sample(images.flatten(0, 1)[None], grid, align_corners=False)
    return warped[0].unflatten(0, images.shape[:2])


def _appearance(
    x: Tensor, masks: Tensor, spec: InputSpec, ranges: Ranges, generator: torch.Generator
) -> Tensor:
    """Damage, HU shift, contrast, shading, noise and sharpness, in the units of each channel's window."""
    windows = spec.channel_windows
    width = torch.tensor([window.width for window in windows]).reshape(1, -1, 1, 1)
    low = torch.tensor([window.level - window.width / 2 for window in windows]).reshape(1, -1, 1, 1)
    inside = (x > 1 - _WHITE) & (x < _WHITE)
    if ranges.damage and float(torch.rand(1, generator=generator)) < ranges.damage:
        lost = _damage(x, masks, generator) * _brain_above_fluid(x * width + low)
        x = torch.where(inside, x - lost / width, x)
    sharpness = float(torch.empty(1).uniform_(*ranges.blur, generator=generator))
    blurred = _blur(x)
    changed = x + sharpness * (blurred - x)
    gain, shift = 1 + _uniform(ranges.contrast, generator), _uniform(ranges.hu, generator)
    pivot = (35 - low) / width
    changed = (changed - pivot) * gain + pivot + shift / width
    sigma = abs(_uniform(ranges.noise_hu, generator))
    shading = abs(_uniform(ranges.shading_hu, generator)) * _shading(x, generator)
    shading = shading + _beside_bone(x, len(spec.windows), ranges, generator)
    changed = changed + (_noise(x, spec, sigma, generator) + shading) / width
    return torch.where(inside, changed, x).clamp(0, 1)


def _damage(x: Tensor, masks: Tensor, generator: torch.Generator) -> Tensor:
    """(Z, 1, S, S), share of the brain lost in smooth patches, none where blood is; half spare cortex.

    A head like the real one of the tests, a quarter of whose inner brain reads below 23 HU (in 95 of 100
    phantoms less of it), is otherwise never seen without a bleed.
    """
    size = x.shape[2:]
    patches = F.interpolate(torch.randn(1, 1, 5, 5, generator=generator), size=size, mode="bicubic")
    least, most, spared = torch.rand(3, generator=generator).tolist()
    lost = 0.9 * most * torch.sigmoid((patches - (0.2 + least)) / 0.15)
    if spared < 1 / 2:  # white matter alone
        lost = lost * (1 - 8 * _bone_about((x[:, :1] > _WHITE).float(), 8)).clamp(min=0)
    blood = F.max_pool1d(masks.amax(1).flatten(1).T, 3, stride=1, padding=1).T.unflatten(1, masks.shape[2:])
    return lost * (1 - F.interpolate(blood[:, None], size=size, mode="bilinear"))


def _brain_above_fluid(hu: Tensor) -> Tensor:
    """What brain of `hu` loses where all of it is lost, HU; other tissue loses nothing."""
    return (hu - _FLUID).clamp(min=0) * (hu < _DENSEST)


def _noise(x: Tensor, spec: InputSpec, sigma_hu: float, generator: torch.Generator) -> Tensor:
    """(Z, C, S, S) HU: the windows of a slice share a field, its neighbour channels have theirs."""
    fine = torch.randn(len(x), 1, *x.shape[2:], generator=generator)
    grain = float(torch.rand(1, generator=generator))
    field = sigma_hu * ((1 - grain) * fine + grain * 2.2 * _blur(fine))
    return torch.cat([field.roll(-step, dims=0) for step in spec.channel_steps], dim=1)


def _beside_bone(x: Tensor, own: int, ranges: Ranges, generator: torch.Generator) -> Tensor:
    """(Z, C, S, S) HU that bone adds to what lies beside it: dura, partial volume, point spread, hardening.

    On the real head that the tests use, brain as prepared reads 79, 53, 45, 42 HU at 1.5, 2.5, 3.5 and 4.5
    mm from bone, against 36 further in, more than 95 of 100 phantoms; what lies at the edge of what training
    shows a network takes for subdural blood, so the ranges reach well beyond it.
    """
    bone = (x[:, [0, *range(own, x.shape[1])]] > _WHITE).float()  # white in the narrowest window
    near, far = (_bone_about(bone, cell) for cell in (2, 8))
    rim = abs(_uniform(ranges.rim_hu, generator)) * near + abs(_uniform(ranges.cupping_hu, generator)) * far
    return torch.cat([rim[:, :1].expand(-1, own, -1, -1), rim[:, 1:]], dim=1)


def _bone_about(bone: Tensor, cell: int) -> Tensor:
    """(Z, C, S, S), share of bone within a cell or two, of `cell` pixels, about each pixel."""
    shares = _blur(F.avg_pool2d(bone, cell, ceil_mode=True))
    return F.interpolate(shares, size=bone.shape[2:], mode="bilinear")


def _shading(x: Tensor, generator: torch.Generator) -> Tensor:
    """(1, 1, S, S), unit deviation: one smooth field for all slices."""
    return F.interpolate(torch.randn(1, 1, 4, 4, generator=generator), size=x.shape[2:], mode="bicubic")


def _blur(x: Tensor) -> Tensor:
    """A 3 × 3 binomial low-pass, by two passes of averaging neighbours."""
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    rows = (padded[..., :-2, :] + 2 * padded[..., 1:-1, :] + padded[..., 2:, :]) / 4
    return (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 4
