"""What a classifier says about slices that it was not trained on, beside the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """The answers to N slices, at least one, and to K labels each."""

    #: (N, K) in 0..1
    probability: NDArray[np.float64]
    #: (N, K)
    labels: NDArray[np.bool_]
    #: whose slice it is, (N,)
    patients: NDArray[np.str_]

    def __post_init__(self) -> None:
        slices = len(self.patients)
        if not slices or self.labels.ndim != 2 or len(self.labels) != slices:
            raise ValueError(f"labels {self.labels.shape} of {slices} slices")
        if self.probability.shape != self.labels.shape:
            raise ValueError(f"probabilities {self.probability.shape} of labels {self.labels.shape}")
        if not ((self.probability >= 0) & (self.probability <= 1)).all():
            raise ValueError("a probability is not a number from 0 to 1")

    def column(self, k: int) -> Scored:
        """The answers to one label alone, (N, 1)."""
        return Scored(
            probability=self.probability[:, k : k + 1],
            labels=self.labels[:, k : k + 1],
            patients=self.patients,
        )
