"""The published study's two classifiers as one network: P(subtype) = P(any) · P(subtype | any).

A classifier that has seen bleeding slices alone knows no normal ones, so its answer counts only where the
binary one sees a bleed. It has no masks and looks at each slice by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from ..domain.labels import SUBTYPES
from .network import MASK_STRIDE

#: Log odds of a mask that marks nothing.
_NO_MASK = -20.0
#: What torchvision's classifiers take.
_TORCHVISION_CHANNELS = 3


@dataclass(frozen=True, kw_only=True)
class ChainSpec:
    """What it takes to build the chain again."""

    #: tells it from other architectures in a manifest
    kind: Literal["chain"] = "chain"
    #: timm name of the classifier of every slice
    binary: str = "resnet18"
    #: timm name of the classifier of slices with a bleed
    multilabel: str = "resnet50"
    #: input channels
    channels: int = 3

    @property
    def backbone(self) -> str:
        """Both, for people."""
        return f"{self.binary}, {self.multilabel}"


class ChainSlices(nn.Module):
    """Slices one by one; the "embedding" is the six chained logits already."""

    def __init__(self, spec: ChainSpec) -> None:
        super().__init__()
        self.binary = classifier(spec.binary, spec.channels, 1)
        self.multilabel = classifier(spec.multilabel, spec.channels, len(SUBTYPES))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, S, S) in 0..1 to logits (N, 6) and empty mask logits (N, 5, S/4, S/4)."""
        bleed = self.binary(x)
        both = F.logsigmoid(bleed) + F.logsigmoid(self.multilabel(x))
        # logit of exp(both), which is below 1 in all but rounding
        subtypes = both - torch.log1p(-torch.exp(both).clamp_max(1 - 1e-6))
        masks = F.avg_pool2d(x[:, :1], MASK_STRIDE).expand(-1, len(SUBTYPES), -1, -1) * 0 + _NO_MASK
        return torch.cat([bleed, subtypes], dim=1), masks


class ChainStudy(nn.Module):
    """A study is as suspicious as its most suspicious slice."""

    def forward(self, embedding: Tensor, height: Tensor) -> tuple[Tensor, Tensor]:
        """Embedding (N, Z, 6), height (N, Z, 1) to slice logits (N, Z, 6), study logits (N, 6)."""
        slices = embedding + 0 * height
        return slices, slices.amax(1)


class ChainNet(nn.Module):
    """Both parts, called as those of `IchNet`."""

    def __init__(self, spec: ChainSpec) -> None:
        super().__init__()
        self.spec = spec
        self.slice_net = ChainSlices(spec)
        self.sequence_net = ChainStudy()


def classifier(backbone: str, channels: int, outputs: int) -> nn.Module:
    """A classifier with a random start, of timm or, where it has none by that name (AlexNet), of torchvision.

    Raises ValueError for an unknown name, or channels that torchvision's cannot take.
    """
    if timm.is_model(backbone):
        network: nn.Module = timm.create_model(
            backbone, pretrained=False, in_chans=channels, num_classes=outputs
        )
        return network
    if channels != _TORCHVISION_CHANNELS:
        raise ValueError(f"{backbone} takes {_TORCHVISION_CHANNELS} channels, not {channels}")
    network = torchvision.models.get_model(backbone, weights=None, num_classes=outputs)
    return network
