"""Random fields in millimetres."""

from __future__ import annotations

import torch

from ich_triage.phantom.noise import CELLS, CELLS_PER_WAVE, NoiseField


def _points(n: int, step: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    axis = torch.arange(n) * step
    x, y, z = torch.meshgrid(axis, axis, axis, indexing="ij")
    return x, y, z


def test_variance_is_one() -> None:
    """A field has unit variance and no mean over its period, within interpolation."""
    values = NoiseField(3, 2).sample(*_points(32, 5.0), wavelength_mm=20.0)
    assert abs(float(values.mean())) < 0.1
    assert 0.8 < float(values.std()) < 1.1


def test_field_is_periodic() -> None:
    """One period on, the field repeats without a seam."""
    field, period = NoiseField(3, 1), 20.0 * CELLS / CELLS_PER_WAVE
    x, y, z = _points(8, 3.0)
    here = field.sample(x, y, z, wavelength_mm=20.0)
    there = field.sample(x + period, y, z, wavelength_mm=20.0)
    torch.testing.assert_close(here, there, atol=2e-3, rtol=0)


def test_value_belongs_to_the_point_not_the_grid() -> None:
    """Two grids that share points get the same values there."""
    field = NoiseField(5, 1)
    fine, coarse = (field.sample(*_points(n, s), wavelength_mm=15.0) for n, s in ((8, 1.0), (4, 2.0)))
    torch.testing.assert_close(fine[:, ::2, ::2, ::2], coarse)
