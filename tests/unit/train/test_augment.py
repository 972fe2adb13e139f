"""Augmentation changes what may vary and keeps what may not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ich_triage.domain.input_spec import InputSpec
from train.augment import Cut, Ranges, augment

SPEC = InputSpec(size=64)
STILL = Ranges(
    flip=0,
    rotation_deg=0,
    scale=0,
    shift=0,
    stretch=0,
    hu=0,
    contrast=0,
    shading_hu=0,
    rim_hu=0,
    cupping_hu=0,
    damage=0,
    scalp=0,
    noise_hu=0,
    blur=(0.0, 0.0),
)


def _study() -> tuple[torch.Tensor, torch.Tensor]:
    """Grey brain within white skull and black air; a mask in one quarter."""
    x = torch.full((4, 5, 64, 64), 0.4)
    x[..., :8], x[..., 8:12] = 0.0, 1.0
    masks = torch.zeros(4, 5, 16, 16)
    masks[:, 2, 4:8, 10:14] = 1
    return x, masks


def _brain_of_32_hu() -> tuple[torch.Tensor, torch.Tensor]:
    """The same, as dense in every window."""
    x, masks = _study()
    for k, window in enumerate(SPEC.windows):
        x[:, k][x[:, k] == 0.4] = (32 - window.level) / window.width + 0.5
    return x, masks


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_no_range_is_no_change() -> None:
    """With every range at zero, input and masks stay as they are."""
    x, masks = _study()
    new_x, new_masks = augment(x, masks, SPEC, generator=_generator(), ranges=STILL)
    torch.testing.assert_close(new_x, x, atol=1e-4, rtol=0)
    torch.testing.assert_close(new_masks, masks, atol=1e-4, rtol=0)


def test_crop_cuts_the_same_square_out_of_input_and_masks() -> None:
    """Half the side, at full resolution, out of the corner that was asked for, and within the image."""
    x, masks = _study()
    x[..., 16:32, 40:56] = 1
    seen = []
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        cut = Cut(share=0.5, towards=(0.5, -0.25))
        new_x, new_masks = augment(x, masks, SPEC, generator=generator, cut=cut, ranges=STILL)
        assert new_x.shape == (4, 5, 32, 32)
        assert new_masks.shape == (4, 5, 8, 8)
        cells = torch.nn.functional.avg_pool2d(new_x[:, 0], 4)
        assert (cells[new_masks[:, 2] > 0.99] > 0.95).all()  # the mask lies on what it marks
        seen.append(float(new_masks[0, 2].sum()))
    assert max(seen) == pytest.approx(16, abs=0.1)
    assert np.mean(np.array(seen) > 4) > 0.7


def test_shading_is_slow_and_the_same_in_all_slices() -> None:
    """A field that hardly changes from pixel to pixel, as beam hardening does, on grey tissue alone."""
    x, masks = _study()
    ranges = Ranges(**(vars(STILL) | {"shading_hu": 5.0}))
    new_x, _ = augment(x, masks, SPEC, generator=_generator(), ranges=ranges)
    field = ((new_x - x) * 80)[:, 0, 12:]
    torch.testing.assert_close(field[0], field[3])
    assert field.abs().max() > 1
    assert field.diff(dim=-1).abs().max() < 1


def test_brain_is_brighter_beside_bone_than_away_from_it() -> None:
    """The rim falls off within millimetres, alike in every window, and leaves far tissue as it was."""
    x, masks = _study()
    ranges = Ranges(**(vars(STILL) | {"rim_hu": 170.0}))
    new_x, _ = augment(x, masks, SPEC, generator=_generator(), ranges=ranges)
    rim = ((new_x - x) * 80)[:, 0, 32, 12:].mean(0)
    assert rim[0] > 5
    assert (rim.diff() <= 1e-4).all()
    assert rim[8:].abs().max() < 0.01
    torch.testing.assert_close(((new_x - x) * 200)[:, 1, 32, 12:].mean(0), rim, atol=1e-3, rtol=1e-3)


def test_damage_takes_from_brain_in_patches_and_never_from_blood() -> None:
    """Smooth and in every window alike, no darker than fluid; the mask's quarter stays as dense as it was."""
    x, masks = _brain_of_32_hu()
    ranges = Ranges(**(vars(STILL) | {"damage": 1.0}))
    deepest = []
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        new_x, _ = augment(x, masks, SPEC, generator=generator, ranges=ranges)
        lost = (x - new_x)[:, 0] * 80
        torch.testing.assert_close((x - new_x)[:, 1] * 200, lost, atol=1e-3, rtol=1e-3)
        assert (lost > -1e-3).all()
        assert (new_x[:, 0][x[:, 0] == 0.4] * 80 > 8).all()
        assert lost[:, 20:28, 44:52].abs().max() < 0.01
        assert lost.diff(dim=-1)[..., 12:36].abs().max() < 8
        deepest.append(float(lost.max()))
    assert max(deepest) > 10
    assert min(deepest) < 5


def test_damage_spares_the_cortex_half_of_the_time() -> None:
    """Small-vessel disease is of the white matter: within a few millimetres of bone nothing is lost."""
    x, masks = _brain_of_32_hu()
    ranges = Ranges(**(vars(STILL) | {"damage": 1.0}))
    beside, inside = [], []
    for seed in range(60):
        new_x, _ = augment(x, masks, SPEC, generator=torch.Generator().manual_seed(seed), ranges=ranges)
        lost = (x - new_x)[:, 0] * 80
        beside.append(float(lost[..., 12:14].max()))
        inside.append(float(lost[..., 30:].max()))
    spared = np.array(beside) < 0.01
    assert 0.3 < spared.mean() < 0.7
    assert np.array(inside)[spared].max() > 10


def test_flip_mirrors_left_and_right_of_both() -> None:
    """Input and masks are mirrored together; up and down stay."""
    x, masks = _study()
    ranges = Ranges(**(vars(STILL) | {"flip": 1.0}))
    new_x, new_masks = augment(x, masks, SPEC, generator=_generator(), ranges=ranges)
    torch.testing.assert_close(new_x, x.flip(-1), atol=1e-4, rtol=0)
    torch.testing.assert_close(new_masks, masks.flip(-1), atol=1e-4, rtol=0)


def test_what_a_window_cut_off_stays_cut_off() -> None:
    """Noise, shift and contrast leave air black and bone white, and stay within 0 to 1."""
    x, masks = _study()
    ranges = Ranges(**(vars(STILL) | {"hu": 3.0, "contrast": 0.1, "noise_hu": 5.0}))
    new_x, _ = augment(x, masks, SPEC, generator=_generator(), ranges=ranges)
    assert (new_x[x == 0] < 1e-3).all()
    assert (new_x[x == 1] > 0.999).all()
    assert new_x.min() >= 0
    assert new_x.max() <= 1
    assert new_x[x == 0.4].std() > 0.005


def test_windows_of_a_slice_share_their_noise() -> None:
    """Noise is of the scan, so brain and subdural window show the same, each in its own scale."""
    x, masks = _study()
    ranges = Ranges(**(vars(STILL) | {"noise_hu": 5.0}))
    new_x, _ = augment(x, masks, SPEC, generator=_generator(), ranges=ranges)
    brain, subdural = (new_x - x)[:, 0, :, 20:], (new_x - x)[:, 1, :, 20:]
    torch.testing.assert_close(brain * 80, subdural * 200, atol=1e-3, rtol=1e-3)
