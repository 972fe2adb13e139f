"""Single slices for classifiers, augmented as the published study did: flip, rotation, blur."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2 import functional as tf

from .cases import Case, load_input
from .loop import Position

#: How far slices are turned, ± degrees.
_ROTATION_DEG = 15.0
#: Share of slices that are blurred, and by up to how much, pixels of standard deviation.
_BLUR_SHARE, _BLUR_PX = 0.2, 1.5

#: Blur proper, or each pixel taken from somewhere near.
Blur = Literal["gaussian", "scatter"]


@dataclass(frozen=True, kw_only=True)
class SliceAddress:
    """Where one slice lies."""

    #: file of the case
    path: Path
    #: which of its slices
    index: int


class LabelledSlice(NamedTuple):
    """One slice with what is known of it; a tuple, since Lightning moves no frozen dataclass to a device."""

    #: (C, S, S) in 0..1
    x: Tensor
    #: (K,) in 0..1
    labels: Tensor


class Slices(Dataset[LabelledSlice]):
    """Slices of prepared cases, each as often as its position in the run comes up."""

    def __init__(
        self,
        addresses: Sequence[SliceAddress],
        labels: NDArray[np.float32],
        *,
        size: int,
        seed: int,
        blur: Blur = "gaussian",
    ) -> None:
        """`labels` (N, K); `size`: pixels per side."""
        self.addresses = list(addresses)
        self.labels = labels
        self.size = size
        self.seed = seed
        self.blur = blur

    def __len__(self) -> int:
        return len(self.addresses)

    def __getitem__(self, position: Position) -> LabelledSlice:
        rng = np.random.default_rng([self.seed, position.number])
        x = _augmented(pixels(self.addresses[position.item], self.size), rng, self.blur)
        return LabelledSlice(x=x, labels=torch.from_numpy(self.labels[position.item]).float())


def addresses(
    paths: Sequence[Path],
) -> tuple[list[SliceAddress], list[str], NDArray[np.float32], NDArray[np.int64]]:
    """Every slice of the cases, its image, its labels (N, 6), and which of the cases it is of, (N,).

    Labels are 0, 1, or NaN where unknown.
    """
    cases = [Case.load(path) for path in paths]
    every = [
        SliceAddress(path=path, index=index)
        for path, case in zip(paths, cases, strict=True)
        for index in range(len(case.labels))
    ]
    owner = np.repeat(np.arange(len(cases)), [len(case.labels) for case in cases])
    images = [str(image) for case in cases for image in case.images]
    return every, images, np.concatenate([case.labels for case in cases]), owner


def pixels(address: SliceAddress, size: int) -> Tensor:
    """(C, size, size) in 0..1."""
    x = torch.from_numpy(np.array(load_input(address.path)[address.index])).float() / 255
    return x if x.shape[-1] == size else tf.resize(x, [size, size], antialias=True)


def _augmented(x: Tensor, rng: np.random.Generator, kind: Blur) -> Tensor:
    flip, angle = rng.random() < 0.5, rng.uniform(-_ROTATION_DEG, _ROTATION_DEG)
    blur, sigma = rng.random() < _BLUR_SHARE, rng.uniform(0.1, _BLUR_PX)
    x = tf.rotate(tf.horizontal_flip(x) if flip else x, angle, interpolation=tf.InterpolationMode.BILINEAR)
    if not blur:
        return x
    return tf.gaussian_blur(x, [7, 7], [sigma]) if kind == "gaussian" else _scattered(x, sigma, rng)


def _scattered(x: Tensor, sigma_px: float, rng: np.random.Generator) -> Tensor:
    """Each pixel of (C, S, S) from a place that is off by so much, standard deviation on either axis."""
    size = x.shape[-1]
    away = np.rint(rng.normal(0.0, sigma_px, (2, size, size))).astype(np.int64)
    rows, columns = (np.indices((size, size)) + away).clip(0, size - 1)
    return x[:, torch.from_numpy(rows), torch.from_numpy(columns)]
