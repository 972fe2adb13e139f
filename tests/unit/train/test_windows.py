"""What a training step is fed follows from seed and position, and says what its cut still shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ich_triage.domain.input_spec import InputSpec
from train.cases import Case, Facts
from train.loop import Position
from train.windows import Windows

SPEC = InputSpec(size=96)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """One study of ten grey slices; a subdural bleed in the lower right corner of two of them."""
    masks = np.zeros((10, 5, 24, 24), np.uint8)
    masks[4:6, 4, 20:24, 20:24] = 255
    labels = np.zeros((10, 6), np.float32)
    labels[4:6, [0, 5]] = 1
    facts = Facts(
        seed=0, style="a", true_ml=(0.0,) * 5, slice_mm=(5.0,) * 10, cell_mm2=20.0, thickness_mm=5, tilt_deg=0
    )
    case = Case(
        x=np.full((10, 5, 96, 96), 120, np.uint8),
        masks=masks,
        labels=labels,
        study=labels.max(axis=0),
        images=np.full(10, ""),
        height=np.linspace(0, 1, 10, dtype=np.float32),
        facts=facts,
    )
    case.save(tmp_path / "0.npz")
    return [tmp_path / "0.npz"]


def test_the_same_position_gives_the_same_sample(paths: list[Path]) -> None:
    """Whatever was drawn before it; another position gives another."""
    one, two = (Windows(paths, SPEC, window=3, crop=2 / 3, seed=1) for _ in range(2))
    first = one[Position(0, 7)]
    for number in range(3):
        other = two[Position(0, number)]
    again = two[Position(0, 7)]
    for name, value in first._asdict().items():
        torch.testing.assert_close(getattr(again, name), value, atol=0, rtol=0)
    assert not torch.equal(other.x, first.x)


def test_a_bleed_that_a_cut_leaves_out_is_no_bleed(paths: list[Path]) -> None:
    """Cuts of two thirds hold it or not; the labels of each slice say which."""
    windows = Windows(paths, SPEC, window=3, crop=2 / 3, seed=0)
    held = []
    for number in range(30):
        sample = windows[Position(0, number)]
        left = sample.masks[:, 4].sum((1, 2)) >= 0.5
        assert torch.equal(sample.labels[:, 5] > 0, left)
        assert torch.equal(sample.labels[:, 0], sample.labels[:, 5])
        assert sample.x.shape == (3, 5, 64, 64)
        held.append(bool(left.any()))
    assert 0.4 < np.mean(held) < 1
