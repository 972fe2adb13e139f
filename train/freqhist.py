"""Frequency histogram bins: HU to the unit interval so that each grey is as frequent as any other.

`freqhist_bins` of the notebooks that the published study followed. The bins are drawn once from a sample of
the data and then frozen in a file: pixels that were mapped with other bins are not comparable.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ich_triage.errors import TrainingDataError

Floats = NDArray[np.float32]

#: Quantiles between the outermost two.
_BINS = 100
_OUTERMOST = (0.001, 0.999)


class Sample(BaseModel):
    """What one kind of stored pixels gave to the sample."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: BitsStored
    bits_stored: int
    #: PixelRepresentation
    pixel_representation: int
    #: pixels, as many as of every other kind
    pixels: int


class FrequencyBins(BaseModel):
    """The bins and where they are from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: HU, ascending; the first maps to 0, the last to 1
    hu: tuple[float, ...] = Field(min_length=2)
    #: the sample that they were drawn from
    sample: tuple[Sample, ...]

    @field_validator("hu")
    @classmethod
    def _ascends(cls, hu: tuple[float, ...]) -> tuple[float, ...]:
        if (np.diff(hu) <= 0).any():
            raise ValueError("bins do not ascend")
        return hu

    @classmethod
    def draw(cls, pixels: Mapping[tuple[int, int], Floats], *, seed: int) -> Self:
        """Bins of `pixels` in HU by (BitsStored, PixelRepresentation), of which each gives as many.

        Raises TrainingDataError where there are no two values.
        """
        rng = np.random.default_rng(seed)
        count = min((len(each) for each in pixels.values()), default=0)
        drawn = [rng.choice(pixels[group], count, replace=False) for group in sorted(pixels)]
        hu = bins(np.concatenate(drawn)) if count else np.empty(0)
        if len(hu) < 2:
            raise TrainingDataError("the sampled slices have no two values of HU: no bins can be drawn")
        sample = [
            Sample(bits_stored=bits, pixel_representation=signed, pixels=count)
            for bits, signed in sorted(pixels)
        ]
        return cls(hu=tuple(hu.tolist()), sample=tuple(sample))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Frozen bins. Raises TrainingDataError where the file holds none."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise TrainingDataError(
                f"{path} holds no frequency histogram bins; remove it, and the next run draws new ones"
            ) from error

    def freeze(self, path: Path) -> None:
        """Write `path` whole or not at all."""
        partial = path.with_suffix(f".{os.getpid()}.part")
        partial.write_text(self.model_dump_json(indent=1) + "\n")
        partial.rename(path)

    def apply(self, hu: Floats) -> Floats:
        """HU of any shape to [0, 1]; between bins linearly, beyond them saturated."""
        return np.interp(hu, self.hu, np.linspace(0, 1, len(self.hu))).astype(np.float32)


def bins(hu: Floats) -> NDArray[np.float64]:
    """Distinct values of HU (n,) at the quantiles 0.001, 0.005, 0.015, …, 0.995 and 0.999, ascending."""
    low, high = _OUTERMOST
    quantiles = [low, *(np.arange(_BINS) / _BINS + 0.5 / _BINS), high]
    return np.unique(np.quantile(hu, quantiles, method="inverted_cdf")).astype(np.float64)
