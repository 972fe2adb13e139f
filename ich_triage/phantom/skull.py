"""Cranial cavity, its floor, the vault and the outer shape of the head.

Lengths in mm in the head frame (LPS, origin at the height of the commissures). The floor is a height map
over (x, y): anterior fossa with the orbital roofs, sphenoid wings, middle fossae, sella, petrous ridges,
clivus and posterior fossa. Shapes are estimates from general anatomy, not measured from any person.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .records import HeadSpec
from .shapes import ellipsoid, smooth_max, smooth_min

_MAP_HALF_MM, _MAP_STEP_MM = 110.0, 1.0


@dataclass(frozen=True, kw_only=True)
class Enclosure:
    """What bleeds need to know of a skull, synthetic or real."""

    #: cranial cavity, signed distance, negative inside, mm
    cavity: Tensor
    #: height above the cavity's floor, mm
    above_floor: Tensor


@dataclass(frozen=True, kw_only=True)
class Cranium(Enclosure):
    """Signed distances (mm, negative inside) on the sampling grid."""

    #: outer surface of the vault
    outer: Tensor
    #: skin
    skin: Tensor
    #: vault alone (cavity without its floor)
    vault: Tensor


def cranium(head: HeadSpec, x: Tensor, y: Tensor, z: Tensor, wobble: Tensor) -> Cranium:
    """Cavity, vault and skin. ``wobble`` (3, …): unit noise for thickness of bone, scalp and its fat."""
    vault = _vault(head, x, y, z)
    floor, slope = _look_up(_floor_map(x.device), x, y)
    above = (z - floor) * slope
    canal = (x * x + (y - 24) ** 2).sqrt() - 13.0
    cavity = smooth_max(vault, -smooth_max(above, -canal, 4.0), 4.0)
    thick = head.skull_mm * (1.0 + 0.10 * wobble[0])
    thick = thick + 3.5 * torch.exp(-((x / 14.0) ** 2) - ((z + 18) / 18.0) ** 2) * (y > 0)
    thick = thick + 4.0 * torch.exp(-((x / 20.0) ** 2) - ((z + 8) / 22.0) ** 2) * (y < 0)
    thick = thick - 2.6 * torch.exp(-(((z + 14) / 22.0) ** 2) - ((y + 8) / 30.0) ** 2)
    outer = vault - thick.clamp_min_(2.0)
    return Cranium(
        cavity=cavity, outer=outer, skin=_skin(head, x, y, z, outer, wobble), above_floor=above, vault=vault
    )


def _vault(head: HeadSpec, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    a, b, c = head.half_axes_mm
    n = head.exponent
    narrow = 1.0 - head.taper * ((-y - 15.0) / b).clamp(0.0, 1.0)
    half_height = torch.where(z > 0, c, c + 6.0)
    power = (x.abs() / (a * narrow)) ** n + (y.abs() / b) ** n + (z.abs() / half_height) ** (n - 0.1)
    f = power.clamp_min_(1e-4) ** (1.0 / n)
    radius = (x * x + y * y + z * z).sqrt_()
    # radial distance, shortened where the surface is oblique to the radius
    return radius * (1.0 - 1.0 / f) * 0.96


def _skin(head: HeadSpec, x: Tensor, y: Tensor, z: Tensor, outer: Tensor, wobble: Tensor) -> Tensor:
    ax = x.abs()
    scalp = head.scalp_mm * (1.0 + 0.09 * wobble[1])
    temporal = 9.0 * torch.exp(-(((z + 12) / 30.0) ** 2) - ((y + 22) / 26.0) ** 2) * (ax > 30)
    nape = 12.0 * torch.exp(-(((z + 48) / 26.0) ** 2)) * (y > 20)
    cap = outer - scalp - temporal - nape
    face = ellipsoid(x, y, z, (0, -34, -72), (67, 62, 66))
    neck = ellipsoid(x, y, z, (0, 30, -95), (66, 58, 62))
    nose = ellipsoid(x, y, z, (0, -94, -58), (12, 16, 24))
    brow = ellipsoid(x, y, z, (0, -40, -30), (66, 56, 30))
    lower = smooth_min(smooth_min(smooth_min(face, neck, 14.0), nose, 10.0), brow, 10.0)
    lower = torch.where(z < 0, lower, lower.clamp_min(20.0))
    return smooth_min(cap, lower, 12.0)


def _sigmoid(value: Tensor, width: float) -> Tensor:
    return torch.sigmoid(value / width)


def petrous_line(ax: Tensor) -> Tensor:
    """y of the petrous ridge at |x|, mm."""
    return -6.0 + 0.62 * (ax - 8.0).clamp_min(0.0)


def _floor_map(device: torch.device) -> Tensor:
    """(1, 2, N, N) over (y, x): height of the floor and the cosine of its slope."""
    axis = torch.arange(-_MAP_HALF_MM, _MAP_HALF_MM + 0.5, _MAP_STEP_MM, device=device)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    ax = x.abs()
    petrous, wing = petrous_line(ax), -20.0 - 0.52 * (ax - 10.0).clamp_min(0.0)
    back, front = _sigmoid(y - petrous, 1.6), _sigmoid(wing - y, 2.0)
    sella = _sigmoid(13.0 - ax, 1.6) * (1 - back) * (1 - front)
    anterior = -27.0 + 6.5 * torch.exp(-(((ax - 29) / 14.0) ** 2) - ((y + 56) / 26.0) ** 2)
    middle = -45.0 + 8.0 * ((ax - 38) / 24.0) ** 2 + 8.0 * ((y + 14) / 26.0) ** 2
    saddle = -21.0 - 7.0 * torch.exp(-(((y + 17) / 5.0) ** 2))
    posterior = -63.0 + 16.0 * ((ax / 44.0) ** 2 + ((y - 40) / 42.0) ** 2)
    height = back * posterior + front * anterior + sella * saddle + (1 - back - front - sella) * middle
    ridge = -25.0 - 0.05 * ax - 1.25 * (y - petrous - 3.0).abs()
    wings = -20.0 - 1.5 * (y - wing).abs()
    clivus = torch.where(
        (ax < 8.0 + 0.6 * (y + 9.0).clamp_min(0.0)) & (y > -9),
        -19.0 - 2.0 * (y + 8.0),
        torch.full_like(y, -99.0),
    )
    height = torch.maximum(height, torch.where(ax > 9, ridge, -99.0))
    height = torch.maximum(height, torch.where((ax > 9) & (ax < 56), wings, -99.0))
    height = torch.maximum(height, clivus)
    kernel = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=device) / 16.0
    height = F.conv2d(F.pad(height[None, None], (2, 2, 2, 2), mode="replicate"), kernel[None, None, :, None])
    height = F.conv2d(height, kernel[None, None, None, :])[0, 0]
    gy, gx = torch.gradient(height)
    return torch.stack((height, 1.0 / (1.0 + gx * gx + gy * gy).sqrt()))[None]


def _look_up(table: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    points = torch.stack((x, y), dim=-1).div_(_MAP_HALF_MM).reshape(1, x.shape[0], -1, 2)
    values = F.grid_sample(table, points, align_corners=True, padding_mode="border")[0]
    return values[0].reshape(x.shape), values[1].reshape(x.shape)


def tentorium_height(x: Tensor, y: Tensor) -> Tensor:
    """Height of the tentorium over (x, y), mm: a tent with its ridge in the midline, falling backwards."""
    return 8.0 - 0.30 * (y - 22.0).clamp_min(0.0) - 0.44 * x.abs() + 0.0018 * x * x
