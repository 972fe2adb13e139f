"""Another scalp: all that lies outside the skull drawn anew, so that a network cannot go by it.

Of epidural bleeds three in five come with a swelling of the scalp (docs/phantom.md), of other studies one in
ten. A network takes that for a sign, and then flags heads for the way their scalp lies on the head rest:
the real one of the tests at 0.99, and at 0.59 where its scalp is taken off (train/LOG.md).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ich_triage.domain.input_spec import InputSpec
from ich_triage.imaging.windows import apply

#: From here on it is bone, HU.
_BONE = 300.0
#: Directions about the centre, and those between which a layer varies.
_RAYS, _KNOTS = 256, 8
#: Gap in the skull that no ray leads out of, in rays: a fracture, thin bone at the temple.
_GAP = 33
#: Thickness of the layer, at most, as share of the side (about 15 mm), and what it is made of, HU.
_THICKEST, _FAT, _MUSCLE = 0.07, -100.0, 70.0
#: Outside the layer, HU.
_AIR = -1000.0


def other_scalp(x: Tensor, spec: InputSpec, generator: torch.Generator) -> Tensor:
    """Slices (Z, C, S, S) in 0..1 with a random layer over the outermost bone, and air; returns a new tensor.

    Seen from the centre of the slice; in directions without any bone nothing changes.
    """
    count, side = len(x), x.shape[-1]
    across = torch.arange(side) - (side - 1) / 2
    radius = torch.hypot(across[:, None], across[None])
    ray = (torch.atan2(across[:, None], across[None]) / (2 * torch.pi) * _RAYS).round().long() % _RAYS
    skull = _outermost_bone(x, spec)[:, ray] + 1  # the rim of bone stays
    thickest = _THICKEST * side * float(torch.rand(1, generator=generator))
    layer = thickest * torch.sigmoid(1.5 * _smooth(count, generator))[:, ray]
    kind = float(torch.randn(1, generator=generator))
    tissue = _FAT + (_MUSCLE - _FAT) * torch.sigmoid(2 * (_smooth(count, generator) + kind))[:, ray]
    outside, hu = radius > skull, torch.where(radius < skull + layer, tissue, _AIR)
    changed = []
    for k, (window, step) in enumerate(zip(spec.channel_windows, spec.channel_steps, strict=True)):
        of = (torch.arange(count) + step).clamp(0, count - 1)
        changed.append(torch.where(outside[of], apply(hu[of], window), x[:, k]))
    return torch.stack(changed, dim=1)


def _outermost_bone(x: Tensor, spec: InputSpec) -> Tensor:
    """(Z, rays), distance of it from the centre in pixels; infinite where there is none."""
    widest = max(range(len(spec.windows)), key=lambda k: spec.windows[k].width)
    bone = (x[:, widest] >= apply(torch.tensor(_BONE), spec.windows[widest])).float()
    side = x.shape[-1]
    angle = torch.arange(_RAYS) / _RAYS * 2 * torch.pi
    steps = torch.arange(0.5, side / 2 * 2**0.5)
    grid = torch.stack([angle.cos(), angle.sin()], dim=-1)[:, None] * steps[:, None] * 2 / side
    found = F.grid_sample(bone[None], grid[None], align_corners=False)[0] > 0.5
    farthest = (found * steps).amax(dim=-1)
    closed = -_dilated(-_dilated(farthest))
    return torch.where(closed > 0, closed, torch.inf)


def _dilated(edge: Tensor) -> Tensor:
    """The farthest (Z, rays) of `_GAP` neighbouring rays."""
    return F.max_pool1d(F.pad(edge[None], (_GAP // 2, _GAP // 2), mode="circular"), _GAP, stride=1)[0]


def _smooth(count: int, generator: torch.Generator) -> Tensor:
    """(Z, rays), about unit deviation: varies slowly from slice to slice and about the head."""
    knots = torch.randn(1, 1, 4, _KNOTS, generator=generator)
    closed = torch.cat([knots, knots[..., :1]], dim=-1)
    field = F.interpolate(closed, size=(count, _RAYS + 1), mode="bicubic", align_corners=True)
    return field[0, 0, :, :_RAYS]
