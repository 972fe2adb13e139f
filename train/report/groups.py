"""Sections about kinds of studies: subgroups, and which mimics raise false alarms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ich_triage.phantom.spec import VENDORS
from ich_triage.phantom.tables import MIMICS

from .. import metrics
from ..evaluation import VOLUME_BINS_ML
from .scored import HIDDEN_BLEED, Json, Scored, beside
from .sections import rates

Bools = NDArray[np.bool_]

#: Slice thickness: over the first, up to the second, mm.
_THICKNESS_MM = ((0.0, 3.0), (3.0, 5.0), (5.0, np.inf))
#: Gantry tilt, degrees: over the first, up to the second; the first bin is no tilt at all.
_TILT_DEG = ((-1.0, 0.0), (0.0, 10.0), (10.0, np.inf))
#: Everything that counts as no bleed, hidden blood and then the rarest first: what stands first is what an
#: alarm is put down to.
MIMIC_NAMES = (
    HIDDEN_BLEED,
    *sorted(MIMICS["a"], key=lambda name: MIMICS["a"][name]),
    "fracture",
    "swelling",
)
#: Bootstrap rounds of a subgroup's AUC.
_ROUNDS = 200


def subgroups(part: Scored) -> Json:
    """Sensitivity, specificity and AUC for any bleed in every subgroup, empty ones too.

    Subgroups by volume hold the bleeds of that size; their AUC is against all studies without a bleed.
    """
    rows: list[Json] = []
    for kind, name, within in _members(part):
        points: dict[str, Json] = {}
        for point in part.manifest.operating_points:
            flagged = part.flagged(point)
            points[point] = rates(flagged[within], part.bleeds[within], blind=float(flagged.mean()))
        against = within | ~part.bleeds if kind == "volume" else within
        area = metrics.auc(
            part.probability[against, 0],
            part.bleeds[against],
            patients=part.found.patients[against],
            rounds=_ROUNDS,
        )
        rows.append(
            {
                "kind": kind,
                "name": name,
                "studies": int(within.sum()),
                "positive": int((within & part.bleeds).sum()),
                "auc": beside(area, 0.5),
                "points": points,
            }
        )
    return rows


def _members(part: Scored) -> Iterator[tuple[str, str, Bools]]:
    """Kind, name and members (N,) of every subgroup."""
    facts = part.found.facts
    volume = part.found.true_ml.sum(axis=1)
    thickness = np.array([each.thickness_mm for each in facts])
    tilt = np.abs([each.tilt_deg for each in facts])
    for low, high in VOLUME_BINS_ML if part.found.marked.any() else ():
        yield "volume", _volume(low, high), part.bleeds & (volume >= low) & (volume < high)
    for least, most in _THICKNESS_MM:
        yield "thickness", _up_to(least, most, " mm"), (thickness > least) & (thickness <= most)
    for least, most in _TILT_DEG:
        yield "tilt", _up_to(least, most, "°"), (tilt > least) & (tilt <= most)
    for bits in (12, 16):
        yield "bits stored", str(bits), np.array([origin.bits == bits for origin in part.origins])
    for vendor in VENDORS if part.drawn else ():
        yield "vendor", vendor, np.array([origin.vendor == vendor for origin in part.origins])


def _volume(low: float, high: float) -> str:
    if low == 0:
        return f"below {high} mL"
    return f"{low} mL and more" if high == VOLUME_BINS_ML[-1][1] else f"{low} to {high} mL"


def _up_to(least: float, most: float, unit: str) -> str:
    """Words for more than `least` and at most `most`."""
    if most == 0:
        return "none"
    if not np.isfinite(most):
        return f"over {least:g}{unit}"
    return f"up to {most:g}{unit}" if least <= 0 else f"over {least:g}, up to {most:g}{unit}"


def false_alarms(part: Scored) -> Json:
    """Share of the studies without a bleed that are flagged at the main point, by mimic.

    Beside each the share among those without that mimic.
    """
    flagged, normal = part.flagged(part.main_point), ~part.bleeds
    rows: list[Json] = []
    for name in MIMIC_NAMES if part.drawn else ():
        with_it = np.array([name in origin.mimics for origin in part.origins])
        among, others = flagged[normal & with_it], flagged[normal & ~with_it]
        rate = metrics.proportion(int(among.sum()), len(among))
        rows.append(
            {
                "mimic": name,
                "studies": len(among),
                "flagged": int(among.sum()),
                "rate": beside(rate, float(others.mean()) if len(others) else None),
            }
        )
    return {"point": part.main_point, "mimics": rows}


def main_mimic(mimics: Sequence[str] | frozenset[str]) -> str:
    """The rarest mimic of a study, which its false alarm is shown under."""
    return next((name for name in MIMIC_NAMES if name in mimics), "none")
