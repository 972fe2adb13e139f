"""The network: a slice part (backbone, decoder, embedding) and a sequence part over the slices of a study.

The slice part is a timm backbone with a light feature pyramid (Lin et al., CVPR 2017); the sequence part
follows what paid in the RSNA 2019 challenge: embedding and its differences to the neighbours through a
bidirectional GRU. What it says of a head and of its mirror image, which is as likely a head, it may say in
the mean (docs/decisions/0015-mirror-image.md). Both parts are plain modules of tensors in, tensors out, so
that they export to OpenVINO.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ..domain.labels import LABELS, SUBTYPES
from .pretrained import pretrained

#: Log odds from which masks and slice labels start: blood is in few cells and not in most slices.
_RARE_CELL, _RARE_SLICE = -6.0, -2.0
#: Reduction of the mask logits against the input.
MASK_STRIDE = 4


@dataclass(frozen=True, kw_only=True)
class ArchitectureSpec:
    """What it takes to build the network again; part of every manifest."""

    #: tells it from other architectures in a manifest
    kind: Literal["study"] = "study"
    #: timm name of the backbone
    backbone: str = "regnetx_004"
    #: input channels
    channels: int = 5
    #: width of the decoder, feature maps
    decoder: int = 48
    #: length of a slice's embedding
    embedding: int = 128
    #: hidden units of the GRU, each direction
    hidden: int = 64
    #: whether it answers with the mean over the slices and their mirror images
    mirrored: bool = False


def _separable(width: int) -> nn.Sequential:
    """Depthwise then pointwise convolution: on CPU a third of the time of a dense one."""
    return nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
        nn.BatchNorm2d(width),
        nn.Conv2d(width, width, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    )


def mean_probability(one: Tensor, other: Tensor) -> Tensor:
    """The logits whose probabilities, which volumes sum, are the mean of those of two logits."""
    one, other = one.float(), other.float()  # half precision has no probability below that of logit -17
    bleeds, spared = one.sigmoid() + other.sigmoid(), (-one).sigmoid() + (-other).sigmoid()
    return bleeds.log() - spared.log()


class SliceNet(nn.Module):
    """Slices one by one: what each shows and where."""

    def __init__(self, spec: ArchitectureSpec) -> None:
        super().__init__()
        self.mirrored = spec.mirrored
        self.backbone = timm.create_model(
            spec.backbone, pretrained=False, features_only=True, in_chans=spec.channels
        )
        feature_info: Any = self.backbone.feature_info
        info = [
            (index, channels)
            for index, (channels, stride) in enumerate(
                zip(feature_info.channels(), feature_info.reduction(), strict=True)
            )
            if stride >= MASK_STRIDE
        ]
        self.levels = [index for index, _ in info]
        self.laterals = nn.ModuleList(nn.Conv2d(channels, spec.decoder, 1) for _, channels in info)
        self.shortcut = nn.Conv2d(spec.channels, spec.decoder, 1)
        self.smooth = nn.Sequential(_separable(spec.decoder), _separable(spec.decoder))
        self.mask = nn.Conv2d(spec.decoder, len(SUBTYPES), 1)
        pooled = info[-1][1] + spec.decoder + 2 * len(SUBTYPES)
        # A start at one half everywhere costs hundreds of steps.
        assert self.mask.bias is not None
        nn.init.constant_(self.mask.bias, _RARE_CELL)
        self.project = nn.Sequential(nn.Linear(pooled, spec.embedding), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, S, S) in 0..1 to embedding (N, D) and mask logits (N, 5, S/4, S/4).

        A mirrored network in evaluation: the embeddings of slice and mirror image side by side (N, 2 D).
        """
        if self.training or not self.mirrored:
            return self._seen_once(x)
        embedding, mask = self._seen_once(torch.cat([x, x.flip(3)]))
        (there, back), (mask, turned) = embedding.chunk(2), mask.chunk(2)
        return torch.cat([there, back], dim=1), mean_probability(mask, turned.flip(3))

    def _seen_once(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.backbone(x)
        maps = [lateral(features[i]) for lateral, i in zip(self.laterals, self.levels, strict=True)]
        top = maps[-1]
        for lower in reversed(maps[:-1]):
            top = lower + F.interpolate(top, scale_factor=2.0, mode="nearest")
        # Blood is first of all a density: the decoder sees it directly, not only through the backbone.
        top = self.smooth(top + self.shortcut(F.avg_pool2d(x, MASK_STRIDE)))
        mask = self.mask(top)
        pooled = torch.cat(
            [
                features[-1].mean((2, 3)),
                top.amax((2, 3)),
                mask.amax((2, 3)) / 4,
                torch.log1p(torch.sigmoid(mask).sum((2, 3))),
            ],
            dim=1,
        )
        return self.project(pooled), mask


class SequenceNet(nn.Module):
    """The slices of one study, in order from feet to head: each slice in the light of the others."""

    def __init__(self, spec: ArchitectureSpec) -> None:
        super().__init__()
        self.mirrored = spec.mirrored
        self.reduce = nn.Sequential(nn.Linear(3 * spec.embedding + 1, 2 * spec.hidden), nn.ReLU(inplace=True))
        self.gru = nn.GRU(2 * spec.hidden, spec.hidden, num_layers=2, bidirectional=True, batch_first=True)
        self.slice_head = nn.Linear(4 * spec.hidden, len(LABELS))
        self.attention = nn.Sequential(
            nn.Linear(4 * spec.hidden, spec.hidden), nn.Tanh(), nn.Linear(spec.hidden, 1)
        )
        self.study_head = nn.Linear(4 * spec.hidden, len(LABELS))
        nn.init.constant_(self.slice_head.bias, _RARE_SLICE)

    def forward(self, embedding: Tensor, height: Tensor) -> tuple[Tensor, Tensor]:
        """Embedding (N, Z, D), height (N, Z, 1) in 0..1 to slice logits (N, Z, 6), study logits (N, 6).

        A mirrored network in evaluation takes (N, Z, 2 D), as its slice part gives them.
        """
        if self.training or not self.mirrored:
            return self._seen_once(embedding, height)
        both = torch.cat(embedding.chunk(2, dim=2))
        slices, study = self._seen_once(both, torch.cat([height, height]))
        (there, back), (straight, turned) = slices.chunk(2), study.chunk(2)
        return (there + back) / 2, (straight + turned) / 2

    def _seen_once(self, embedding: Tensor, height: Tensor) -> tuple[Tensor, Tensor]:
        before = torch.cat([embedding[:, :1], embedding[:, :-1]], dim=1)
        after = torch.cat([embedding[:, 1:], embedding[:, -1:]], dim=1)
        reduced = self.reduce(torch.cat([embedding, embedding - before, embedding - after, height], dim=2))
        states = torch.cat([reduced, self.gru(reduced)[0]], dim=2)
        slices = self.slice_head(states)
        weights = torch.softmax(self.attention(states), dim=1)
        # The study can hardly be surer than its surest slice: pooling corrects that maximum.
        study = self.study_head((weights * states).sum(1)) + slices.amax(1)
        return slices, study


def relative_height(positions_mm: NDArray[np.float64]) -> NDArray[np.float32]:
    """Ascending positions along the slice normal, (Z,) mm, to 0 (lowest slice) … 1 (highest)."""
    low, high = positions_mm[0], positions_mm[-1]
    return ((positions_mm - low) / max(high - low, 1e-6)).astype(np.float32)


class IchNet(nn.Module):
    """Both parts of the network."""

    def __init__(self, spec: ArchitectureSpec) -> None:
        super().__init__()
        self.spec = spec
        self.slice_net = SliceNet(spec)
        self.sequence_net = SequenceNet(spec)

    def load_backbone(self, weights: Path | None = None) -> bool:
        """Start the backbone from pretrained weights, of a local file or of timm's hub; True when it did.

        Never required: where neither is at hand it says so in the log and leaves the random start.
        """
        source = pretrained(self.spec.backbone, weights, features_only=True, in_chans=self.spec.channels)
        if source is None:
            return False
        self.slice_net.backbone.load_state_dict(source.state_dict())
        return True
