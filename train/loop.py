"""What every training run shares: batches that follow from seed and step alone, the trainer, resuming.

To Lightning a run is one epoch of a fixed number of steps. What a step sees does not depend on what ran
before, so a run that was killed and goes on from its last checkpoint ends with the weights it would have had.
"""

from __future__ import annotations

import logging
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import lightning.pytorch as pl
import numpy as np
import structlog
import torch
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, ModelCheckpoint
from numpy.typing import NDArray
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from ich_triage.errors import TrainingError

from .fit_progress import FitProgress
from .precision import Precision, fastest

#: Share of the steps in which the learning rate rises.
_RISE = 0.15
#: Optimiser steps between checkpoints.
_CHECKPOINT_STEPS = 100


log = structlog.get_logger(__name__)

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


class Position(NamedTuple):
    """One sample of one step."""

    #: which item of the data set
    item: int
    #: where in the whole run; seeds what is random about the sample
    number: int


class Steps(Sampler[list[Position]]):
    """Batches `start` … `total` of a run; each pass over the data has an order of its own.

    `weights` (N,): how often an item comes, against the others; a pass has as many items as there are, and
    of each the whole number next below or above its share of them.
    """

    def __init__(self, weights: Floats, *, batch: int, total: int, seed: int, start: int = 0) -> None:
        self._ends = np.cumsum(weights) * len(weights) / weights.sum()
        self._batch, self._total = min(batch, len(weights)), total
        self._seed, self._start = seed, start

    def __len__(self) -> int:
        return self._total

    def __iter__(self) -> Iterator[list[Position]]:
        each_pass = len(self._ends) // self._batch
        order, ordered = np.arange(0), -1
        for step in range(self._start, self._total):
            passes, within = divmod(step, each_pass)
            if passes != ordered:
                order, ordered = self._order(passes), passes
            chosen = order[within * self._batch : (within + 1) * self._batch].tolist()
            yield [Position(index, step * self._batch + i) for i, index in enumerate(chosen)]

    def _order(self, passes: int) -> Indices:
        items = len(self._ends)
        rng = np.random.default_rng([self._seed, passes])
        drawn = np.searchsorted(self._ends, np.arange(items) + rng.random(), side="right")
        return rng.permutation(np.minimum(drawn, items - 1))


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What a run computes on and in."""

    #: Lightning's name of the number format; "auto" takes what this machine is fastest in
    precision: Precision | Literal["auto"] = "auto"
    #: GPUs, or processes on the CPU; "auto" takes every GPU
    devices: int | Literal["auto"] = "auto"
    #: machines, as `torchrun` or the cluster starts them
    nodes: int = 1
    #: Lightning's name of how several work together
    strategy: str = "auto"

    @property
    def number_format(self) -> Precision:
        """The precision itself, where "auto" leaves it to the machine."""
        return fastest() if self.precision == "auto" else self.precision


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """What decides a run besides its data and its loss."""

    #: optimiser steps
    steps: int
    #: samples in a batch
    batch: int
    #: peak of the one-cycle learning rate
    learning_rate: float
    #: the same for all but the head; None means alike
    body_learning_rate: float | None = None
    #: AdamW's
    weight_decay: float = 0.01
    #: decay of the moving average of the weights, each step: over some 200, so that a short run forgets its
    #: start; 0 keeps none
    ema: float = 0.995
    #: batches whose gradients make one step
    accumulate: int = 1
    #: random seed
    seed: int = 0
    #: what it computes on
    hardware: Hardware = Hardware()
    #: processes that load; more than 0, or the loop waits for the disk
    loaders: int = 1


class Learner(pl.LightningModule, ABC):
    """A network in training: data, loss, AdamW, one cycle."""

    def __init__(self, data: Dataset[Any], settings: LoopSettings, weights: Floats | None = None) -> None:
        super().__init__()
        self.data = data
        self.settings = settings
        #: what Lightning's finder varies
        self.learning_rate = settings.learning_rate
        #: whether rates are tried out, of which the highest may well fail
        self.sweeping = False
        #: how often each item of the data comes, (N,)
        self.weights = np.ones(len(data)) if weights is None else weights  # type: ignore[arg-type]

    @abstractmethod
    def loss(self, batch: Any) -> Tensor:
        """What one batch costs."""

    @abstractmethod
    def parts(self) -> tuple[Sequence[torch.nn.Parameter], Sequence[torch.nn.Parameter]]:
        """Parameters of body and of head."""

    def train_dataloader(self) -> DataLoader[Any]:
        """Batches from where the last checkpoint left off, this process's share of each."""
        at, of = self.trainer.global_rank, self.trainer.world_size
        settings = self.settings
        sampler = Steps(
            self.weights,
            batch=settings.batch * of,
            total=settings.steps * settings.accumulate,
            seed=settings.seed,
            start=self.trainer.global_step * settings.accumulate,
        )
        return _Loader(
            self.data,
            batch_sampler=_Share(sampler, at, of) if of > 1 else sampler,
            num_workers=settings.loaders,
            persistent_workers=settings.loaders > 0,
        )

    def training_step(self, batch: Any, batch_index: int) -> Tensor:
        """One batch. Raises TrainingError when its loss is not a number."""
        loss = self.loss(batch)
        if not torch.isfinite(loss) and not self.sweeping:
            raise TrainingError(
                f"the loss is not a number at step {self.trainer.global_step}; delete the run's folder, "
                f"{Path(self.trainer.default_root_dir).parent}, and train again with a lower learning_rate "
                "or precision=32-true (--set)"
            )
        return loss

    def configure_optimizers(self) -> Any:
        """AdamW and one cycle."""
        settings = self.settings
        body, head = ([each for each in part if each.requires_grad] for part in self.parts())
        rates = (settings.body_learning_rate or self.learning_rate, self.learning_rate)
        trained = [(part, rate) for part, rate in zip((body, head), rates, strict=True) if part]
        groups = [{"params": part, "lr": rate} for part, rate in trained]
        optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=[rate for _, rate in trained],
            total_steps=settings.steps,
            pct_start=_RISE,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class _Loader(DataLoader[Any]):
    """Tells Lightning that it can go on in mid-epoch: its sampler starts where the run is."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing that the number of the step does not say."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to take back."""


