"""What looks like a bleed, or is seen beside one, and is none: calcifications, dense sinus, infarct, …"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .noise import NoiseField
from .records import HeadSpec, MimicSpec
from .shapes import Point, ellipsoid
from .skull import Cranium

Points = tuple[Tensor, Tensor, Tensor]

#: stretch of an artery of :mod:`.vessels` that calcifies: ends of its left half, and its radius, mm
_CALCIFYING: dict[str, tuple[Point, Point, float]] = {
    "carotid": ((12.7, -17.3, -22), (11, -15, -15), 2.1),
    "vertebral": ((10, 17.4, -68), (6, 11, -53), 1.8),
}


@dataclass(frozen=True, kw_only=True)
class Mimics:
    """Fields on the coarse grid; ``brain_points`` are displaced, so calcifications move with the brain."""

    #: calcifications, negative inside, mm
    calcified: Tensor
    #: change of brain HU by oedema, infarct, small-vessel disease; 0 where none
    delta_hu: Tensor
    #: metal, negative inside, mm
    metal: Tensor
    #: fracture gap or craniotomy in the vault, negative inside, mm
    gap: Tensor
    #: thickening of the scalp by a swelling, mm
    swelling: Tensor
    #: solid tumour, negative inside, mm
    tumour: Tensor
    #: where arteries have calcified walls, negative inside, mm; None without
    plaque: Tensor | None


def mimics(spec: MimicSpec, head: HeadSpec, shell: Cranium, points: Points, brain_points: Points) -> Mimics:
    """All mimics of this phantom; every number is drawn in a fixed order, whatever is present."""
    rng = np.random.default_rng(spec.seed)
    x, y, z = brain_points
    noise = NoiseField(spec.seed, 2, bandwidth=0.6, device=str(x.device)).sample(x, y, z, wavelength_mm=16.0)
    delta = _infarct(spec, rng, brain_points, noise) + _white_matter(spec, rng, brain_points, noise)
    tumour, oedema = _tumour(spec, rng, brain_points, noise)
    gap, swelling = _trauma(spec, rng, shell, points)
    return Mimics(
        calcified=_calcified(spec, rng, brain_points, noise),
        delta_hu=delta + oedema,
        metal=_metal(spec, rng, points),
        gap=gap,
        swelling=swelling,
        tumour=tumour,
        plaque=_plaque(spec, brain_points),
    )


def _calcified(spec: MimicSpec, rng: np.random.Generator, points: Points, noise: Tensor) -> Tensor:
    x, y, z = points
    ax = x.abs()
    size = rng.uniform(0.6, 1.3, 8)
    far = torch.full_like(x, 9.0)
    parts = [far]
    if "pineal" in spec.names:
        parts.append(ellipsoid(x, y, z, (float(size[0] - 1), 17, 3), (2.2 * size[0], 2.6 * size[0], 2.4)))
    if "choroid" in spec.names:
        left = ellipsoid(x, y, z, (21.5, 27, 11), (2.2 * size[1], 4.2 * size[1], 3.2))
        right = ellipsoid(x, y, z, (-21.5, 27, 11), (2.0 * size[2], 3.8 * size[2], 3.0))
        parts += [left, right]
    if "falx" in spec.names:
        along, up = float(rng.uniform(-66, 45)), float(rng.uniform(40, 58))
        parts.append(ellipsoid(x, y, z, (0, along, up), (1.3 * size[3], 6.0 * size[4], 7.0 * size[5])))
    if "ganglia" in spec.names:
        parts.append(ellipsoid(ax, y, z, (18.5, -11, 1), (2.6 * size[6], 5.0 * size[7], 3.5)))
    return torch.stack(parts).amin(0) + 0.7 * noise[0]


def _plaque(spec: MimicSpec, points: Points) -> Tensor | None:
    """Balls on artery walls: small ones leave a speck of the wall, larger ones a crescent or ring."""
    rng, (x, y, z) = np.random.default_rng([spec.seed, 1]), points
    balls = []
    for name, (low, high, radius) in _CALCIFYING.items():
        sides = ((-1,), (1,), (-1, 1), (-1, 1))[int(rng.integers(4))]
        for side, along, turn, size in zip((-1, -1, 1, 1), *rng.uniform(size=(3, 4)), strict=True):
            if name in spec.names and side in sides:
                cx, cy, cz = (a + along * (b - a) for a, b in zip(low, high, strict=True))
                cx, cy = cx + radius * math.cos(math.tau * turn), cy + radius * math.sin(math.tau * turn)
                away = ((x - side * cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2).sqrt_()
                balls.append(away - (0.9 + 1.9 * size))
    return torch.stack(balls).amin(0) if balls else None


def _infarct(spec: MimicSpec, rng: np.random.Generator, points: Points, noise: Tensor) -> Tensor:
    """A wedge that is dark in cortex and white matter alike; lacunes when small."""
    side, azimuth, height = rng.choice([-1, 1]), rng.uniform(40, 160), rng.uniform(-5, 45)
    width, fall, lacune = rng.uniform(0.12, 0.45), rng.uniform(5, 18), rng.random() < 0.4
    if "infarct" not in spec.names:
        return torch.zeros_like(points[0])
    x, y, z = points
    if lacune:
        hole = ellipsoid(x, y, z, (side * 22.0, rng.uniform(-25, 5), rng.uniform(0, 18)), (4.0, 5.0, 4.0))
        return -14.0 * torch.sigmoid(-hole / 1.2)
    az, el = math.radians(azimuth), math.radians(height)
    u = side * math.sin(az) * math.cos(el), -math.cos(az) * math.cos(el), math.sin(el)
    radius = (x * x + y * y + z * z).sqrt().clamp_min(1.0)
    angle = torch.acos(((x * u[0] + y * u[1] + z * u[2]) / radius).clamp(-0.999, 0.999))
    inside = torch.sigmoid((width - angle + 0.05 * noise[0]) / 0.04) * torch.sigmoid((radius - 34.0) / 3.0)
    return -fall * inside * (x * side > 1.0)


def _white_matter(spec: MimicSpec, rng: np.random.Generator, points: Points, noise: Tensor) -> Tensor:
    """Small-vessel disease: caps about the horns of the ventricles."""
    fall, reach = rng.uniform(2, 8), rng.uniform(6, 14)
    if "white_matter" not in spec.names:
        return torch.zeros_like(points[0])
    x, y, z = points
    ax = x.abs()
    front = ellipsoid(ax, y, z, (17, -42, 12), (9, 11, 13))
    body = ellipsoid(ax, y, z, (24, -4, 24), (7, 30, 9))
    back = ellipsoid(ax, y, z, (27, 38, 12), (9, 15, 13))
    near = torch.stack((front, body, back)).amin(0) + 2.0 * noise[1]
    return -fall * torch.sigmoid(-near / (0.3 * reach))


def _tumour(
    spec: MimicSpec, rng: np.random.Generator, points: Points, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """A solid mass, isodense to slightly dense, with finger-like vasogenic oedema."""
    side, size, reach = rng.choice([-1, 1]), rng.uniform(6, 17), rng.uniform(8, 24)
    centre = side * rng.uniform(18, 42), rng.uniform(-50, 45), rng.uniform(12, 45)
    if "tumour" not in spec.names:
        return torch.full_like(points[0], 9.0), torch.zeros_like(points[0])
    mass = ellipsoid(*points, centre, (size, size * 1.1, size)) + 1.5 * noise[0]
    fingers = mass + 5.0 * noise[1]
    return mass, -9.0 * torch.sigmoid((reach - fingers) / 3.0) * (points[0] * side > 1.0)


def _metal(spec: MimicSpec, rng: np.random.Generator, points: Points) -> Tensor:
    side, along, up = rng.choice([-1, 1]), rng.uniform(-30, 20), rng.uniform(-16, 30)
    if "metal" not in spec.names:
        return torch.full_like(points[0], 9.0)
    return ellipsoid(*points, (side * 22.0, along, up), (1.4, 3.2, 1.8))


def _trauma(
    spec: MimicSpec, rng: np.random.Generator, shell: Cranium, points: Points
) -> tuple[Tensor, Tensor]:
    """Fracture line or craniotomy flap in the vault, and a swelling of the scalp over it."""
    x, y, z = points
    width, bend, high = rng.uniform(0.5, 1.4), rng.uniform(-0.02, 0.02), rng.uniform(4, 12)
    radius, reach = rng.uniform(20, 32), rng.uniform(20, 38)
    gap, swelling = torch.full_like(x, 9.0), torch.zeros_like(x)
    az, el = spec.blow
    u = math.sin(az) * math.cos(el), -math.cos(az) * math.cos(el), math.sin(el)
    r = (x * x + y * y + z * z).sqrt().clamp_min(1.0)
    away = 76.0 * torch.acos(((x * u[0] + y * u[1] + z * u[2]) / r).clamp(-0.999, 0.999))
    if "fracture" in spec.names:
        across = x * math.cos(az) + y * math.sin(az)
        line = (across + bend * (z - 30.0) ** 2 * 0.1 + 0.15 * (z - 60 * u[2])).abs() - 0.5 * width
        gap = torch.maximum(line, away - reach)
    if "craniotomy" in spec.names:
        gap = torch.minimum(gap, (away - radius).abs() - 1.0)
    if {"swelling", "craniotomy"} & spec.names:
        swelling = high * torch.exp(-((away / reach) ** 2)) * (shell.cavity > -20.0)
    return gap, swelling
