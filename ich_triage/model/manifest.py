"""The manifest of a model package: what it is, what it was made from, what it can do."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from ..domain.finding import PackageIdentity
from ..domain.input_spec import InputSpec
from ..domain.labels import LABELS
from .calibration import Calibration, OperatingPoint
from .chain import ChainSpec
from .network import ArchitectureSpec

#: What everything that a synthetic package produces carries.
SYNTHETIC_STAMP = "synthetic training data: not for clinical use"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Metric(_Part):
    """One measured figure with its 95% interval."""

    #: what was measured
    value: float
    #: lower bound
    low: float
    #: upper bound
    high: float
    #: studies (or findings) that it was measured on
    n: int


#: What the uncertainty of a volume is scaled by beside the volume itself, mL; see `MaskRule.volume_error`.
VOLUME_FLOOR_ML = 0.2
#: `MaskRule.volume_error` before anything was measured: from nothing to twice as much.
UNMEASURED_ERROR = (-1.0, 1.0)


class MaskRule(_Part):
    """How mask probabilities become findings."""

    #: a connected part smaller than this is dropped, mL
    min_part_ml: float = Field(default=0.05, ge=0)
    #: study probability from which a subtype is reported as a finding, in the order of `SUBTYPES`
    subtype_thresholds: tuple[float, ...] = (0.5,) * (len(LABELS) - 1)
    #: 5% and 95% quantile of (true − measured) / (measured + `VOLUME_FLOOR_ML`) in calibration studies whose
    #: reports tell it, in the order of `SUBTYPES`; where none was measured `UNMEASURED_ERROR`
    volume_error: tuple[tuple[float, float], ...] = (UNMEASURED_ERROR,) * (len(LABELS) - 1)

    @model_validator(mode="before")
    @classmethod
    def _by_expected_volume(cls, values: Any) -> Any:
        """Packages made when masks had thresholds: what their volumes erred by then says nothing of now."""
        if not isinstance(values, dict) or not {"threshold", "thresholds"} & values.keys():
            return values
        gone = ("threshold", "thresholds", "volume_error")
        return {name: value for name, value in values.items() if name not in gone}

    def reported(self, study: NDArray[np.float64]) -> list[int]:
        """Which subtypes a flagged study reports: indices into `SUBTYPES`, likeliest first, at least one.

        `study` (6,) calibrated probabilities.
        """
        subtypes = study[1:]
        order = np.argsort(-subtypes, kind="stable").tolist()
        return [k for k in order if subtypes[k] >= self.subtype_thresholds[k]] or order[:1]


class Rival(_Part):
    """What another package scores on the same test studies."""

    #: its name, version and the beginning of its weights' hash, see `PackageIdentity.key`
    key: str
    #: its figures, by name
    metrics: dict[str, Metric]


class Manifest(_Part):
    """Everything about a package except its weights."""

    #: version of this format
    format: Literal[1] = 1
    #: name of the package
    name: str
    #: its version
    version: str
    #: when it was made
    created: AwareDatetime
    #: trained on synthetic data
    synthetic: bool
    #: network
    architecture: Annotated[ArchitectureSpec | ChainSpec, Field(discriminator="kind")]
    #: what the network is fed
    input_spec: InputSpec
    #: order of every probability vector
    labels: tuple[str, ...] = LABELS
    #: logits to probabilities
    calibration: Calibration
    #: thresholds by name
    operating_points: dict[str, OperatingPoint]
    #: masks to findings
    mask: MaskRule = MaskRule()
    #: figures on test studies, by name
    metrics: dict[str, Metric] = Field(default_factory=dict)
    #: the package that training went on from, on the same test studies
    rival: Rival | None = None
    #: what the data were: counts, seeds, generator, hash
    data: dict[str, str | int | float] = Field(default_factory=dict)
    #: version of the code that trained it
    code_version: str
    #: SHA-256 of model.safetensors, hex
    weights_sha256: str = Field(pattern="^[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _fits_this_release(self) -> Self:
        if self.labels != LABELS:
            raise ValueError(f"labels must be {LABELS}")
        if self.architecture.channels != self.input_spec.channels:
            raise ValueError("architecture.channels and input_spec disagree")
        if not len(self.mask.subtype_thresholds) == len(self.mask.volume_error) == len(LABELS) - 1:
            raise ValueError("mask.subtype_thresholds and mask.volume_error need one entry for each subtype")
        if not self.operating_points:
            raise ValueError("at least one operating point is needed")
        return self

    @property
    def identity(self) -> PackageIdentity:
        """Which model it is, for every output."""
        return PackageIdentity(
            name=self.name,
            version=self.version,
            weights_sha256=self.weights_sha256,
            synthetic=self.synthetic,
        )

    @property
    def test_data(self) -> dict[str, str | int | float]:
        """What `data` says of the test studies: the figures of two packages compare only where it is equal.

        That is every key that begins with `test_` and, for drawn studies, what draws them.
        """
        return {
            key: value
            for key, value in self.data.items()
            if key.startswith("test_") or key in {"generator", "generator_sha256", "pixels_per_side"}
        }

    @property
    def stamp(self) -> str | None:
        """The sentence that everything made by a synthetic package carries."""
        return SYNTHETIC_STAMP if self.synthetic else None
