"""Trains the published study's classifiers of single slices, and asks them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import structlog
import timm
import torch
from lightning.pytorch.tuner.tuning import Tuner
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ich_triage.domain.labels import SUBTYPES
from ich_triage.model.chain import classifier

from .loop import Learner, LoopSettings, run_once, trainer
from .recipe import Cycle, SliceRecipe
from .slices import LabelledSlice, SliceAddress, Slices, pixels

log = structlog.get_logger(__name__)

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class SliceLearner(Learner):
    """Plain BCE over the labels of single slices."""

    def __init__(self, network: nn.Module, data: Slices, settings: LoopSettings) -> None:
        super().__init__(data, settings)
        self.network = network

    def loss(self, batch: LabelledSlice) -> Tensor:
        """Of (B, K) labels."""
        logits = self.network(batch.x.to(memory_format=torch.channels_last))
        loss = F.binary_cross_entropy_with_logits(logits.float(), batch.labels)
        self.log("loss", loss, batch_size=len(batch.x))
        return loss

    def parts(self) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
        """The last layer is the head."""
        head = list(_head(self.network).parameters())
        ids = {id(parameter) for parameter in head}
        return [each for each in self.network.parameters() if id(each) not in ids], head


def build(recipe: SliceRecipe, weights: Path | None = None) -> tuple[nn.Module, bool]:
    """The recipe's classifier, and whether its body is pretrained: from a local file, or timm's hub.

    Where neither can be reached it says so in the log and starts at random.
    """
    torch.manual_seed(recipe.seed)
    outputs = 1 if recipe.task == "binary" else len(SUBTYPES)
    channels = recipe.input_spec.channels
    network = classifier(recipe.backbone, channels, outputs)
    try:
        overlay = {"file": str(weights)} if weights else None
        source = timm.create_model(
            recipe.backbone, pretrained=True, in_chans=channels, num_classes=outputs,
            pretrained_cfg_overlay=overlay,
        )  # fmt: skip
    except (OSError, RuntimeError, ValueError) as error:
        if weights:
            raise
        log.warning("pretrained_unreachable", backbone=recipe.backbone, error=type(error).__name__)
        return network, False
    network.load_state_dict(source.state_dict())
    return network, True


def fit(
    recipe: SliceRecipe,
    network: nn.Module,
    slices: Sequence[SliceAddress],
    labels: Bools,
    *,
    folder: Path,
    pretrained: bool,
) -> nn.Module:
    """Train `network` in place, cycle by cycle, resuming from `folder`; `labels` (N, K) of the task."""
    network.to(memory_format=torch.channels_last).train()
    for number, cycle in enumerate(recipe.cycles):
        _freeze(network, cycle.frozen and pretrained)
        data = Slices(slices, labels, size=cycle.size or recipe.size, seed=recipe.seed + number)
        how = _settings(recipe, cycle, len(slices), number)
        run_once(network, folder / f"cycle_{number}", partial(SliceLearner, network, data, how))
    return network.eval().requires_grad_(False)


def find_rate(
    recipe: SliceRecipe, network: nn.Module, slices: Sequence[SliceAddress], labels: Bools, *, folder: Path
) -> float:
    """Where the loss falls most steeply (Smith, WACV 2017), by Lightning's finder; plot in `folder`."""
    data = Slices(slices, labels, size=recipe.size, seed=recipe.seed)
    learner = SliceLearner(network, data, _settings(recipe, recipe.cycles[0], len(slices), 0))
    found: Any = Tuner(trainer(learner, folder)).lr_find(learner, min_lr=1e-6, max_lr=1.0, num_training=60)
    rates, losses = found.results["lr"], found.results["loss"]
    best = float(found.suggestion() or recipe.cycles[0].learning_rate)
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, losses)
    axes.axvline(best, color="tab:red", label=f"steepest fall: {best:.1e}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss", title=recipe.backbone)
    axes.legend()
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "learning_rate.png", dpi=110)
    return best


def predict(network: nn.Module, slices: Sequence[SliceAddress], size: int, *, batch: int = 64) -> Floats:
    """Logits (N, K)."""
    network.eval()
    with torch.inference_mode():
        parts = [
            network(torch.stack([pixels(each, size) for each in slices[start : start + batch]]))
            for start in range(0, len(slices), batch)
        ]
    return torch.cat(parts).double().numpy()


def _settings(recipe: SliceRecipe, cycle: Cycle, count: int, number: int) -> LoopSettings:
    batch = min(recipe.batch, count)
    return LoopSettings(
        steps=max(1, cycle.epochs * (count // (batch * recipe.accumulate))),
        batch=batch,
        learning_rate=cycle.learning_rate,
        body_learning_rate=cycle.body_learning_rate,
        weight_decay=recipe.weight_decay,
        ema=0.0,
        accumulate=recipe.accumulate,
        precision=recipe.precision,
        seed=recipe.seed + number,
    )


def _head(network: nn.Module) -> nn.Module:
    """The last linear layer, which is what timm and torchvision put last."""
    return [module for module in network.modules() if isinstance(module, nn.Linear)][-1]


def _freeze(network: nn.Module, frozen: bool) -> None:
    """All but the head and the batch norms, which go on learning what the slices look like."""
    network.requires_grad_(not frozen)
    if frozen:
        _head(network).requires_grad_(True)
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.requires_grad_(True)
