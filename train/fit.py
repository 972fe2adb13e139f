"""The training loop: losses, optimiser and what Lightning needs to know."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, ModelCheckpoint
from safetensors.torch import load_model, save_model
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

from ich_triage.domain.input_spec import InputSpec
from ich_triage.model.network import IchNet

from .windows import Sample, Windows

#: Weight of positive slices: most are negative.
_SLICE_POSITIVE = 2.0
#: Cells that the mask loss adds to the bleeding ones, so that a batch without any stays finite.
_MASK_FLOOR = 200.0
#: Decay of the moving average of the weights: over some 200 steps, so that a short run forgets its start.
_EMA_DECAY = 0.995
#: Weight of `any` against a subtype, as in the RSNA metric.
_ANY_WEIGHT = 2.0


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One cycle of the learning rate."""

    #: passes over the cases
    epochs: int
    #: studies in a batch
    studies: int
    #: consecutive slices taken of a study
    window: int
    #: share of the input's side that is cut out; the result must be a multiple of 32 pixels
    crop: float
    #: peak learning rate
    learning_rate: float


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """Everything that decides a training run.

    Bleeds are learned from squares cut out of a few slices of many studies; then stretches of whole slices
    teach what a study says.
    """

    #: random seed
    seed: int = 0
    #: one after the other
    stages: tuple[Stage, ...] = (
        Stage(epochs=60, studies=16, window=3, crop=2 / 3, learning_rate=3e-3),
        Stage(epochs=3, studies=4, window=16, crop=1.0, learning_rate=1e-3),
    )
    #: AdamW
    weight_decay: float = 0.01
    #: Lightning's name of the number format
    precision: Any = "bf16-mixed"


class Learner(pl.LightningModule):
    """Weighted BCE per slice + 0.5 BCE per study + 0.5 (Dice + BCE) on the masks."""

    def __init__(self, network: IchNet, stage: Stage, weight_decay: float) -> None:
        super().__init__()
        self.network = network
        self.stage = stage
        self.weight_decay = weight_decay

    def training_step(self, batch: Sample, batch_index: int) -> Tensor:
        """One optimiser step over the windows (B, W) of a few studies."""
        x = batch.x.flatten(0, 1).to(memory_format=torch.channels_last)
        embedding, mask_logits = self.network.slice_net(x)
        with torch.autocast(x.device.type, enabled=False):  # recurrent layers gain nothing from it
            slices, studies = self.network.sequence_net(
                embedding.float().unflatten(0, batch.height.shape), batch.height[..., None]
            )
        losses = {
            "slice": _label_loss(slices.flatten(0, 1), batch.labels.flatten(0, 1)),
            "study": _label_loss(studies, batch.labels.amax(1)),
            "mask": mask_loss(mask_logits.float(), batch.masks.flatten(0, 1)),
        }
        self.log_dict({f"loss_{name}": value for name, value in losses.items()}, batch_size=len(x))
        return losses["slice"] + 0.5 * losses["study"] + 0.5 * losses["mask"]

    def configure_optimizers(self) -> Any:
        """AdamW and one cycle."""
        rate = self.stage.learning_rate
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=rate, weight_decay=self.weight_decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=rate,
            total_steps=int(self.trainer.estimated_stepping_batches),
            pct_start=0.15,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def mask_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Dice + BCE of (N, 5, s, s); Dice over the whole batch, of the subtypes that occur in it.

    BCE is per bleeding cell, not per cell: the mean over all cells is next to nothing, and so is its pull.
    """
    bce = F.binary_cross_entropy_with_logits(logits, target, reduction="sum") / (target.sum() + _MASK_FLOOR)
    found = torch.sigmoid(logits)
    overlap = (found * target).sum((0, 2, 3))
    dice = 1 - (2 * overlap + 1) / (found.sum((0, 2, 3)) + target.sum((0, 2, 3)) + 1)
    present = target.amax((0, 2, 3)) > 0
    return bce + (dice[present].mean() if bool(present.any()) else dice.sum() * 0)


def _label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """BCE of (N, 6), `any` weighted twice, positives weighted up."""
    per_label = F.binary_cross_entropy_with_logits(
        logits.float(),
        labels,
        pos_weight=torch.tensor(_SLICE_POSITIVE, device=logits.device),
        reduction="none",
    ).mean(0)
    weights = torch.ones_like(per_label)
    weights[0] = _ANY_WEIGHT
    return (per_label * weights).sum() / weights.sum()


def fit(
    network: IchNet,
    paths: Sequence[Path],
    spec: InputSpec,
    settings: FitSettings,
    *,
    folder: Path,
    callbacks: Sequence[Callback] = (),
) -> IchNet:
    """Train `network` on the cases at `paths`, resuming from `folder` where a run was cut off; in place."""
    # What Lightning says on its own is advertisement and what hardware there is not.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    network.slice_net.to(memory_format=torch.channels_last)
    network.train().requires_grad_(True)
    for number, stage in enumerate(settings.stages):
        within = folder / f"stage_{number}"
        done, last = within / "done.safetensors", within / "last.ckpt"
        if not done.exists():
            pl.seed_everything(settings.seed + number, verbose=False)
            learner = Learner(network, stage, settings.weight_decay)
            trainer = _trainer(settings, stage, within, callbacks)
            trainer.fit(learner, _loader(paths, spec, stage), ckpt_path=last if last.exists() else None)
            save_model(network, str(done))
        load_model(network, done)
    return network


def _loader(paths: Sequence[Path], spec: InputSpec, stage: Stage) -> DataLoader[Sample]:
    return DataLoader(
        Windows(paths, spec, window=stage.window, crop=stage.crop),
        batch_size=stage.studies,
        shuffle=True,
        drop_last=len(paths) > stage.studies,
        num_workers=1,
        persistent_workers=True,
    )


def _trainer(settings: FitSettings, stage: Stage, folder: Path, callbacks: Sequence[Callback]) -> pl.Trainer:
    return pl.Trainer(
        max_epochs=stage.epochs,
        accelerator="auto",
        precision=settings.precision,
        gradient_clip_val=5.0,
        default_root_dir=folder,
        callbacks=[
            EMAWeightAveraging(decay=_EMA_DECAY),
            ModelCheckpoint(dirpath=folder, save_last=True, enable_version_counter=False),
            *callbacks,
        ],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