class _Share(Sampler[list[Position]]):
    """One process's share of each batch."""

    def __init__(self, steps: Steps, at: int, of: int) -> None:
        self._steps, self._at, self._of = steps, at, of

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[list[Position]]:
        return (batch[self._at :: self._of] for batch in self._steps)


def trainer(learner: Learner, folder: Path, *callbacks: Callback) -> pl.Trainer:
    """Lightning's trainer for one run of `learner`, on whatever this machine has."""
    # What Lightning says on its own is advertisement and what hardware there is not.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    settings, hardware = learner.settings, learner.settings.hardware
    return pl.Trainer(
        max_epochs=1,
        accelerator="auto",
        devices=hardware.devices,
        num_nodes=hardware.nodes,
        strategy=hardware.strategy,
        precision=hardware.number_format,
        gradient_clip_val=5.0,
        accumulate_grad_batches=settings.accumulate,
        use_distributed_sampler=False,
        default_root_dir=folder,
        callbacks=[*([EMAWeightAveraging(decay=settings.ema)] if settings.ema else []), *callbacks],
        enable_checkpointing=any(isinstance(each, ModelCheckpoint) for each in callbacks),
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def run(learner: Learner, folder: Path, *, callbacks: Sequence[Callback] = ()) -> pl.Trainer:
    """Train `learner`, in place, from the last checkpoint in `folder` where there is one."""
    pl.seed_everything(learner.settings.seed, verbose=False)
    checkpoints = ModelCheckpoint(
        dirpath=folder, every_n_train_steps=_CHECKPOINT_STEPS, save_last=True, enable_version_counter=False
    )
    last = folder / "last.ckpt"
    used = trainer(learner, folder, checkpoints, FitProgress(), *callbacks)
    log.info(
        "training_starts",
        on=type(used.accelerator).__name__,
        precision=used.precision,
        processes=used.world_size,
    )
    # Each process has a batch of its own: the same passes over the data are fewer steps.
    steps = math.ceil(learner.settings.steps / used.world_size)
    learner.settings = replace(learner.settings, steps=steps)
    used.fit(learner, ckpt_path=last if last.exists() else None)
    return used


def run_once(network: nn.Module, folder: Path, learner: Callable[[], Learner]) -> None:
    """Train `network`, in place, as `learner` says; what a run finished in `folder` before is read."""
    done = folder / "done.safetensors"
    if not done.exists():
        used = run(learner(), folder)
        if used.is_global_zero:
            save_whole(network, done)
        used.strategy.barrier()
    load_model(network, done)


def save_whole(network: nn.Module, path: Path) -> None:
    """Write the weights to `path` whole or not at all."""
    partial = path.with_suffix(f".{os.getpid()}.part")
    try:
        save_model(network, str(partial))
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
