"""The large arteries: a little denser than brain, and bright in a CT angiography, which is refused."""

from __future__ import annotations

import torch
from torch import Tensor

from .shapes import chain

#: HU of arteries and of veins in an arterial phase
ARTERY_HU, VEIN_HU = 380.0, 190.0


def arteries(points: tuple[Tensor, Tensor, Tensor]) -> Tensor:
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
    basilar = chain(ax, y, z, [(9, 10, -72, 1.8), (4, 2, -48, 1.8), (0, -5, -38, 1.9), (0, -7, -16, 1.8)])
    return torch.stack((carotid, middle, anterior, posterior, basilar)).amin(0)
