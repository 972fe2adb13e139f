"""From ideal HU to what a scanner stores: point spread, beam hardening, streaks, noise, motion, table.

Noise is coloured like filtered back-projection's: a ramp times the kernel's roll-off, so it is made from
a few correlated tiles per series which are mixed anew for each slice.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .grid import SliceGrid
from .records import Acquisition, PhantomSpec

_TILES = 4


def acquire(spec: PhantomSpec, grid: SliceGrid, hu: Tensor) -> Tensor:
    """(Z, Y, X) HU as reconstructed, from what `spread` made of the ideal HU."""
    scan, rng = spec.acquisition, np.random.default_rng([spec.seed, 7])
    hu = hu + _hardening(spec, grid, hu)
    if "metal" in spec.mimics.names:
        hu = hu + _streaks(hu, rng)
    if "motion" in spec.mimics.names:
        hu = _motion(hu, rng, grid.spacing[1])
    hu = hu + _noise(scan, grid, hu, rng)
    return hu.clamp_(-1024.0, 3071.0)


def spread(scan: Acquisition, grid: SliceGrid, ideal: Tensor) -> Tensor:
    """(Z, h, h) ideal HU on the stored matrix with the point spread function, (Z, Y, X) HU.

    One matrix product per axis. The function's wide tail (scatter, focal spot, filter) is what lets the brain
    beside bone look denser than it is.
    """
    sigma_mm = 0.4 if scan.bone_kernel else scan.psf_mm
    core, tail = (
        _gaussian(ideal.shape[-1], grid.matrix, sigma / grid.spacing[1], ideal.device)
        for sigma in (sigma_mm, scan.tail_mm)
    )
    near = core @ ideal @ core.T
    return torch.lerp(near, tail @ ideal @ tail.T, scan.tail_share)


def _gaussian(source: int, target: int, sigma_px: float, device: torch.device) -> Tensor:
    """(target, source) rows of Gaussian weights; sigma in target pixels, at least 0.5 source pixels."""
    scale = (target - 1) / (source - 1)
    centres = torch.arange(target, device=device, dtype=torch.float32)[:, None]
    samples = torch.arange(source, device=device, dtype=torch.float32)[None, :] * scale
    weights = torch.exp(-0.5 * ((centres - samples) / max(sigma_px, 0.5 * scale)) ** 2)
    return weights / weights.sum(dim=1, keepdim=True)


def _hardening(spec: PhantomSpec, grid: SliceGrid, hu: Tensor) -> Tensor:
    """Brightening under the inner table and the skull cap, a dark band between the petrous bones.

    All from the bone itself; a slice of which bone is a large share, as in the cap, is bright throughout.
    """
    pixel = grid.spacing[1]
    small = F.avg_pool2d(hu[:, None], 8, ceil_mode=True)
    bone = ((small - 300.0) / 1000.0).clamp(0.0, 1.5)
    reach = _gaussian(small.shape[-1], small.shape[-1], 9.0 / (8 * pixel), hu.device)
    near = reach @ bone[:, 0] @ reach.T
    left_right = bone.mean(dim=3, keepdim=True).expand_as(bone)[:, 0]
    dense = (bone[:, 0] > 0.75).float().mean(dim=2, keepdim=True)
    band = -60.0 * torch.relu(dense - 0.10) * (small[:, 0] < 200) - 6.0 * torch.relu(left_right - 0.22)
    head = (small[:, 0] > -200).float()
    cap = 140.0 * torch.relu(bone[:, 0].mean((1, 2)) / head.mean((1, 2)).clamp_min(0.01) - 0.09)
    extra = spec.acquisition.hardening * (13.0 * near + band.clamp_min(-10.0) + cap[:, None, None])
    extra = extra * head
    return F.interpolate(extra[:, None], size=hu.shape[1:], mode="bilinear", align_corners=False)[:, 0]


def _streaks(hu: Tensor, rng: np.random.Generator) -> Tensor:
    """Alternating rays out of metal on the slices that hold it."""
    out = torch.zeros_like(hu)
    rows = torch.arange(hu.shape[1], device=hu.device, dtype=torch.float32)
    phase, arms = float(rng.uniform(0, 6.28)), int(rng.integers(5, 9))
    for index in torch.nonzero((hu > 2400).flatten(1).any(1)).flatten().tolist():
        spot = torch.nonzero(hu[index] > 2400).float().mean(0)
        dy, dx = rows[:, None] - spot[0], rows[None, :] - spot[1]
        fall = 60.0 * torch.exp(-torch.hypot(dy, dx) * (110.0 / hu.shape[1]) / 14.0)
        out[index] = fall * torch.cos(arms * torch.atan2(dy, dx) + phase)
    return out


def _motion(hu: Tensor, rng: np.random.Generator, pixel: float) -> Tensor:
    """A ghost, shifted by a few millimetres, on a run of slices."""
    first = int(rng.integers(0, max(1, len(hu) - 4)))
    run = slice(first, first + int(rng.integers(2, 7)))
    shift = [round(float(s) / pixel) for s in rng.uniform(-5, 5, 2)]
    moved = hu.clone()
    moved[run] = 0.62 * hu[run] + 0.38 * torch.roll(hu[run], shift, dims=(1, 2))
    return moved


def noise_spectrum(scan: Acquisition, pixel_mm: float, n: int, device: torch.device) -> Tensor:
    """Amplitude of the noise over (n, n // 2 + 1) spatial frequencies, unit variance at 512² pixels."""

    def shape(pixel: float, size: int) -> Tensor:
        fy = torch.fft.fftfreq(size, d=pixel, device=device)[:, None]
        fx = torch.fft.rfftfreq(size, d=pixel, device=device)[None, :]
        f = torch.hypot(fy, fx)
        peak = scan.noise_peak * (2.2 if scan.bone_kernel else 1.0)
        return (f / peak) ** 0.5 * torch.exp(-0.5 * (f / peak) ** 2 * 0.5)

    reference = shape(scan.fov_mm / 512, 512)
    power = (
        (reference[:, 1:-1] ** 2).sum() * 2 + (reference[:, :1] ** 2).sum() + (reference[:, -1:] ** 2).sum()
    )
    return shape(pixel_mm, n) * (512.0 / power.sqrt()) * (n / 512.0)


def _noise(scan: Acquisition, grid: SliceGrid, hu: Tensor, rng: np.random.Generator) -> Tensor:
    n = grid.matrix
    sigma = scan.noise_hu * (3.5 if scan.bone_kernel else 1.0)
    white = torch.from_numpy(rng.standard_normal((_TILES, n, n)).astype(np.float32)).to(hu.device)
    tiles = torch.fft.irfft2(
        torch.fft.rfft2(white) * noise_spectrum(scan, grid.spacing[1], n, hu.device), s=(n, n)
    )
    centre = (torch.arange(n, device=hu.device) - n / 2) / n
    swell = 1.12 - 1.1 * (centre[:, None] ** 2 + centre[None, :] ** 2)
    out = torch.empty_like(hu)
    for index in range(len(hu)):
        angle = float(rng.uniform(0, 2 * math.pi))
        pick, other = rng.permutation(_TILES)[:2]
        shift = [int(s) for s in rng.integers(0, n, 4)]
        mixed = math.cos(angle) * torch.roll(tiles[pick], shift[:2], dims=(0, 1))
        mixed = mixed + math.sin(angle) * torch.roll(tiles[other], shift[2:], dims=(0, 1))
        body = (hu[index] > -300).float().mean().sqrt()
        out[index] = mixed * swell * (sigma * float(0.55 + 0.8 * body))
    return out


def add_table(hu: Tensor, grid: SliceGrid, seed: int) -> Tensor:
    """Paint the head rest, fixed to the scanner, where there is air; returns ``hu``."""
    rng = np.random.default_rng([seed, 11])
    half, sag, below = float(rng.uniform(84, 96)), float(rng.uniform(92, 112)), float(rng.uniform(0, 10))
    pixel, n = grid.spacing[1], grid.matrix
    start = grid.positions()
    x = torch.arange(n, device=hu.device) * pixel + float(start[0, 0])
    shell = torch.empty_like(hu)
    for index in range(len(hu)):
        y = torch.arange(n, device=hu.device) * (pixel * grid.orientation[4]) + float(start[index, 1])
        u, v = (x / half)[None, :], ((y - below) / sag)[:, None]
        radius = (u.abs() ** 3 + v.clamp_min(0.0) ** 3) ** (1 / 3)
        line = ((radius - 1.15).abs() * 90.0 - 1.0) + 20.0 * torch.relu(-v - 0.1)
        shell[index] = (0.5 - line / pixel).clamp(0.0, 1.0)
    air = (hu < -700).float()
    return hu.add_(shell * air * 1150.0)
