"""What a training step is fed: a few consecutive slices of a study, freshly augmented."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from ich_triage.domain.input_spec import InputSpec
from ich_triage.domain.labels import SUBTYPES
from ich_triage.model.network import MASK_STRIDE

from .augment import Cut, Ranges, augment
from .cases import Case
from .loop import Position

Indices = NDArray[np.int64]

#: Share of the windows, and of the cuts, of a bleeding study that lie on its bleed, the others anywhere.
_ON_BLEED = 0.8
#: A window is spread over a study of so many times its slices at most: every other one is seen.
_SPARSEST = 2
#: Mask cells (about 20 mm² each) below which what is left of a bleed at the edge of a cut counts as none.
_LEAST_CELLS = 0.5


class Sample(NamedTuple):
    """Slices of one study; a tuple, since Lightning moves no frozen dataclass to a device."""

    #: (Z, C, S, S) in 0..1
    x: Tensor
    #: (Z, 5, s, s) in 0..1; NaN where nobody marked the bleeds
    masks: Tensor
    #: (Z, 6) in 0..1; NaN where unknown
    labels: Tensor
    #: what these slices say of a study, (6,) in 0..1; NaN where unknown
    study: Tensor
    #: (Z,)
    height: Tensor


class Windows(Dataset[Sample]):
    """A random run of `window` consecutive slices of each case, and of each the same square.

    `crop`: its share of the slice's side. Cutting keeps the full resolution, without which faint and small
    bleeds are not seen, at the cost of a smaller image. Where nobody marked a study's bleeds none of its
    slices can be cut without losing the meaning of its labels: such slices are made smaller instead. A study
    with a bleed of which nobody said in which slices is spread over the window, so that the window has it.
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
        part = self._part(case, rng)
        drawn = _masks(case, part)
        cut = Cut(share=self.crop, towards=_somewhere(drawn, rng)) if self.crop < 1 and case.marked else None
        x, masks = augment(
            torch.from_numpy(np.array(case.x[part])) / 255,
            drawn,
            self.spec,
            cut=cut,
            ranges=Ranges() if case.marked else Ranges(damage=0),
            generator=torch.Generator().manual_seed(int(rng.integers(2**62))),
        )
        labels = torch.from_numpy(case.labels[part])
        if cut:
            labels = _left_in(labels, masks)
        elif self.crop < 1:
            x, masks = (_smaller(each, self.crop) for each in (x, masks))
        if not case.marked:
            masks = torch.full_like(masks, torch.nan)
        height = torch.from_numpy(case.height[part])
        return Sample(x=x, masks=masks, labels=labels, study=_study(labels, case, part), height=height)

    def _part(self, case: Case, rng: np.random.Generator) -> Indices:
        """Which slices; of a study with fewer than the window some twice, in their order."""
        count = len(case.x)
        unsaid = case.study[0] > 0 and not (case.labels[:, 0] > 0).any()
        if count <= self.window or (unsaid and count <= _SPARSEST * self.window):
            return np.linspace(0, count - 1, self.window).round().astype(np.int64)
        last = count - self.window
        bleeding = np.flatnonzero(case.labels[:, 0] > 0)
        start = int(rng.integers(last + 1))
        if len(bleeding) and rng.random() <= _ON_BLEED:
            start = min(last, max(0, int(rng.choice(bleeding)) - int(rng.integers(self.window))))
        return np.arange(start, start + self.window)


def _masks(case: Case, part: Indices) -> Tensor:
    """(Z, 5, s, s) in 0..1; empty ones where nobody marked the bleeds."""
    if case.marked:
        return torch.from_numpy(case.masks[part]) / 255
    cells = case.x.shape[-1] // MASK_STRIDE
    return torch.zeros(len(part), len(SUBTYPES), cells, cells)


def _smaller(images: Tensor, share: float) -> Tensor:
    """(Z, C, S, S) with sides `share` of what they were."""
    size = round(images.shape[-1] * share)
    return F.interpolate(images, size=(size, size), mode="bilinear", antialias=True, align_corners=False)


def _study(labels: Tensor, case: Case, part: Indices) -> Tensor:
    """What the window's labels (Z, 6) say of a study: 1 where one slice has it, 0 where none can have it.

    Where slices are unknown it is that of the whole study, if that is 0, or the window is spread over it.
    """
    whole = torch.from_numpy(case.study)
    known = ~torch.isnan(labels)
    any_slice = torch.where(known, labels, 0).amax(0)
    spread = part[0] == 0 and part[-1] == len(case.x) - 1  # and then densely enough
    unsaid = whole if spread else torch.where(whole == 0, whole, torch.nan)
    return torch.where((any_slice > 0) | known.all(0), any_slice, unsaid)


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
