"""How bleeds push the brain: a decaying displacement field, at most 12 mm across the midline."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ich_triage.domain.labels import Subtype

from .bleeds import Clot, Points
from .skull import Cranium

#: decay of the push from the surface inwards, mm
_DECAY_MM = 55.0
#: how far a clot at the skull moves the midline: this share of its thickness, at most so many mm
_SHIFT_SHARE, _MAX_SHIFT_MM = 0.5, 12.0
#: depth below the inner table from which brain takes part in the whole shift, mm
_SHIFT_DEPTH_MM = 45.0


def displaced(points: Points, shell: Cranium, clots: list[Clot]) -> Points:
    """Where in the undisturbed brain the tissue at each point comes from, head frame, mm."""
    x, y, z = points
    for clot in clots:
        if clot.lift is not None:
            x, y, z = _lifted((x, y, z), shell, clot.lift)
            x = x + clot.spec.side * _shift(z, shell, clot.lift)
        elif clot.spec.subtype is Subtype.INTRAPARENCHYMAL:
            x, y, z = _spread((x, y, z), clot)
    return x, y, z


def _lifted(points: Points, shell: Cranium, lift: Tensor) -> Points:
    x, y, z = points
    radius = (x * x + y * y + z * z).sqrt().clamp_min(8.0)
    beyond = torch.relu(-shell.cavity - lift)
    push = lift * torch.exp(-beyond / _DECAY_MM) / radius
    return x + x * push, y + y * push, z + z * push


def _shift(z: Tensor, shell: Cranium, lift: Tensor) -> Tensor:
    """Shift to the other side, mm: whole in the depth above the tentorium, none at the inner table."""
    most = min(_SHIFT_SHARE * float(lift.max()), _MAX_SHIFT_MM)
    depth = (-shell.cavity / _SHIFT_DEPTH_MM).clamp(0.0, 1.0)
    return most * depth * torch.sigmoid((z + 15.0) / 8.0)


def _spread(points: Points, clot: Clot) -> Points:
    cube = 750.0 * clot.spec.volume_ml / math.pi * 0.5
    offsets = [c - o for c, o in zip(points, clot.centre, strict=True)]
    r3 = torch.as_tensor(sum(o * o for o in offsets)).pow(1.5).clamp_min(1.0)
    shrink = 1.0 - (1.0 - cube / r3).clamp_min(0.02) ** (1 / 3)
    x, y, z = (c - o * shrink for c, o in zip(points, offsets, strict=True))
    return x, y, z
