"""Labelled studies as the network sees them: drawn from the phantom once, prepared, and kept in a folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ich_triage.domain.input_spec import InputSpec
from ich_triage.domain.labels import SUBTYPES
from ich_triage.imaging.prepare import Prepared, prepare
from ich_triage.model.network import MASK_STRIDE, relative_height
from ich_triage.phantom.generate import Phantom, generate
from ich_triage.phantom.spec import PhantomSpec, draw

#: Pixels per side of a drawn slice; twice the network's suffices, the resize takes the rest away.
MATRIX = 256


@dataclass(frozen=True, kw_only=True)
class Case:
    """One labelled study, prepared. Slices go from feet to head."""

    #: network input, (Z, C, S, S), 0..255
    x: NDArray[np.uint8]
    #: share of each mask cell that a subtype fills, (Z, 5, S/4, S/4), 0..255
    masks: NDArray[np.uint8]
    #: slice labels in the order of `LABELS`, (Z, 6)
    labels: NDArray[np.bool_]
    #: relative height of each slice, (Z,) in 0..1
    height: NDArray[np.float32]

    def save(self, path: Path) -> None:
        """Write to one file, whole or not at all."""
        partial = path.with_suffix(f".{os.getpid()}.part")
        with partial.open("wb") as file:
            np.savez(file, **vars(self))
        partial.rename(path)

    @classmethod
    def load(cls, path: Path) -> Case:
        """Read what `save` wrote."""
        with np.load(path) as stored:
            return cls(**{name: stored[name] for name in stored.files})


def training_spec(seed: int) -> PhantomSpec:
    """The phantom of a training seed: style "a", with rare subtypes drawn more often than in life.

    Two in five have no bleed, one in four the RSNA mix (half of which again has none), the others exactly
    one subtype, each as likely as the next.
    """
    rng = np.random.default_rng([seed, 77])
    share = rng.random()
    if share < 0.40:
        return draw(seed, bleeds=None)
    if share < 0.65:
        return draw(seed, bleeds="random")
    return draw(seed, bleeds=(SUBTYPES[int(rng.integers(len(SUBTYPES)))],))


def to_case(phantom: Phantom, spec: InputSpec) -> Case:
    """Prepare a phantom exactly as a received study is prepared."""
    positions = np.arange(len(phantom.hu), dtype=np.float64) * phantom.spacing[0]
    prepared = prepare(phantom.hu, positions, phantom.spacing[1:], spec)
    return Case(
        x=_bytes(prepared.tensor),
        masks=_bytes(_on_network_grid(phantom.masks, prepared, spec.size // MASK_STRIDE)),
        labels=phantom.truth.slice_labels.numpy(),
        height=relative_height(positions),
    )


def draw_case(path: Path, seed: int, spec: InputSpec) -> None:
    """Make one training case unless its file is there."""
    if not path.exists():
        to_case(generate(training_spec(seed), matrix=MATRIX), spec).save(path)


def _bytes(values: Tensor) -> NDArray[np.uint8]:
    return (values * 255).round().to(torch.uint8).numpy()


def _on_network_grid(masks: Tensor, prepared: Prepared, size: int) -> Tensor:
    """(5, Z, Y, X) bool to the share of each cell of the network's grid, (Z, 5, size, size)."""
    box, (rows, columns) = prepared.box, prepared.shape
    pad = (-box.left, box.left + box.width - columns, -box.top, box.top + box.height - rows)
    cropped = F.pad(masks.transpose(0, 1).float(), pad)  # a negative pad cuts
    return F.interpolate(cropped, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
