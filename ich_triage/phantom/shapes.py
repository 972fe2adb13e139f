"""Implicit solids: signed distances in mm, negative inside, on point arrays of one shape."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

Point = tuple[float, float, float]


def ellipsoid(x: Tensor, y: Tensor, z: Tensor, centre: Point, half_axes: Point) -> Tensor:
    """First-order distance to an axis-aligned ellipsoid."""
    u, v, w = (x - centre[0]) / half_axes[0], (y - centre[1]) / half_axes[1], (z - centre[2]) / half_axes[2]
    q = (u * u + v * v + w * w).clamp_min_(1e-6)
    slope = ((u / half_axes[0]) ** 2 + (v / half_axes[1]) ** 2 + (w / half_axes[2]) ** 2).sqrt_()
    r = q.sqrt()
    return r * (r - 1.0) / slope.clamp_min_(1e-6)


def capsule(x: Tensor, y: Tensor, z: Tensor, ends: tuple[Point, Point], radii: tuple[float, float]) -> Tensor:
    """Distance to a segment whose radius runs linearly from one end to the other."""
    (ax, ay, az), (bx, by, bz) = ends
    dx, dy, dz = bx - ax, by - ay, bz - az
    length2 = dx * dx + dy * dy + dz * dz
    t = (((x - ax) * dx + (y - ay) * dy + (z - az) * dz) / length2).clamp_(0.0, 1.0)
    r2 = (x - ax - t * dx) ** 2 + (y - ay - t * dy) ** 2 + (z - az - t * dz) ** 2
    return r2.sqrt_() - (radii[0] + (radii[1] - radii[0]) * t)


def chain(x: Tensor, y: Tensor, z: Tensor, nodes: Sequence[tuple[float, float, float, float]]) -> Tensor:
    """Distance to a polyline of capsules; each node is (x, y, z, radius)."""
    parts = [capsule(x, y, z, (a[:3], b[:3]), (a[3], b[3])) for a, b in pairwise(nodes)]
    return torch.stack(parts).amin(0)


def smooth_min(a: Tensor, b: Tensor, radius_mm: float) -> Tensor:
    """Union of two solids with a fillet."""
    h = (radius_mm - (a - b).abs()).clamp_min_(0.0) / radius_mm
    return torch.minimum(a, b) - h * h * (0.25 * radius_mm)


def smooth_max(a: Tensor, b: Tensor, radius_mm: float) -> Tensor:
    """Intersection of two solids with a fillet."""
    return -smooth_min(-a, -b, radius_mm)


def coverage(distance: Tensor, width_mm: float) -> Tensor:
    """Share of a voxel of ``width_mm`` that lies inside (0 to 1), from a signed distance."""
    return (0.5 - distance / width_mm).clamp_(0.0, 1.0)
