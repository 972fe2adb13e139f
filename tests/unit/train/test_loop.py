"""A run that was cut off ends as if it had not been."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn
from torch.utils.data import Dataset

from ich_triage.errors import TrainingError
from train import loop
from train.loop import Hardware, Learner, LoopSettings, Position, Steps

PLAIN = Hardware(precision="32-true")
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.*:FutureWarning",
    "ignore:Checkpoint directory:UserWarning",
    "ignore:.*num_workers.*:UserWarning",
)


class _Noise(Dataset[tuple[Tensor, Tensor]]):
    """Points that are augmented by what their position in the run says."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, position: Position) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(position.number)
        x = torch.full((3,), float(position.item)) + torch.randn(3, generator=generator)
        return x, x.sum(0, keepdim=True)


class _Line(Learner):
    def __init__(self, settings: LoopSettings, *, broken: bool = False) -> None:
        super().__init__(_Noise(), settings)
        torch.manual_seed(0)
        self.line = nn.Linear(3, 1)
        self.broken = broken

    def loss(self, batch: Any) -> Tensor:
        x, y = batch
        return ((self.line(x) - y) ** 2).mean() * (torch.nan if self.broken else 1.0)

    def parts(self) -> Any:
        return [self.line.weight], [self.line.bias]


class _Kill(Callback):
    """Ends the run from outside, as a reboot would."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self._step:
            raise KeyError("killed")


@pytest.mark.parametrize("accumulate", [1, 2])
def test_resumed_run_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accumulate: int
) -> None:
    """Killed in mid-pass, two steps after a checkpoint: weights, average and rate go on as they were."""
    monkeypatch.setattr(loop, "_CHECKPOINT_STEPS", 3)
    settings = LoopSettings(
        steps=11, batch=4, learning_rate=0.05, body_learning_rate=0.01, hardware=PLAIN, loaders=0,
        accumulate=accumulate,
    )  # fmt: skip
    whole, resumed = _Line(settings), _Line(settings)
    loop.run(whole, tmp_path / "whole")
    with pytest.raises(KeyError, match="killed"):
        loop.run(_Line(settings), tmp_path / "cut", callbacks=[_Kill(8)])
    loop.run(resumed, tmp_path / "cut")
    torch.testing.assert_close(resumed.line.weight, whole.line.weight, atol=0, rtol=0)
    torch.testing.assert_close(resumed.line.bias, whole.line.bias, atol=0, rtol=0)
    assert not torch.equal(whole.line.bias, _Line(settings).line.bias)


def test_each_pass_sees_every_item_once_in_another_order() -> None:
    """Ten items in batches of five: two steps are a pass, and numbers never come twice."""
    batches = list(Steps(np.ones(10), batch=5, total=4, seed=1))
    indices = [[position.item for position in batch] for batch in batches]
    assert sorted(indices[0] + indices[1]) == sorted(indices[2] + indices[3]) == list(range(10))
    assert indices[:2] != indices[2:]
    assert [position.number for batch in batches for position in batch] == list(range(20))
    assert list(Steps(np.ones(10), batch=5, total=4, seed=1, start=3)) == batches[3:]


def test_items_come_as_often_as_they_weigh() -> None:
    """Of three items of weight 2 and one of 1: shares of a pass as their weights, over many passes."""
    steps = Steps(np.array([2.0, 2.0, 2.0, 1.0]), batch=4, total=700, seed=3)
    drawn = np.bincount([position.item for batch in steps for position in batch])
    assert drawn / 700 == pytest.approx([8 / 7, 8 / 7, 8 / 7, 4 / 7], abs=0.05)


def test_several_processes_share_each_batch() -> None:
    """Together they see what one alone would, none of it twice."""
    steps = Steps(np.ones(10), batch=4, total=3, seed=0)
    shares = [list(loop._Share(steps, at, 2)) for at in range(2)]
    for batch, one, two in zip(steps, *shares, strict=True):
        assert sorted(one + two) == sorted(batch)
        assert not set(one) & set(two)


def test_a_loss_that_is_not_a_number_stops_the_run_with_the_remedy(tmp_path: Path) -> None:
    """It says at which step and what to change, instead of training on towards nothing."""
    settings = LoopSettings(steps=3, batch=4, learning_rate=0.05, hardware=PLAIN, loaders=0)
    with pytest.raises(
        TrainingError, match=r"not a number at step 0; delete the run's folder.* a lower learning_rate"
    ):
        loop.run(_Line(settings, broken=True), tmp_path)
