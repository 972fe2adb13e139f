"""Another scalp changes what lies outside the skull, and nothing else."""

from __future__ import annotations

import torch

from ich_triage.domain.input_spec import InputSpec
from train.scalp import other_scalp

SIDE = 96
SPEC = InputSpec(size=SIDE)
#: radii of the skull's inside and outside and of the skin, pixels
INSIDE, OUTSIDE, SKIN = 24, 28, 33


def _across() -> torch.Tensor:
    return torch.arange(SIDE) - (SIDE - 1) / 2


def _radius() -> torch.Tensor:
    return torch.hypot(_across()[:, None], _across()[None])


def _head() -> torch.Tensor:
    """Brain, skull, scalp and air, with a gap in the skull on the right of the picture, (6, 5, S, S)."""
    radius = _radius()
    hu = torch.full((SIDE, SIDE), -1000.0)
    hu[radius < SKIN] = 20.0
    hu[radius < OUTSIDE] = 1000.0
    hu[radius < INSIDE] = 35.0
    gap = (_across()[:, None].abs() < 3) & (_across()[None] > 0) & (radius >= INSIDE) & (radius < OUTSIDE)
    hu[gap] = 35.0
    windows = [*SPEC.windows, *[SPEC.windows[0]] * len(SPEC.neighbour_offsets_mm)]
    channels = [((hu - each.level) / each.width + 0.5).clamp(0, 1) for each in windows]
    return torch.stack(channels).expand(6, -1, -1, -1)


def _changed(seed: int) -> torch.Tensor:
    return other_scalp(_head(), SPEC, torch.Generator().manual_seed(seed))


def test_all_within_the_skull_stays() -> None:
    """Brain and bone in every channel, also behind a gap in the bone."""
    within = _radius() < OUTSIDE - 1
    for seed in range(5):
        torch.testing.assert_close(_changed(seed)[..., within], _head()[..., within])


def test_the_scalp_differs_each_time() -> None:
    """From thin to thick, from fat to muscle, and in all windows the same tissue; beyond it is air."""
    beyond = _radius() > OUTSIDE + 1.5 + 0.07 * SIDE
    thickness, density = [], []
    for seed in range(30):
        new = _changed(seed)
        assert (new[..., beyond] == 0).all()
        hu = (new[:, 2] - 0.5) * 2800 + 600
        layer = (hu > -200) & (_radius() > OUTSIDE + 1.5)
        thickness.append(layer.sum() / (2 * torch.pi * OUTSIDE * len(new)))
        density.append(hu[layer].mean())
        dense = layer & (hu > 5) & (hu < 75)
        torch.testing.assert_close(new[:, 0][dense] * 80, hu[dense], atol=1e-2, rtol=0)
    assert min(thickness) < 1 < 2 < max(thickness)
    density = [float(each) for each in density if not each.isnan()]
    assert min(density) < -60
    assert max(density) > 20


def test_neighbour_channels_show_the_neighbours_scalp() -> None:
    """As they show its brain: +5 mm is the next slice, −5 mm the one before."""
    new = _changed(1)
    outside = _radius() > OUTSIDE + 1.5
    torch.testing.assert_close(new[:-1, 3][:, outside], new[1:, 0][:, outside])
    torch.testing.assert_close(new[1:, 4][:, outside], new[:-1, 0][:, outside])


def test_a_slice_without_bone_stays() -> None:
    """Above the vault there is nothing to tell inside from outside."""
    soft = _head().clamp(max=0.3)
    torch.testing.assert_close(other_scalp(soft, SPEC, torch.Generator().manual_seed(0)), soft)
