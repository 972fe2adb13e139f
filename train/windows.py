"""What a training step is fed: a few consecutive slices of a study, freshly augmented."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ich_triage.domain.input_spec import InputSpec

from .augment import augment
from .cases import Case

#: Share of the windows of a bleeding study that are placed on its bleed, the others anywhere.
_ON_BLEED = 0.8


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
    """A random run of `window` consecutive slices of each case, at `scale` of the stored size."""

    def __init__(self, paths: Sequence[Path], spec: InputSpec, *, window: int, scale: float) -> None:
        self.paths = list(paths)
        self.spec = spec
        self.window = window
        self.scale = scale

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Sample:
        case = Case.load(self.paths[index])
        start = self._start(case)
        part = slice(start, start + self.window)
        x, masks = augment(
            torch.from_numpy(np.array(case.x[part])) / 255,
            torch.from_numpy(case.masks[part]) / 255,
            self.spec,
            scale=self.scale,
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
