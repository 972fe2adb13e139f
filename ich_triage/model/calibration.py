"""From logits to calibrated probabilities, and the frozen operating points.

Platt scaling (Platt 1999), one scale and offset per label, with a lapse rate for subtypes (Wichmann and Hill,
Percept Psychophys 2001); correction of the prior by shifting the log odds (Saerens et al., Neural Computation
2002).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from ..domain.labels import LABELS

Floats = NDArray[np.float32] | NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Platt:
    """One affine map of the logits for each label, in the order of `LABELS`, and how far it lapses.

    Where one bleed is plain, a network rules the others out more surely than it can know
    (docs/decisions/0016-lapses.md).
    """

    #: factors
    scale: tuple[float, ...] = (1.0,) * len(LABELS)
    #: addends
    offset: tuple[float, ...] = (0.0,) * len(LABELS)
    #: how far each label is moved towards the probability of any bleed, 0 … 1; that of `any` does not count
    lapse: tuple[float, ...] = (0.0,) * len(LABELS)

    def probabilities(self, logits: Floats) -> NDArray[np.float64]:
        """Logits (..., 6) to probabilities (..., 6), where `any` is at least each subtype."""
        found = expit(np.asarray(logits, np.float64) * np.asarray(self.scale) + np.asarray(self.offset))
        found += np.asarray(self.lapse) * np.maximum(found[..., :1] - found, 0)
        found[..., 0] = found.max(axis=-1)
        return found


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How this package's logits become probabilities."""

    #: for slices
    slices: Platt = Platt()
    #: for studies
    study: Platt = Platt()
    #: share of studies with a bleed among those that the calibration was fitted on
    prevalence: float = 0.5


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """One frozen threshold with what it gave on studies that it was not chosen on."""

    #: study probability of `any` from which a study is flagged, at the calibration's own prevalence
    threshold: float
    #: sensitivity on the test studies
    sensitivity: float
    #: specificity on the test studies
    specificity: float


def at_prevalence(probabilities: Floats, calibrated: float, site: float | None) -> NDArray[np.float64]:
    """Probabilities as they would be at the site's share of positive studies; order is kept.

    `calibrated` is the share that the probabilities were fitted at. With `site` None they stay as they are.
    """
    found = np.asarray(probabilities, np.float64)
    if site is None:
        return found
    return expit(logit(np.clip(found, 1e-9, 1 - 1e-9)) + logit(site) - logit(calibrated))
