"""What a volume must be, by its pixels and geometry, before a model made for heads may look at it."""

from __future__ import annotations

from ich_triage.domain.completeness import coverage_mm
from ich_triage.domain.states import ReasonCode
from ich_triage.errors import NotAnalysedError

from .head import Head
from .rules import MIN_COVERAGE_MM, MIN_SLICES
from .volume import Volume

#: From a newborn's brain to more than any skull holds, mL.
BRAIN_ML = (350.0, 2500.0)
#: The brain's own extent along the slice normal, mm; foramen magnum to vertex is 110 or more in adults.
MIN_BRAIN_MM = 60.0
#: A slice shows brain from this area on, mm².
_BRAIN_AREA_MM2 = 500.0


def check(volume: Volume, head: Head) -> None:
    """Pass silently, or raise `NotAnalysedError` with the first thing that is wrong."""
    check_geometry(volume)
    dy, dx = (spacing * head.factor for spacing in volume.pixel_spacing)
    areas = head.brain.sum(axis=(1, 2)) * dy * dx
    extents = volume.slice_extents_mm()
    brain_ml = float((areas * extents).sum()) / 1000
    low, high = BRAIN_ML
    if not low <= brain_ml <= high:
        raise NotAnalysedError(
            ReasonCode.NOT_A_HEAD, f"{brain_ml:.0f} mL of brain within bone; no whole head"
        )
    if (length := float(extents[areas > _BRAIN_AREA_MM2].sum())) < MIN_BRAIN_MM:
        raise NotAnalysedError(ReasonCode.TOO_FEW_SLICES, f"covers {length:.0f} mm of brain")


def check_geometry(volume: Volume) -> None:
    """Raise `NotAnalysedError` for too few slices, too little coverage, or gaps."""
    count, coverage = len(volume.positions_mm), coverage_mm(volume.positions_mm)
    if count < MIN_SLICES or coverage < MIN_COVERAGE_MM:
        raise NotAnalysedError(ReasonCode.TOO_FEW_SLICES, f"{count} slices over {coverage:.0f} mm")
    if volume.gaps:
        where = ", ".join(f"{gap.start_mm:.0f} to {gap.end_mm:.0f} mm" for gap in volume.gaps[:3])
        raise NotAnalysedError(ReasonCode.GAPS, f"slices missing from {where}")
