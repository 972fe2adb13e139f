"""What a training step is fed follows from seed and position, and says what its cut still shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from ich_triage.domain.input_spec import InputSpec
from train.cases import Case, Facts
from train.fit import label_loss, mask_loss
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


def _save(path: Path, *, slices: float, study: float) -> Path:
    """Ten slices of which nobody marked or said anything but `slices` of each and `study` of all."""
    case = Case(
        x=np.full((10, 5, 96, 96), 120, np.uint8),
        masks=np.zeros((0, 5, 24, 24), np.uint8),
        labels=np.full((10, 6), slices, np.float32),
        study=np.full(6, study, np.float32),
        images=np.full(10, ""),
        height=np.linspace(0, 1, 10, dtype=np.float32),
        facts=Facts(slice_mm=(5.0,) * 10, cell_mm2=20.0, thickness_mm=5, tilt_deg=0),
    )
    case.save(path)
    return path


def test_a_study_label_without_slice_labels_is_spread_over_the_window(tmp_path: Path) -> None:
    """Every other slice stands for the study; a window too short to does not claim what may lie elsewhere."""
    path = _save(tmp_path / "1.npz", slices=np.nan, study=1)
    whole = Windows([path], SPEC, window=5, crop=1, seed=0)[Position(0, 0)]
    assert whole.height.tolist() == pytest.approx([0, 2 / 9, 4 / 9, 7 / 9, 1])
    assert whole.study.tolist() == [1] * 6 and bool(whole.labels.isnan().all())
    short = Windows([path], SPEC, window=3, crop=2 / 3, seed=0)[Position(0, 0)]
    assert bool(short.study.isnan().all()) and short.x.shape == (3, 5, 64, 64)
    normal = _save(tmp_path / "2.npz", slices=0, study=0)
    assert Windows([normal], SPEC, window=3, crop=1, seed=0)[Position(0, 0)].study.tolist() == [0] * 6


def test_what_nobody_marked_or_knows_costs_nothing(tmp_path: Path, paths: list[Path]) -> None:
    """The masks' loss is that of the marked study alone; unknown labels have no gradient."""
    unmarked = Windows([_save(tmp_path / "1.npz", slices=np.nan, study=1)], SPEC, window=3, crop=1, seed=0)
    marked = Windows(paths, SPEC, window=3, crop=1, seed=0)[Position(0, 0)].masks
    unknown = unmarked[Position(0, 0)]
    logits = torch.zeros(6, 5, 24, 24, requires_grad=True)
    loss = mask_loss(logits, torch.cat([marked, unknown.masks]))
    torch.testing.assert_close(loss, mask_loss(logits[:3], marked))
    loss.backward()
    assert (
        logits.grad is not None and bool((logits.grad[3:] == 0).all()) and bool((logits.grad[:3] != 0).any())
    )
    slices = torch.zeros(3, 6, requires_grad=True)
    label_loss(slices, unknown.labels).backward()
    assert slices.grad is not None and bool((slices.grad == 0).all())


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


def test_what_nobody_marked_is_not_damaged(tmp_path: Path, paths: list[Path]) -> None:
    """Damage spares blood, which it cannot where nobody said where it lies."""
    unmarked = [_save(tmp_path / "1.npz", slices=1, study=1)]

    def darkest(of: list[Path]) -> float:
        """HU, of cells of 12 x 12 pixels, over forty samples of a study of 38 HU."""
        samples = Windows(of, SPEC, window=3, crop=1, seed=0)
        cells = [F.avg_pool2d(samples[Position(0, n)].x[:, :1], 12)[..., 2:6, 2:6] for n in range(40)]
        return 80 * float(torch.stack(cells).min())

    assert darkest(unmarked) > 24
    assert darkest(paths) < 20
