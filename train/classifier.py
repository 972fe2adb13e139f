"""Trains the published study's classifiers of single slices, and asks them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ich_triage.model.chain import classifier
from ich_triage.model.pretrained import pretrained

from .loop import Learner, LoopSettings, run_once
from .recipe import Cycle, SliceRecipe
from .slices import LabelledSlice, SliceAddress, Slices, pixels

Floats = NDArray[np.float64]


class SliceLearner(Learner):
    """Plain BCE over the labels of single slices."""

    def __init__(self, network: nn.Module, data: Slices, settings: LoopSettings, weights: Floats) -> None:
        super().__init__(data, settings, weights)
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


@dataclass(frozen=True)
class Labelled:
    """N slices to train on."""

    #: where each lies
    addresses: Sequence[SliceAddress]
    #: (N, K) of the task
    labels: NDArray[np.float32]
    #: how often each comes, against the others, (N,)
    weights: Floats


def empty(recipe: SliceRecipe) -> nn.Module:
    """The recipe's classifier with a random start."""
    torch.manual_seed(recipe.seed)
    return classifier(recipe.backbone, recipe.input_spec.channels, recipe.outputs)


def build(recipe: SliceRecipe, weights: Path | None = None) -> tuple[nn.Module, bool]:
    """The recipe's classifier, and whether its body is pretrained: from a local file, or timm's hub.

    Where neither can be reached it says so in the log and starts at random.
    """
    network = empty(recipe)
    source = pretrained(
        recipe.backbone, weights, in_chans=recipe.input_spec.channels, num_classes=recipe.outputs
    )
    if source is None:
        return network, False
    network.load_state_dict(source.state_dict())
    return network, True


def fit(
    recipe: SliceRecipe, network: nn.Module, slices: Labelled, *, folder: Path, pretrained: bool
) -> nn.Module:
    """Train `network` in place, cycle by cycle, resuming from `folder`."""
    network.to(memory_format=torch.channels_last).train()
    for number in range(len(recipe.cycles)):
        how = partial(learner, recipe, network, slices, number=number, pretrained=pretrained)
        run_once(network, folder / f"cycle_{number}", how)
    return network.eval().requires_grad_(False)


def learner(
    recipe: SliceRecipe, network: nn.Module, slices: Labelled, *, number: int, pretrained: bool
) -> SliceLearner:
    """What trains `network` in cycle `number` of the recipe; only a pretrained body is ever frozen."""
    cycle = recipe.cycles[number]
    _freeze(network, cycle.frozen and pretrained)
    size, seed = cycle.size or recipe.size, recipe.seed + number
    data = Slices(slices.addresses, slices.labels, size=size, seed=seed, blur=recipe.blur)
    settings = _settings(recipe, cycle, len(slices.addresses), number)
    return SliceLearner(network, data, settings, slices.weights)


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
        hardware=recipe.hardware,
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
