"""The five bleeds as growth fields: each fills its space in order of a field until its volume is reached.

A clot is the set {field < level} within the space that its subtype may occupy. ``level_for_volume`` finds
the level, so a volume asked for is met wherever the anatomy can hold it. Lengths in mm, head frame (LPS).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from .noise import NoiseField
from .records import BleedSpec
from .skull import Enclosure, tentorium_height
from .tables import EPIDURAL_SITES

Points = tuple[Tensor, Tensor, Tensor]
#: dura and bone's partial volume, mm: blood in this layer beside the inner table is not seen, nor counted
LINING_MM = 1.5

#: one volume for all voxels, or one per slice, (Z, 1, 1)
VoxelMl = float | Tensor


@dataclass(frozen=True, kw_only=True)
class Clot:
    """One bleed on the coarse grid."""

    #: what was asked for
    spec: BleedSpec
    #: signed distance, mm, negative inside; for bleeds in CSF the front that the blood has reached
    distance: Tensor
    #: thickness by which it lifts the brain off the skull, mm; None where it does not
    lift: Tensor | None
    #: centre in the head frame, mm
    centre: tuple[float, float, float]
    #: HU of the clot, mixed or layered
    hu: Tensor


def level_for_volume(field: Tensor, allowed: Tensor, *, voxel_ml: VoxelMl, volume_ml: float) -> float:
    """Level below which ``field`` holds ``volume_ml`` of ``allowed`` (0 to 1 a voxel); all of it at most."""
    keep = allowed > 0.02
    values, order = field[keep].sort()
    if not len(values):
        return -math.inf
    filled = (allowed * voxel_ml)[keep][order].cumsum(0)
    index = int(torch.searchsorted(filled, torch.tensor(volume_ml, device=filled.device, dtype=filled.dtype)))
    return float(values[min(index, len(values) - 1)])


def _direction(azimuth_deg: float, height_deg: float, side: int) -> tuple[float, float, float]:
    """Unit vector; azimuth 0 is the front, 90 the side."""
    az, el = math.radians(azimuth_deg), math.radians(height_deg)
    return side * math.sin(az) * math.cos(el), -math.cos(az) * math.cos(el), math.sin(el)


def _tangential(points: Points, u: tuple[float, float, float]) -> Tensor:
    """Distance from the direction ``u`` along a sphere of 72 mm."""
    x, y, z = points
    radius = (x * x + y * y + z * z).sqrt_().clamp_min_(1.0)
    cosine = (x * u[0] + y * u[1] + z * u[2]) / radius
    return 72.0 * torch.acos(cosine.clamp(-0.9999, 0.9999))


def _clot_hu(spec: BleedSpec, wobble: Tensor, down: Tensor) -> Tensor:
    """Blobs or a fluid level; ``down`` is mm towards the table from the clot's middle."""
    if spec.seed % 2 and spec.mixed > 0.3:
        return spec.hu + 13.0 * spec.mixed * torch.tanh(down / 4.0)
    return spec.hu + (2.0 + 9.0 * spec.mixed) * wobble.clamp(-2.0, 2.0)


def epidural(spec: BleedSpec, shell: Enclosure, points: Points, patient_y: Tensor, voxel_ml: VoxelMl) -> Clot:
    """A lens between skull and dura, cut off at a suture, on its own side."""
    rng = np.random.default_rng(spec.seed)
    az, el = EPIDURAL_SITES[spec.site]
    u = _direction(az + rng.uniform(-14, 14), el + rng.uniform(-6, 14), spec.side)
    high, wide = 10.0 * rng.uniform(0.8, 1.3), 27.0 * rng.uniform(0.85, 1.15)
    depth = -shell.cavity
    noise = NoiseField(spec.seed, 2, device=str(depth.device)).sample(*points, wavelength_mm=32.0)
    r = _tangential(points, u) + 1.5 * noise[0]
    suture = points[1] * rng.choice([-1, 1]) - u[1] * 72.0 - rng.uniform(24, 40)
    field = depth / high + (r / wide) ** 2 + torch.relu(suture) * 0.07
    infratentorial = points[2] < tentorium_height(points[0], points[1])
    zone = (points[0] * spec.side > 2) & (infratentorial == (spec.site == "posterior_fossa"))
    shown = zone & (depth > LINING_MM)
    level = level_for_volume(field, shown.float(), voxel_ml=voxel_ml, volume_ml=spec.volume_ml)
    lift = high * (level - field + depth / high).clamp_min(0.0)
    return _finish(spec, (field - level) * high, lift, points, patient_y, (noise[1], zone, depth > 0))


