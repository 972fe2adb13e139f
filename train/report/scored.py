"""One part of the evaluated studies as the package decides them, and what is known of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ich_triage.model.manifest import Manifest, Metric
from ich_triage.phantom.quirks import vendor_representation
from ich_triage.phantom.spec import draw

from ..cases import Facts
from ..evaluation import Predictions, named, told

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: What `Origin.mimics` calls blood that is there, and that no reader would see: the label says no bleed.
HIDDEN_BLEED = "hidden_bleed"

#: What a section of the report is made of: values that JSON takes.
Json = dict[str, "Json"] | list["Json"] | str | float | int | bool | None


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What the seed says about a test phantom that its pixels do not."""

    #: scanner maker; empty where unknown
    vendor: str
    #: BitsStored; of a phantom those that this maker's scanners commonly write; None where unknown
    bits: int | None
    #: what looks like a bleed, or is seen beside one, and counts as none; `HIDDEN_BLEED`, too
    mimics: frozenset[str]

    @classmethod
    def of(cls, facts: Facts, *, bleeds: bool) -> Origin:
        """Of a phantom what its seed and style say, as it was drawn; of other studies what is known.

        `bleeds`: what the study's label says.
        """
        if facts.seed is None:
            return cls(vendor="", bits=facts.bits, mimics=frozenset())
        spec = draw(facts.seed, style="b" if facts.style == "b" else "a")
        vendor = spec.acquisition.vendor
        hidden = {HIDDEN_BLEED} if spec.bleeds and not bleeds else set()
        return cls(vendor=vendor, bits=vendor_representation(vendor).bits, mimics=spec.mimics.names | hidden)


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """Predictions seen through a package's calibration and thresholds."""

    #: what the network said
    found: Predictions
    #: the package's manifest
    manifest: Manifest
    #: figures of the part by name, from `evaluation.figures`
    figures: Mapping[str, Metric]

    @cached_property
    def probability(self) -> Floats:
        """Calibrated study probabilities, (N, 6)."""
        return self.manifest.calibration.study.probabilities(self.found.study_logits)

    @cached_property
    def slice_probability(self) -> list[Floats]:
        """Calibrated slice probabilities, each (Z, 6)."""
        return [self.manifest.calibration.slices.probabilities(each) for each in self.found.slice_logits]

    @cached_property
    def origins(self) -> list[Origin]:
        """Where each study comes from."""
        studies = zip(self.found.facts, self.bleeds.tolist(), strict=True)
        return [Origin.of(facts, bleeds=bleeds) for facts, bleeds in studies]

    @property
    def hidden(self) -> Bools:
        """Which studies hold blood, but none that a reader would see, (N,)."""
        return np.array([HIDDEN_BLEED in origin.mimics for origin in self.origins])

    @property
    def drawn(self) -> bool:
        """Whether the studies are phantoms that their seeds name."""
        return self.found.facts[0].seed is not None

    @property
    def bleeds(self) -> Bools:
        """Whether the study has any bleed, (N,)."""
        return self.found.labels[:, 0]

    @property
    def hyperdense_ml(self) -> Floats:
        """The baseline's score: 50 to 90 HU inside the skull, mL, (N,)."""
        return np.array([facts.hyperdense_ml for facts in self.found.facts])

    @property
    def main_point(self) -> str:
        """The operating point that pictures and mimics are shown at."""
        points = self.manifest.operating_points
        return "balanced" if "balanced" in points else next(iter(points))

    def flagged(self, point: str) -> Bools:
        """Which studies the operating point flags, (N,)."""
        return np.asarray(self.probability[:, 0] >= self.manifest.operating_points[point].threshold)

    @cached_property
    def named(self) -> Bools:
        """Which subtypes the report of each study names, (N, 5)."""
        return named(self.probability, self._least, self.manifest.mask)

    def told(self, study: int) -> list[int]:
        """Subtypes that the report of a study names; see `evaluation.told`."""
        return told(self.probability[study], self._least, self.manifest.mask)

    @property
    def _least(self) -> float:
        return self.manifest.operating_points[self.main_point].threshold


def beside(metric: Metric | None, baseline: float | None) -> Json:
    """A figure with the trivial baseline that it has to beat; None where there is no figure."""
    if metric is None:
        return None
    return {**metric.model_dump(), "baseline": baseline}
