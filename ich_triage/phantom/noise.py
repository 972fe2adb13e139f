"""Smooth, band-limited, periodic random fields in millimetres; the same for every sampling grid."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

#: lattice cells per period and per wavelength
CELLS, CELLS_PER_WAVE = 48, 6


class NoiseField:
    """``channels`` independent unit-variance fields, drawn from one seed.

    The spectrum is a shell of the given relative ``bandwidth`` around the wavelength asked for at sampling
    time, so zero-level sets have an even spacing (what makes gyri look like gyri).
    """

    def __init__(self, seed: int, channels: int, *, bandwidth: float = 0.35, device: str = "cpu") -> None:
        rng = np.random.default_rng(seed)
        k = np.fft.fftfreq(CELLS)
        kz, ky, kx = np.meshgrid(k, k, np.fft.rfftfreq(CELLS), indexing="ij")
        radius = np.sqrt(kz**2 + ky**2 + kx**2)
        centre = 1.0 / CELLS_PER_WAVE
        shell = np.exp(-0.5 * ((radius - centre) / (bandwidth * centre)) ** 2)
        shell[0, 0, 0] = 0.0
        white = rng.standard_normal((channels, CELLS, CELLS, CELLS)).astype(np.float32)
        field = np.fft.irfftn(np.fft.rfftn(white, axes=(1, 2, 3)) * shell, s=(CELLS,) * 3, axes=(1, 2, 3))
        field /= field.std(axis=(1, 2, 3), keepdims=True)
        wrapped = np.pad(field, ((0, 0), (0, 1), (0, 1), (0, 1)), mode="wrap")
        self._lattice = torch.from_numpy(wrapped.astype(np.float32)).to(device)[None]

    def sample(self, x: Tensor, y: Tensor, z: Tensor, *, wavelength_mm: float) -> Tensor:
        """Fields at the points, (C, *x.shape); ``x``, ``y``, ``z`` in mm and of one shape (3-D)."""
        scale = CELLS_PER_WAVE / wavelength_mm
        points = torch.stack((x, y, z), dim=-1).mul_(scale).remainder_(CELLS).mul_(2.0 / CELLS).sub_(1.0)
        return F.grid_sample(self._lattice, points[None], align_corners=True, padding_mode="border")[0]