def subdural(spec: BleedSpec, shell: Enclosure, points: Points, patient_y: Tensor, voxel_ml: VoxelMl) -> Clot:
    """A crescent over the convexity, or a sheet along falx or tentorium; never across the falx."""
    rng = np.random.default_rng(spec.seed)
    x, y, z = points
    thick = float(np.clip(2.4 * spec.volume_ml**0.35 * rng.uniform(0.75, 1.35), 2.0, 20.0))
    wide = math.sqrt(1000.0 * spec.volume_ml / (0.65 * math.pi * thick))
    above = z - tentorium_height(x, y)
    noise = NoiseField(spec.seed, 2, device=str(x.device)).sample(x, y, z, wavelength_mm=38.0)
    supratentorial = (above > 0) | (y < -2)
    zone = (x * spec.side > 0.7) & supratentorial & (shell.above_floor > 2)
    inner = -shell.cavity - LINING_MM
    depth = inner
    u = _direction(rng.uniform(62, 125), rng.uniform(5, 42), spec.side)
    r = _tangential(points, u)
    if spec.site == "falx":
        depth = (x * spec.side - 0.7) * 1.6
        along, up = rng.choice([-48.0, 50.0]), rng.uniform(28, 42)
        r = ((y - along) ** 2 + 1.6 * (z - up) ** 2).sqrt()
        zone &= _falx_zone(y, z)
    elif spec.site == "tentorium":
        depth = (above - 0.6) * 1.3
        r = ((x - spec.side * 26.0) ** 2 + (y - rng.uniform(36, 55)) ** 2).sqrt()
        zone &= (above > 0) & (y > 0) & (((x / 20.0) ** 2 + ((y - 10) / 26.0) ** 2) > 1)
    reach = ((r + 4.0 * noise[0]).clamp_min(0.0) / wide) ** 3
    field = (depth / thick).clamp_min(0.0) ** 2 + reach
    level = level_for_volume(field, (zone & (inner > 0)).float(), voxel_ml=voxel_ml, volume_ml=spec.volume_ml)
    local = thick * (level - reach).clamp_min(0.0).sqrt()
    lift = local if spec.site == "convexity" else None
    under_dura = torch.maximum(depth - local, -inner)
    return _finish(spec, under_dura, lift, points, patient_y, (noise[1], zone, inner > 0))


def _falx_zone(y: Tensor, z: Tensor) -> Tensor:
    return ((y + 2.0) / 60.0) ** 2 + ((z - 2.0) / 37.0) ** 2 > 1.0


def _undiluted(clot: Clot) -> Clot:
    """Blood thick enough to show its tabled HU after it shares thin slices of CSF with brain."""
    return replace(clot, hu=clot.hu + 12.0)


def _finish(
    spec: BleedSpec,
    distance: Tensor,
    lift: Tensor | None,
    points: Points,
    patient_y: Tensor,
    rest: tuple[Tensor, Tensor, Tensor],
) -> Clot:
    """``rest``: unit noise; the zone that bounds the clot (where false, not inside); where it can be seen."""
    wobble, zone, shown = rest
    distance = torch.where(zone, distance, distance.abs().clamp_min(1.2))
    inside = (distance < 0) & shown
    if lift is not None:
        lift = lift * zone
    if not bool(inside.any()):
        return Clot(spec=spec, distance=distance, lift=lift, centre=(0.0, 0.0, 0.0), hu=wobble * 0 + spec.hu)
    x, y, z = (float(c[inside].mean()) for c in points)
    down = patient_y - float(patient_y[inside].mean())
    return Clot(spec=spec, distance=distance, lift=lift, centre=(x, y, z), hu=_clot_hu(spec, wobble, down))


def _intraparenchymal_centre(spec: BleedSpec, shell_half_mm: float, rng: np.random.Generator) -> np.ndarray:
    jitter = rng.normal(0, 1, 3)
    if spec.site == "ganglionic":
        return np.array([spec.side * 27.0, -10.0, 4.0]) + jitter * (2.0, 5.0, 3.0)
    if spec.site == "thalamic":
        return np.array([spec.side * 13.0, 4.0, 8.0]) + jitter * (1.5, 3.0, 2.0)
    if spec.site == "posterior_fossa":
        pons = rng.random() < 0.25
        return np.array([0.0, 9.0, -28.0] if pons else [spec.side * 22.0, 48.0, -34.0]) + jitter * (3, 5, 3)
    u = np.array(_direction(rng.uniform(25, 160), rng.uniform(0, 60), spec.side))
    return u * shell_half_mm * rng.uniform(0.55, 0.78)


