"""Everything that makes one phantom, as plain frozen numbers.

Ranges without a source are engineering estimates; figures with one are in :mod:`.tables`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from ich_triage.domain.labels import Subtype

Style = Literal["a", "b"]
Vendor = Literal["GE MEDICAL SYSTEMS", "SIEMENS", "Philips", "TOSHIBA"]


@dataclass(frozen=True, kw_only=True)
class HeadSpec:
    """One head's anatomy. Head frame: LPS, mm, origin at the height of the commissures, mid cavity."""

    #: seed of every noise field of the anatomy
    seed: int
    #: half-axes of the inner skull: sideways, fore-and-aft, upwards, mm
    half_axes_mm: tuple[float, float, float]
    #: superellipsoid exponent of the inner skull
    exponent: float
    #: how much the forehead narrows, 0 to 0.2
    taper: float
    #: mean thickness of the vault, mm
    skull_mm: float
    #: mean thickness of the scalp, mm
    scalp_mm: float
    #: 0 young and tight, 1 old and wide CSF
    atrophy: float
    #: scale of the ventricles' radii
    ventricles: float
    #: HU of cortex and deep grey
    grey_hu: float
    #: HU of white matter
    white_hu: float
    #: HU of CSF
    csf_hu: float
    #: HU of the dura: falx, tentorium and what lines the skull
    dura_hu: float
    #: thickness of the dura that lines the skull, mm
    dura_mm: float
    #: HU of the venous sinuses and of the veins at the vertex
    sinus_hu: float
    #: width of the transverse and sigmoid sinus at the skull, patient left and right, mm
    sinus_mm: tuple[float, float]
    #: diameter of the largest veins at the vertex, mm
    vein_mm: float
    #: HU of the arteries
    artery_hu: float
    #: share of air cells in the sinuses and mastoids, 0 to 1
    pneumatised: float


@dataclass(frozen=True, kw_only=True)
class BleedSpec:
    """One bleed as asked for; what became of it stands in the phantom's truth."""

    #: which of the five
    subtype: Subtype
    #: volume asked for, mL
    volume_ml: float
    #: mean HU of the clot
    hu: float
    #: +1 patient left, -1 patient right
    side: int
    #: where, in the words of the subtype's module ("convexity", "thalamic", …)
    site: str
    #: seed of its shape
    seed: int
    #: 0 homogeneous; towards 1 mixed or layered
    mixed: float = 0.0
    #: least share of blood in the CSF it mixes with (subarachnoid), 0 to 1
    fraction: float = 1.0
    #: width of the oedema rim, mm (intraparenchymal)
    oedema_mm: float = 0.0


@dataclass(frozen=True, kw_only=True)
class MimicSpec:
    """What is not a bleed; drawn at equal rates with and without one."""

    #: seed of places and sizes
    seed: int
    #: names out of :data:`.tables.MIMICS`, plus "fracture" and "swelling"
    names: frozenset[str] = field(default_factory=frozenset)
    #: direction of the blow for fracture and swelling: azimuth (0 front, + patient left) and height, radians
    blow: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class Acquisition:
    """Geometry, scanner and reconstruction of one series."""

    #: number of slices
    slices: int
    #: distance of neighbouring slices along their normal, mm
    spacing_mm: float
    #: slice thickness, mm
    thickness_mm: float
    #: field of view (square), mm
    fov_mm: float
    #: centre of the field of view minus centre of the head, x and y, mm
    offset_mm: tuple[float, float]
    #: lowest slice's height in the head, mm above the commissures
    bottom_mm: float
    #: gantry tilt, degrees
    tilt_deg: float
    #: head turned about its long axis, leaned sideways, nodded against the slice plane; degrees
    pose_deg: tuple[float, float, float]
    #: scanner maker
    vendor: Vendor
    #: sharp kernel for bone
    bone_kernel: bool
    #: point spread in the plane, standard deviation, mm
    psf_mm: float
    #: share of the signal in the wide tail of the point spread, and the tail's standard deviation, mm
    tail_share: float
    tail_mm: float
    #: noise of a 512² image, standard deviation, HU
    noise_hu: float
    #: peak spatial frequency of the noise, 1/mm
    noise_peak: float
    #: cupping and beam hardening, 0 none, 1 typical
    hardening: float
    #: contrast agent in the vessels (a CT angiography)
    contrast: bool = False


@dataclass(frozen=True, kw_only=True)
class PhantomSpec:
    """One phantom."""

    #: the seed it was drawn from
    seed: int
    #: generator style; "b" is the held-out one
    style: Style
    #: anatomy
    head: HeadSpec
    #: bleeds asked for
    bleeds: tuple[BleedSpec, ...]
    #: what is not a bleed
    mimics: MimicSpec
    #: geometry and reconstruction
    acquisition: Acquisition

    def with_acquisition(self, **changes: object) -> PhantomSpec:
        """The same patient in another series."""
        return replace(self, acquisition=replace(self.acquisition, **changes))  # type: ignore[arg-type]
