"""What an analysis says about one study: numbers, places and sizes, no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from .labels import Subtype

Vector3 = tuple[float, float, float]


class Side(StrEnum):
    """Side of the patient, not of the picture."""

    #: patient left
    LEFT = "left"
    #: patient right
    RIGHT = "right"
    #: on or across the midline
    MIDLINE = "midline"
    #: on both sides
    BILATERAL = "bilateral"


@dataclass(frozen=True, kw_only=True)
class ImageReference:
    """One image, or one frame of a multi-frame image, of the analysed series."""

    #: SOP Class UID
    sop_class_uid: str
    #: SOP Instance UID
    sop_instance_uid: str
    #: 1-based frame number; None for a single-frame image
    frame_number: int | None = None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One suspected haemorrhage of one subtype."""

    #: which of the five
    subtype: Subtype
    #: calibrated study-level probability, 0 to 1
    probability: float
    #: volume of the mask, mL; None when the mask is empty
    volume_ml: float | None
    #: lower and upper bound of `volume_ml`, mL
    volume_interval_ml: tuple[float, float] | None
    #: volume by ABC/2, mL
    abc2_ml: float | None
    #: side of the patient
    side: Side | None
    #: centroid of the mask, mm, LPS
    centroid_lps: Vector3 | None
    #: index into the analysed slices where the mask is largest, else the slice of highest probability
    key_slice: int
    #: first and last slice index that the finding touches, inclusive
    slice_range: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class SliceScore:
    """The six calibrated probabilities of one slice, in the order of `LABELS`."""

    #: the image
    image: ImageReference
    #: position along the slice normal, mm
    position_mm: float
    #: six probabilities, 0 to 1
    probabilities: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class PackageIdentity:
    """Which model said it."""

    #: package name
    name: str
    #: package version
    version: str
    #: SHA-256 of the weights, hex
    weights_sha256: str
    #: trained on synthetic data
    synthetic: bool

    @property
    def key(self) -> str:
        """Name, version and the first 12 digits of the hash, as the registry names its folders."""
        return f"{self.name}-{self.version}-{self.weights_sha256[:12]}"


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """The complete answer of one model package for one volume."""

    #: the model
    package: PackageIdentity
    #: name of the operating point in force
    operating_point: str
    #: threshold on the study probability of `any`
    threshold: float
    #: six calibrated study probabilities, in the order of `LABELS`
    probabilities: tuple[float, ...]
    #: whether `any` reaches the threshold
    flagged: bool
    #: one per analysed slice, in order along the slice normal
    slices: tuple[SliceScore, ...]
    #: most probable first
    findings: tuple[Finding, ...] = field(default=())