def intraparenchymal(
    spec: BleedSpec, shell: Enclosure, points: Points, patient_y: Tensor, voxel_ml: VoxelMl
) -> Clot:
    """One to four warped ellipsoids that touch each other, within one compartment."""
    rng = np.random.default_rng(spec.seed)
    x, y, z = points
    centre = _intraparenchymal_centre(spec, 74.0, rng)
    radius = (750.0 * spec.volume_ml / math.pi) ** (1 / 3)
    noise = NoiseField(spec.seed, 3, bandwidth=0.6, device=str(x.device))
    fine, broad = noise.sample(x, y, z, wavelength_mm=11.0), noise.sample(x, y, z, wavelength_mm=30.0)
    field = torch.full_like(x, 1e3)
    for part in range(int(rng.choice([1, 2, 3, 4], p=[0.4, 0.3, 0.2, 0.1]))):
        away = rng.normal(0, 0.55 * radius, 3) if part else np.zeros(3)
        stretch = rng.uniform(0.75, 1.35, 3) * (1.0 if not part else rng.uniform(0.5, 0.85))
        stretch[1] *= 1.25
        q = sum(((c - o - a) / s) ** 2 for c, o, a, s in zip(points, centre, away, stretch, strict=True))
        field = torch.minimum(field, torch.as_tensor(q).sqrt())
    field = field + 0.16 * radius * broad[0] + min(1.2, 0.1 * radius) * fine[1]
    below = z < tentorium_height(x, y)
    inside = -shell.cavity > 3.0
    allowed = inside & ((below & (y > -2)) == (spec.site == "posterior_fossa"))
    if abs(centre[0]) > 6:
        allowed &= x * spec.side > 1.5
    level = level_for_volume(field, allowed.float(), voxel_ml=voxel_ml, volume_ml=spec.volume_ml)
    return _finish(spec, field - level, None, points, patient_y, (fine[2], allowed, allowed))


def intraventricular(
    spec: BleedSpec, ventricles: Tensor, points: Points, patient_y: Tensor, voxel_ml: VoxelMl
) -> Clot:
    """A level in the dependent (posterior) horns of a supine patient, or a cast about one horn."""
    rng = np.random.default_rng(spec.seed)
    x, y, z = points
    space = (0.5 - ventricles / 2.5).clamp(0.0, 1.0)
    noise = NoiseField(spec.seed, 2, device=str(x.device)).sample(x, y, z, wavelength_mm=18.0)
    one_sided = spec.volume_ml < 2.0 and rng.random() < 0.6
    other = torch.relu(-x * spec.side) * (0.8 if one_sided else rng.choice([0.0, 0.25]))
    if spec.site == "level":
        field = -patient_y + 0.6 * noise[0] + other
    else:
        start = np.array([spec.side * rng.uniform(10, 24), rng.uniform(-35, 28), 14.0])
        away = sum((c - s) ** 2 for c, s in zip(points, start, strict=True))
        field = torch.as_tensor(away).sqrt() + 3.0 * noise[0] + other
    level = level_for_volume(field, space, voxel_ml=voxel_ml, volume_ml=spec.volume_ml)
    everywhere = torch.ones_like(space, dtype=torch.bool)
    return _finish(spec, field - level, None, points, patient_y, (noise[1], everywhere, space > 0.3))


def _subarachnoid_start(spec: BleedSpec, rng: np.random.Generator) -> np.ndarray:
    if spec.site == "basal":
        return np.array([spec.side * 4.0, -14.0, -14.0]) + rng.normal(0, 2, 3)
    if spec.site == "sylvian":
        return np.array([spec.side * 42.0, -16.0, 2.0]) + rng.normal(0, 5, 3)
    return 70.0 * np.array(_direction(rng.uniform(25, 150), rng.uniform(15, 65), spec.side))


def subarachnoid(
    spec: BleedSpec, space: Tensor, points: Points, patient_y: Tensor, voxel_ml: VoxelMl
) -> Clot:
    """Spreads from one to four points through ``space`` (share of CSF per voxel) of sulci and cisterns.

    A small one fills a sulcus or two; it is not strewn about.
    """
    rng = np.random.default_rng(spec.seed)
    x, y, z = points
    away = torch.full_like(x, 1e3)
    for _ in range(min(int(rng.integers(1, 5)), 1 + int(spec.volume_ml))):
        start = _subarachnoid_start(spec, rng)
        off = torch.as_tensor(sum((c - s) ** 2 for c, s in zip(points, start, strict=True))).sqrt()
        away = torch.minimum(away, off + float(rng.uniform(0, 6)))
    noise = NoiseField(spec.seed, 2, device=str(x.device)).sample(x, y, z, wavelength_mm=30.0)
    other = torch.relu(-x * spec.side - 2.0) * (0.2 if spec.site == "basal" else 1.2)
    field = away + 6.0 * noise[0] + other
    level = level_for_volume(field, space, voxel_ml=voxel_ml, volume_ml=spec.volume_ml)
    everywhere = torch.ones_like(space, dtype=torch.bool)
    return _undiluted(
        _finish(spec, field - level, None, points, patient_y, (noise[1], everywhere, space > 0.2))
    )
