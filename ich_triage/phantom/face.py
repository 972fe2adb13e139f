"""Below and in front of the cranial cavity: skull base, orbits, air spaces, muscles, ears.

Coarse on purpose: it gives the low slices what a reader expects there, mirrored about the midline.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .records import HeadSpec
from .shapes import capsule, ellipsoid, smooth_min
from .skull import Cranium


@dataclass(frozen=True, kw_only=True)
class Face:
    """Signed distances (mm, negative inside) unless said otherwise."""

    #: bone that is not the vault
    bone: Tensor
    #: 0 spongy to 1 dense
    density: Tensor
    #: air spaces and cells
    air: Tensor
    #: fat of orbits and subcutis
    fat: Tensor
    #: eyeballs
    globe: Tensor


def face(head: HeadSpec, shell: Cranium, points: tuple[Tensor, Tensor, Tensor], noise: Tensor) -> Face:
    """Fields of the lower head. ``noise`` (4, …): unit noise for cells (2), marrow and muscle planes."""
    x, y, z = points
    ax = x.abs()
    orbit = ellipsoid(ax, y, z, (31, -64, -37), (17, 27, 17))
    globe = (((ax - 33) ** 2 + (y + 74) ** 2 + (z + 37) ** 2).sqrt()) - 12.0
    sinus = _air_spaces(head, ax, y, z, noise)
    bone = _base_bone(shell, ax, y, z)
    bone = torch.minimum(bone, _facial_bone(ax, y, z))
    bone = torch.minimum(bone, (orbit - 2.0).clamp_min(-3.0))
    bone = torch.maximum(bone, -orbit)
    air = torch.minimum(sinus, _mastoid_cells(head, ax, y, z, noise))
    air = torch.minimum(air, _meatus(ax, y, z))
    eye_fat = torch.maximum(orbit, 4.0 - (globe + 4.0))
    muscle = _eye_muscles(ax, y, z)
    eye_fat = torch.maximum(eye_fat, -muscle)
    density = torch.exp(-((capsule(ax, y, z, ((16, 0, -36), (48, 20, -38)), (2, 2)).clamp_min(0) / 9.0) ** 2))
    return Face(bone=bone, density=density, air=air, fat=_fat(shell, eye_fat, noise, z), globe=globe)


def _base_bone(shell: Cranium, ax: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """A shell under the floor, thicker at the petrous pyramids, the clivus and the sphenoid."""
    under = (shell.above_floor.abs() - 1.3).maximum(shell.vault - 3.0)
    pyramid = capsule(ax, y, z, ((13, -2, -38), (58, 27, -40)), (8.0, 15.0))
    sphenoid = ellipsoid(ax, y, z, (0, -20, -37), (20, 19, 14))
    clivus = capsule(ax, y, z, ((0, -8, -28), (0, 4, -60)), (9.0, 8.0))
    wing = capsule(ax, y, z, ((24, -33, -36), (50, -44, -30)), (5.0, 4.0))
    condyle = capsule(ax, y, z, ((17, 18, -64), (19, 26, -74)), (7.0, 7.0))
    solid = smooth_min(smooth_min(pyramid, sphenoid, 6.0), smooth_min(clivus, wing, 5.0), 4.0)
    return torch.minimum(torch.minimum(under, solid), condyle)


def _facial_bone(ax: Tensor, y: Tensor, z: Tensor) -> Tensor:
    arch = torch.minimum(
        capsule(ax, y, z, ((48, -66, -52), (65, -30, -52)), (4.5, 2.8)),
        capsule(ax, y, z, ((65, -30, -52), (60, 2, -48)), (2.8, 3.5)),
    )
    rim = torch.minimum(
        capsule(ax, y, z, ((48, -66, -52), (50, -62, -24)), (4.5, 4.0)),
        capsule(ax, y, z, ((14, -84, -48), (48, -68, -54)), (3.0, 3.5)),
    )
    jaw = capsule(ax, y, z, ((50, -4, -54), (47, -14, -95)), (5.5, 5.0))
    maxilla = ellipsoid(ax, y, z, (26, -60, -70), (16.5, 19, 18))
    wall = torch.maximum(maxilla, -(maxilla + 2.0))
    pterygoid = capsule(ax, y, z, ((15, -32, -50), (16, -34, -80)), (3.0, 2.0))
    nasal = capsule(ax, y, z, ((3, -92, -38), (4, -98, -56)), (2.2, 1.6))
    dens = capsule(ax, y, z, ((0, 12, -70), (0, 12, -100)), (5.0, 6.0))
    ring = ((ax * ax + (y - 26) ** 2).sqrt() - 22.0).abs() - 4.0
    atlas = torch.maximum(ring, (z + 78).abs() - 5.0)
    parts = (arch, rim, jaw, wall, pterygoid, nasal, dens, atlas)
    return torch.stack(parts).amin(0)


def _air_spaces(head: HeadSpec, ax: Tensor, y: Tensor, z: Tensor, noise: Tensor) -> Tensor:
    big = 0.6 + 0.4 * head.pneumatised
    frontal = ellipsoid(ax, y, z, (11, -head.half_axes_mm[1] - 4.0, -12), (14 * big, 3.2 * big, 12 * big))
    sphenoid = ellipsoid(ax, y, z, (8, -26, -37), (7.5, 13 * big, 10 * big))
    septa = noise[0].abs() * 2.2 - 0.9
    ethmoid = ((ax - 7).abs() - 6.5).maximum((y + 58).abs() - 20.0).maximum((z + 42).abs() - 14.0)
    ethmoid = torch.maximum(ethmoid, -septa)
    maxillary = ellipsoid(ax, y, z, (26, -60, -70), (14.5, 17, 16))
    nasal = ((ax - 8).abs() - 6.5).maximum((y + 62).abs() - 24.0).maximum((z + 72).abs() - 18.0)
    turbinate = capsule(ax, y, z, ((8, -74, -72), (9, -46, -72)), (3.2, 3.6))
    upper = capsule(ax, y, z, ((7, -70, -60), (8, -46, -60)), (2.2, 2.6))
    nasal = torch.maximum(nasal, -torch.minimum(turbinate, upper))
    pharynx = capsule(ax, y, z, ((0, -26, -68), (0, -20, -110)), (8.0, 9.0))
    return torch.stack((frontal, sphenoid, ethmoid, maxillary, nasal, pharynx)).amin(0)


def _mastoid_cells(head: HeadSpec, ax: Tensor, y: Tensor, z: Tensor, noise: Tensor) -> Tensor:
    region = ellipsoid(ax, y, z, (56, 27, -42), (13, 17, 20))
    cells = (0.75 - 0.7 * head.pneumatised - noise[1].abs()) * -2.2
    return torch.maximum(region + 1.5, -cells.neg() - 1.1)


def _meatus(ax: Tensor, y: Tensor, z: Tensor) -> Tensor:
    return capsule(ax, y, z, ((45, 13, -42), (92, 9, -46)), (3.6, 4.2))


def _eye_muscles(ax: Tensor, y: Tensor, z: Tensor) -> Tensor:
    nerve = capsule(ax, y, z, ((33, -62, -37), (19, -38, -35)), (2.0, 2.0))
    lateral = capsule(ax, y, z, ((45, -68, -37), (22, -40, -36)), (1.6, 2.2))
    medial = capsule(ax, y, z, ((21, -68, -37), (17, -40, -36)), (1.6, 2.2))
    superior = capsule(ax, y, z, ((33, -66, -24), (21, -40, -29)), (2.0, 2.0))
    inferior = capsule(ax, y, z, ((33, -66, -49), (21, -42, -43)), (2.0, 2.0))
    return torch.stack((nerve, lateral, medial, superior, inferior)).amin(0)


def _fat(shell: Cranium, eye_fat: Tensor, noise: Tensor, z: Tensor) -> Tensor:
    """Subcutaneous fat between skin and galea, fat planes between muscles below, fat of the orbits."""
    under_skin = shell.skin + 1.8
    layer = torch.maximum(torch.maximum(under_skin, -(shell.outer - 1.2)), -(shell.skin + 6.0))
    scalp = torch.where(z > -22, layer, torch.maximum(under_skin, -(shell.skin + 7.5)))
    planes = torch.maximum(under_skin, noise[3].abs() * 9.0 - 0.9)
    planes = torch.where(z < -24, planes, torch.full_like(planes, 9.0))
    return torch.stack((scalp, planes, eye_fat)).amin(0)
