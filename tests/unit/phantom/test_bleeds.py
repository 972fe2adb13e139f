"""Growth to a volume."""

from __future__ import annotations

import math

import torch

from ich_triage.phantom.bleeds import level_for_volume


def test_level_holds_the_volume_asked_for() -> None:
    """The set below the level has the volume asked for, counting partly allowed voxels in part."""
    field = torch.rand(8, 40, 40, generator=torch.Generator().manual_seed(0))
    allowed = torch.where(field > 0.2, 0.5, 0.0)
    level = level_for_volume(field, allowed, voxel_ml=0.01, volume_ml=20.0)
    assert abs(float(allowed[field <= level].sum()) * 0.01 - 20.0) < 0.02


def test_level_of_a_space_too_small_takes_all_of_it() -> None:
    """More than the space can hold fills the space; no space at all holds nothing."""
    field = torch.arange(8.0).reshape(2, 2, 2)
    assert level_for_volume(field, torch.ones_like(field), voxel_ml=0.1, volume_ml=99.0) == 7.0
    assert level_for_volume(field, torch.zeros_like(field), voxel_ml=0.1, volume_ml=1.0) == -math.inf


def test_slices_may_differ_in_volume() -> None:
    """Voxel volumes per slice are counted as they are."""
    field = torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]])
    per_slice = torch.tensor([1.0, 10.0])[:, None, None]
    assert level_for_volume(field, torch.ones_like(field), voxel_ml=per_slice, volume_ml=11.0) == 3.0
