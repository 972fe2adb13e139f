"""What a training step is fed: a few consecutive slices of a study, freshly augmented."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ich_triage.domain.input_spec import InputSpec

from .augment import Cut, augment
from .cases import Case
from .loop import Position

#: Share of the windows, and of the cuts, of a bleeding study that lie on its bleed, the others anywhere.
_ON_BLEED = 0.8
#: Mask cells (about 20 mm² each) below which what is left of a bleed at the edge of a cut counts as none.
_LEAST_CELLS = 0.5


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
    """A random run of `window` consecutive slices of each case, and of each the same square.

    `crop`: its share of the slice's side. Cutting keeps the full resolution, without which faint and small
    bleeds are not seen, at the cost of a smaller image.
    """

    def __init__(
        self, paths: Sequence[Path], spec: InputSpec, *, window: int, crop: float, seed: int
    ) -> None:
        self.paths = list(paths)
        self.spec = spec
        self.window = window
        self.crop = crop
        self.seed = seed

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, position: Position) -> Sample:
        case = Case.load(self.paths[position.item])
        rng = np.random.default_rng([self.seed, position.number])
        start = self._start(case, rng)
        part = slice(start, start + self.window)
        drawn = torch.from_numpy(case.masks[part]) / 255
        x, masks = augment(
            torch.from_numpy(np.array(case.x[part])) / 255,
            drawn,
            self.spec,
            cut=Cut(share=self.crop, towards=_somewhere(drawn, rng)) if self.crop < 1 else None,
            generator=torch.Generator().manual_seed(int(rng.integers(2**62))),
        )
        labels = torch.from_numpy(case.labels[part]).float()
        if self.crop < 1:
            labels = _left_in(labels, masks)
        return Sample(x=x, masks=masks, labels=labels, height=torch.from_numpy(case.height[part]))

    def _start(self, case: Case, rng: np.random.Generator) -> int:
        """First slice of the window."""
        last = max(0, len(case.x) - self.window)
        bleeding = np.flatnonzero(case.labels[:, 0])
        if not len(bleeding) or rng.random() > _ON_BLEED:
            return int(rng.integers(last + 1))
        return min(last, max(0, int(rng.choice(bleeding)) - int(rng.integers(self.window))))


def _somewhere(masks: Tensor, rng: np.random.Generator) -> tuple[float, float]:
    """Mostly a place of the bleeds in masks (Z, 5, s, s), else any: across and down, -1 … 1."""
    where = masks.amax((0, 1)).nonzero()
    if not len(where) or rng.random() > _ON_BLEED:
        across, down = rng.uniform(-1, 1, 2).tolist()
        return across, down
    row, column = ((where[int(rng.integers(len(where)))] + 0.5) / masks.shape[-1] * 2 - 1).tolist()
    return column, row


def _left_in(labels: Tensor, masks: Tensor) -> Tensor:
    """Labels (Z, 6) without the bleeds of which a cut left less than `_LEAST_CELLS` in the masks."""
    kept = labels[:, 1:] * (masks.sum((2, 3)) >= _LEAST_CELLS)
    return torch.cat([kept.amax(1, keepdim=True), kept], dim=1)
