"""The training loop: losses, optimiser and what Lightning needs to know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ich_triage.domain.input_spec import InputSpec
from ich_triage.errors import PackageError
from ich_triage.model.network import ArchitectureSpec, IchNet
from ich_triage.model.package import Package

from .loop import Hardware, Learner, LoopSettings, run_once
from .windows import Sample, Windows

Floats = NDArray[np.float64]

#: Weight of positive slices: most are negative.
_SLICE_POSITIVE = 2.0
#: Cells that the mask loss adds to the bleeding ones, so that a batch without any stays finite.
_MASK_FLOOR = 200.0
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
    #: what it computes on
    hardware: Hardware = field(default_factory=Hardware)


class StudyLearner(Learner):
    """Weighted BCE per slice + 0.5 BCE per study + 0.5 (Dice + BCE) on the masks, over windows of studies."""

    def __init__(self, network: IchNet, data: Windows, settings: LoopSettings, weights: Floats) -> None:
        super().__init__(data, settings, weights)
        self.network = network

    def loss(self, batch: Sample) -> Tensor:
        """Of the windows (B, W) of a few studies."""
        x = batch.x.flatten(0, 1).to(memory_format=torch.channels_last)
        embedding, mask_logits = self.network.slice_net(x)
        with torch.autocast(x.device.type, enabled=False):  # recurrent layers gain nothing from it
            slices, studies = self.network.sequence_net(
                embedding.float().unflatten(0, batch.height.shape), batch.height[..., None]
            )
        losses = {
            "slice": label_loss(slices.flatten(0, 1), batch.labels.flatten(0, 1)),
            "study": label_loss(studies, batch.study),
            "mask": mask_loss(mask_logits.float(), batch.masks.flatten(0, 1)),
        }
        self.log_dict({f"loss_{name}": value for name, value in losses.items()}, batch_size=len(x))
        return losses["slice"] + 0.5 * losses["study"] + 0.5 * losses["mask"]

    def parts(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """All alike: the network starts at random."""
        return [], list(self.network.parameters())


def mask_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Dice + BCE of (N, 5, s, s); Dice over the whole batch, of the subtypes that occur in it.

    BCE is per bleeding cell, not per cell: the mean over all cells is next to nothing, and so is its pull.
    Slices whose target is NaN, since nobody marked them, cost nothing.
    """
    marked = ~torch.isnan(target[:, 0, 0, 0])
    logits, target = logits[marked], target[marked]
    if not len(target):
        return logits.sum()
    bce = F.binary_cross_entropy_with_logits(logits, target, reduction="sum") / (target.sum() + _MASK_FLOOR)
    found = torch.sigmoid(logits)
    overlap = (found * target).sum((0, 2, 3))
    dice = 1 - (2 * overlap + 1) / (found.sum((0, 2, 3)) + target.sum((0, 2, 3)) + 1)
    present = target.amax((0, 2, 3)) > 0
    return bce + (dice[present].mean() if bool(present.any()) else dice.sum() * 0)


def label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """BCE of (N, 6), `any` weighted twice, positives weighted up; labels that are NaN cost nothing."""
    known = ~torch.isnan(labels)
    each = F.binary_cross_entropy_with_logits(
        logits.float(),
        torch.where(known, labels, 0),
        pos_weight=torch.tensor(_SLICE_POSITIVE, device=logits.device),
        reduction="none",
    )
    per_label = (each * known).sum(0) / known.sum(0).clamp_min(1)
    weights = torch.ones_like(per_label)
    weights[0] = _ANY_WEIGHT
    return (per_label * weights).sum() / weights.sum()


@dataclass(frozen=True)
class Cases:
    """N cases to train on."""

    #: their files
    paths: Sequence[Path]
    #: what they were made for
    spec: InputSpec
    #: how often each comes, against the others, (N,)
    weights: Floats


def fit(network: IchNet, cases: Cases, settings: FitSettings, *, folder: Path) -> IchNet:
    """Train `network`, stage by stage, resuming from `folder` where a run was cut off; in place."""
    network.slice_net.to(memory_format=torch.channels_last)
    network.train().requires_grad_(True)
    for number in range(len(settings.stages)):
        run_once(
            network, folder / f"stage_{number}", partial(learner, network, cases, settings, number=number)
        )
    return network


def learner(network: IchNet, cases: Cases, settings: FitSettings, *, number: int) -> StudyLearner:
    """What trains `network` in stage `number`."""
    stage = settings.stages[number]
    seed = settings.seed + number
    data = Windows(cases.paths, cases.spec, window=stage.window, crop=stage.crop, seed=seed)
    return StudyLearner(network, data, _loop(settings, stage, len(cases.paths), number), cases.weights)


def start_from(network: IchNet, package: Package) -> None:
    """Copy the package's weights. Raises PackageError where it is another architecture.

    Whether either answers in the mean with mirror images has nothing to do with the weights.
    """
    theirs = package.network.spec
    if isinstance(theirs, ArchitectureSpec):
        theirs = replace(theirs, mirrored=network.spec.mirrored)
    if theirs != network.spec:
        raise PackageError(
            f"package {package.manifest.name} {package.manifest.version} has {package.network.spec}, "
            f"this run {network.spec}; give the same backbone, or leave --start out"
        )
    network.load_state_dict(package.network.state_dict())


def _loop(settings: FitSettings, stage: Stage, studies: int, number: int) -> LoopSettings:
    return LoopSettings(
        steps=stage.epochs * max(1, studies // stage.studies),
        batch=stage.studies,
        learning_rate=stage.learning_rate,
        weight_decay=settings.weight_decay,
        hardware=settings.hardware,
        seed=settings.seed + number,
    )
