"""Arteries, venous sinuses and the veins at the vertex; bright in a CT angiography, which is refused."""

from __future__ import annotations

import torch
from torch import Tensor

from .records import HeadSpec
from .shapes import capsule, chain, smooth_min

Points = tuple[Tensor, Tensor, Tensor]

#: HU of arteries and of veins in an arterial phase
ARTERY_HU, VEIN_HU = 380.0, 190.0
#: distance between neighbouring veins along the sagittal sinus, mm
_VEIN_EVERY_MM = 24.0


def arteries(points: Points) -> Tensor:
    """Distance to the circle of Willis and its branches, head frame, mm, negative inside."""
    x, y, z = points
    ax = x.abs()
    carotid = chain(
        ax, y, z, [(14, -10, -70, 2.4), (14, -8, -42, 2.4), (13, -18, -24, 2.2), (11, -15, -15, 2.1)]
    )
    middle = chain(
        ax, y, z, [(11, -15, -15, 1.9), (24, -20, -12, 1.7), (38, -18, -6, 1.5), (41, -8, 10, 1.1)]
    )
    anterior = chain(ax, y, z, [(11, -16, -15, 1.5), (3, -26, -12, 1.4), (2, -50, 8, 1.2), (2, -30, 34, 0.9)])
    posterior = chain(ax, y, z, [(1, -7, -16, 1.6), (16, 6, -12, 1.4), (20, 26, -4, 1.2), (14, 50, 4, 0.9)])
    basilar = chain(ax, y, z, [(11, 19, -72, 1.8), (6, 11, -53, 1.8), (0, -5, -38, 1.9), (0, -7, -16, 1.8)])
    return torch.stack((carotid, middle, anterior, posterior, basilar)).amin(0)


def veins(head: HeadSpec, cavity: Tensor, points: Points, above: Tensor, noise: Tensor) -> Tensor:
    """Distance to the dural sinuses and to the veins that run to the sagittal one, mm, negative inside.

    ``above`` is the height over the tentorium, mm; ``noise`` is that of :func:`.brain.brain`.
    """
    x, y, z = points
    ax, depth = x.abs(), -cavity
    sagittal = (ax * 1.5 + depth - 6.5).maximum(-z - 22.0).maximum(-y - 70.0)
    straight = capsule(x, y, z, ((0, 30, 6), (0, 88, -12)), (2.0, 2.8))
    left, right = head.sinus_mm
    half = torch.where(x > 0, 0.5 * left, 0.5 * right) * (1.0 + 0.12 * noise[1])
    thick = 0.65 * depth
    transverse = (torch.hypot(above, thick) - half).maximum(28.0 - y)
    # down the wall behind the petrous ridge, then over the floor towards the jugular foramen
    sigmoid = (torch.hypot(y - 19.0 - 0.25 * ax, thick) - half).maximum(above).maximum(25.0 - ax)
    lateral = smooth_min(transverse, sigmoid, 5.0)
    parts = (sagittal, straight, lateral, _bridging(head, depth, points, noise))
    return torch.stack(parts).amin(0)


def _bridging(head: HeadSpec, depth: Tensor, points: Points, noise: Tensor) -> Tensor:
    """Veins on the brain of the vertex, other ones left and right, that rise to the dura at the midline."""
    x, y, z = points
    ax = x.abs()
    along = y - 0.5 * ax + 4.0 * noise[2] + torch.where(x > 0, 9.0, 0.0)
    # the slope of `along` is about 1.35
    aside = 0.75 * (along.remainder(_VEIN_EVERY_MM) - 0.5 * _VEIN_EVERY_MM)
    deep = head.dura_mm + 0.5 * head.vein_mm + (0.15 * ax).clamp_max_(2.5) * (1.0 + 0.5 * noise[3])
    radius = 0.5 * head.vein_mm * (1.0 - ax / 90.0)
    return (torch.hypot(aside, depth - deep) - radius).maximum(30.0 - z).maximum(ax - 45.0)
