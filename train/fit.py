"""The training loop: losses, optimiser and what Lightning needs to know."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, ModelCheckpoint
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from ich_triage.domain.input_spec import InputSpec
from ich_triage.model.network import IchNet

from .augment import augment
from .cases import Case

#: Weight of positive slices: most are negative.
_SLICE_POSITIVE = 2.0
#: Cells that the mask loss adds to the bleeding ones, so that a batch without any stays finite.
_MASK_FLOOR = 1000.0
#: Share of the windows of a bleeding study that are placed on its bleed, the others anywhere.
_ON_BLEED = 0.7
#: Weight of `any` against a subtype, as in the RSNA metric.
_ANY_WEIGHT = 2.0


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """Everything that decides a training run."""

    #: random seed
    seed: int = 0
    #: passes over the cases
    epochs: int = 10
    #: studies in a batch
    studies: int = 6
    #: consecutive slices taken of a study
    window: int = 12
    #: peak learning rate of the one-cycle schedule
    learning_rate: float = 4e-3
    #: share of the steps that run at `small_scale` of the input's size, for speed (progressive resizing)
    small_share: float = 0.6
    #: share of the input's side; the result must be a multiple of 32 pixels
    small_scale: float = 2 / 3
    #: AdamW
    weight_decay: float = 0.01
    #: Lightning's name of the number format
    precision: Any = "bf16-mixed"


class Sample(NamedTuple):
    """Consecutive slices of one study; a tuple, since Lightning moves no frozen dataclass to a device."""

    #: (Z, C, S, S) in 0..1
    x: Tensor
    #: (Z, 5, s, s) in 0..1
    masks: Tensor
    #: (Z, 6) in 0..1
    labels: Tensor
    #: (Z,)
    height: Tensor


class Windows(Dataset[Sample]):
    """A random run of consecutive slices of each case, freshly augmented each time."""

    def __init__(self, paths: Sequence[Path], spec: InputSpec, *, window: int) -> None:
        self.paths = list(paths)
        self.spec = spec
        self.window = window

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Sample:
        case = Case.load(self.paths[index])
        start = self._start(case)
        part = slice(start, start + self.window)
        x, masks = augment(
            torch.from_numpy(case.x[part]).float() / 255,
            torch.from_numpy(case.masks[part]).float() / 255,
            self.spec,
            generator=torch.Generator().manual_seed(random.getrandbits(62)),
        )
        labels = torch.from_numpy(case.labels[part]).float()
        return Sample(x=x, masks=masks, labels=labels, height=torch.from_numpy(case.height[part]))

    def _start(self, case: Case) -> int:
        """First slice of the window."""
        last = max(0, len(case.x) - self.window)
        bleeding = np.flatnonzero(case.labels[:, 0])
        if not len(bleeding) or random.random() > _ON_BLEED:
            return random.randint(0, last)
        chosen = int(random.choice(bleeding))
        return min(last, max(0, chosen - random.randrange(self.window)))


class Learner(pl.LightningModule):
    """Weighted BCE per slice + 0.5 BCE per study + 0.5 (Dice + BCE) on the masks."""

    def __init__(self, network: IchNet, settings: FitSettings) -> None:
        super().__init__()
        self.network = network
        self.settings = settings

    def training_step(self, batch: list[Sample], batch_index: int) -> Tensor:
        """One optimiser step over a few studies."""
        x = torch.cat([sample.x for sample in batch])
        masks = torch.cat([sample.masks for sample in batch])
        if self.global_step < self.settings.small_share * self.trainer.estimated_stepping_batches:
            x, masks = _shrunk(x, self.settings.small_scale), _shrunk(masks, self.settings.small_scale)
        x = x.to(memory_format=torch.channels_last)
        embedding, mask_logits = self.network.slice_net(x)
        slices, studies = [], []
        for sample, part in zip(batch, embedding.split([len(s.x) for s in batch]), strict=True):
            slice_logits, study_logits = self.network.sequence_net(part[None], sample.height[None, :, None])
            slices.append(slice_logits[0])
            studies.append(study_logits[0])
        labels = torch.cat([sample.labels for sample in batch])
        study_labels = torch.stack([sample.labels.amax(0) for sample in batch])
        losses = {
            "slice": _label_loss(torch.cat(slices), labels),
            "study": _label_loss(torch.stack(studies), study_labels),
            "mask": mask_loss(mask_logits.float(), masks),
        }
        self.log_dict({f"loss_{name}": value for name, value in losses.items()}, batch_size=len(batch))
        return losses["slice"] + 0.5 * losses["study"] + 0.5 * losses["mask"]

    def configure_optimizers(self) -> Any:
        """AdamW and one cycle."""
        settings = self.settings
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=settings.learning_rate,
            total_steps=int(self.trainer.estimated_stepping_batches),
            pct_start=0.15,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _shrunk(images: Tensor, scale: float) -> Tensor:
    """(N, C, S, S) at `scale` of its side, with a low-pass."""
    size = round(images.shape[-1] * scale)
    return F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False, antialias=True)


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
    pl.seed_everything(settings.seed, verbose=False)
    loader = DataLoader(
        Windows(paths, spec, window=settings.window),
        batch_size=settings.studies,
        shuffle=True,
        drop_last=len(paths) > settings.studies,
        num_workers=1,
        persistent_workers=True,
        collate_fn=list,
    )
    network.slice_net.to(memory_format=torch.channels_last)
    learner = Learner(network.train().requires_grad_(True), settings)
    steps = settings.epochs * len(loader)
    trainer = pl.Trainer(
        max_epochs=settings.epochs,
        accelerator="auto",
        precision=settings.precision,
        gradient_clip_val=5.0,
        default_root_dir=folder,
        callbacks=[
            # Short runs must not average in the random start.
            EMAWeightAveraging(decay=0.99 if steps < 2000 else 0.998),
            ModelCheckpoint(dirpath=folder, save_last=True, enable_version_counter=False),
            *callbacks,
        ],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    last = folder / "last.ckpt"
    trainer.fit(learner, loader, ckpt_path=last if last.exists() else None)
    return network
