"""Draws a phantom from a seed. Head, acquisition, mimics and bleeds each have their own random stream."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.random import Generator

from ich_triage.domain.labels import SUBTYPES, Subtype

from . import tables
from .records import Acquisition, BleedSpec, HeadSpec, MimicSpec, PhantomSpec, Style, Vendor
from .tables import EPIDURAL_SITES

__all__ = [
    "Acquisition", "BleedSpec", "HeadSpec", "MimicSpec", "PhantomSpec", "Style", "draw", "quantile_draw"
]  # fmt: skip

Wanted = tuple[Subtype, ...] | Literal["random"] | None

VENDORS: tuple[Vendor, ...] = ("GE MEDICAL SYSTEMS", "SIEMENS", "Philips", "TOSHIBA")
_EXTENT_MM = 150.0
_Z95 = 1.6449


def draw(seed: int, *, style: Style = "a", bleeds: Wanted = "random", **acquisition: object) -> PhantomSpec:
    """The phantom of this seed.

    ``bleeds``: "random" (about half of the studies have none, the others carry the RSNA mix, one to three
    subarachnoid bleeds), None, or the subtypes wanted, a bleed each. ``acquisition`` overrides fields of
    :class:`.spec.Acquisition`; ``slices`` without ``spacing_mm`` spreads them over the head. Raises TypeError
    for an unknown override.
    """
    head_rng, scan_rng, mimic_rng, bleed_rng = (
        np.random.default_rng([seed, ord(style), stream]) for stream in range(4)
    )
    vein_rng, plaque_rng = (np.random.default_rng([seed, ord(style), stream]) for stream in (4, 5))
    head = _head(head_rng, vein_rng, style)
    scan = _override(_acquisition(scan_rng, style), acquisition)
    wanted = _labels(bleed_rng) if bleeds == "random" else tuple(bleeds or ())
    drawn = tuple(_bleed(bleed_rng, subtype, style) for subtype in wanted)
    mimics = _mimics(mimic_rng, style, drawn)
    mimics = replace(mimics, names=mimics.names | _ageing(plaque_rng, style, head.atrophy))
    return PhantomSpec(seed=seed, style=style, head=head, bleeds=drawn, mimics=mimics, acquisition=scan)


def quantile_draw(rng: Generator, quantiles: tables.Quantiles, *, log: bool) -> float:
    """A draw from the two-piece (log-)normal through the 5/50/95% points, cut at 2.5 deviations."""
    low, mid, high = (math.log(q) if log else q for q in quantiles)
    z = float(np.clip(rng.standard_normal(), -2.5, 2.5))
    value = mid + z * ((high - mid) if z > 0 else (mid - low)) / _Z95
    return math.exp(value) if log else value


def _override(scan: Acquisition, changes: dict[str, object]) -> Acquisition:
    if "slices" in changes and "spacing_mm" not in changes:
        spacing = _EXTENT_MM / int(changes["slices"])  # type: ignore[call-overload]
        changes = {"spacing_mm": spacing, "thickness_mm": spacing, **changes}
    return replace(scan, **changes)  # type: ignore[arg-type]


def _head(rng: Generator, vein_rng: Generator, style: Style) -> HeadSpec:
    def uniform(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    atrophy = float(rng.beta(1.9, 1.7)) if style == "a" else float(rng.beta(2.2, 1.8))
    grey = uniform(37.0, 42.0)
    return HeadSpec(
        seed=int(rng.integers(2**31)),
        half_axes_mm=(uniform(63, 71), uniform(81, 92), uniform(70, 77)),
        exponent=uniform(2.15, 2.5) if style == "a" else uniform(2.05, 2.7),
        taper=uniform(0.05, 0.16),
        skull_mm=uniform(5.0, 8.0),
        scalp_mm=uniform(3.0, 7.5),
        atrophy=atrophy,
        ventricles=0.6 + 0.8 * atrophy + uniform(-0.1, 0.15),
        grey_hu=grey,
        white_hu=min(grey - uniform(7.0, 10.5), 33.0),
        csf_hu=uniform(4, 12),
        dura_hu=uniform(45, 60),
        sinus_hu=uniform(45, 65),
        sinus_mm=_sinus_widths(vein_rng),
        vein_mm=float(vein_rng.uniform(1.2, 3.0)),
        pneumatised=uniform(0.3, 1.0),
        dura_mm=uniform(0.4, 1.3),
        artery_hu=uniform(38, 50),
    )


def _sinus_widths(rng: Generator) -> tuple[float, float]:
    """Widths of the left and right transverse sinus, mm; in most heads the left one is the narrower."""
    kinds, shares = zip(*tables.NARROW_SINUS.items(), strict=True)
    side, of_wide = kinds[int(rng.choice(len(kinds), p=shares))]
    wide = float(rng.uniform(7.0, 12.0))
    narrow = wide * float(rng.uniform(*of_wide))
    return (wide, narrow) if side < 0 else (narrow, wide)


def _acquisition(rng: Generator, style: Style) -> Acquisition:
    spacing = float(rng.choice([2.5, 3.0, 4.0, 4.8, 5.0, 5.0, 6.0, 7.0]))
    bottom = float(rng.uniform(-72, -52))
    top = float(rng.uniform(76, 94))
    tilt = float(rng.choice([0.0, rng.uniform(4, 22)], p=[0.55, 0.45]))
    clip = lambda sd, limit: float(np.clip(rng.normal(0, sd), -limit, limit))  # noqa: E731
    sigma = float(np.clip(rng.uniform(2.3, 4.2) * math.sqrt(5.0 / spacing), 2.5, 7.0))
    peak = rng.uniform(0.22, 0.34) if style == "a" else rng.uniform(0.10, 0.20)
    return Acquisition(
        slices=int(np.clip(round((top - bottom) / spacing), 20, 60)),
        spacing_mm=spacing,
        thickness_mm=spacing,
        fov_mm=round(float(rng.uniform(222, 260)), 1),
        offset_mm=(clip(5, 15), clip(4, 10) - 5.0),
        bottom_mm=bottom,
        tilt_deg=round(tilt, 1),
        pose_deg=(clip(5, 15), clip(3.5, 12), clip(5, 12)),
        vendor=VENDORS[int(rng.integers(len(VENDORS)))],
        bone_kernel=False,
        psf_mm=float(rng.uniform(0.5, 0.8)),
        noise_hu=sigma,
        noise_peak=float(peak),
        hardening=float(rng.uniform(0.4, 2.4)),
        tail_share=float(rng.uniform(0.0, 0.14)),
        tail_mm=float(rng.uniform(1.8, 3.0)),
    )


def _labels(rng: Generator) -> tuple[Subtype, ...]:
    if rng.random() < 0.5:
        return ()
    sets, weights = zip(*tables.LABEL_SETS.items(), strict=True)
    chosen = sets[int(rng.choice(len(sets), p=np.asarray(weights) / sum(weights)))]
    foci = int(rng.integers(1, _MAX_FOCI + 1)) if Subtype.SUBARACHNOID in chosen else 1
    return tuple(s for s in SUBTYPES if s in chosen for _ in range(foci if s is Subtype.SUBARACHNOID else 1))


_SITES: dict[Subtype, dict[str, float]] = {
    Subtype.EPIDURAL: {"temporal": 0.55, "frontal": 0.2, "parietal": 0.2, "posterior_fossa": 0.05},
    Subtype.SUBDURAL: {"convexity": 0.64, "falx": 0.22, "tentorium": 0.14},
    Subtype.SUBARACHNOID: {"convexity": 0.55, "sylvian": 0.25, "basal": 0.20},
    Subtype.INTRAVENTRICULAR: {"level": 0.75, "cast": 0.25},
    Subtype.INTRAPARENCHYMAL: tables.IPH_SITES,
}

#: Old subdural blood lies over the convexity; along falx and tentorium it is this dense, HU (estimate). There
#: lies more than a third of the fresh, and so one in five of all.
FRESH_HU = 45.0
#: Places of subarachnoid blood in one head, at most: the table's volumes are of one each.
_MAX_FOCI = 3


def _bleed(rng: Generator, subtype: Subtype, style: Style) -> BleedSpec:
    table = tables.BLEEDS[subtype]
    names, shares = zip(*_SITES[subtype].items(), strict=True)
    hu = quantile_draw(rng, table.hu, log=False)
    chronic = subtype is Subtype.SUBDURAL and rng.random() < 0.15
    mixed_share = 0.25 if style == "a" else 0.4
    bleed = BleedSpec(
        subtype=subtype,
        volume_ml=quantile_draw(rng, table.volume_ml, log=True),
        hu=float(rng.uniform(10, 35)) if chronic else hu,
        side=int(rng.choice([-1, 1])),
        site=str(rng.choice(names, p=np.asarray(shares) / sum(shares))),
        seed=int(rng.integers(2**31)),
        mixed=float(rng.uniform(0.4, 1.0)) if rng.random() < mixed_share else float(rng.uniform(0, 0.25)),
        fraction=float(rng.uniform(0.4, 1.0)),
        oedema_mm=float(rng.uniform(0.0, 9.0)),
    )
    old = subtype is Subtype.SUBDURAL and bleed.hu < FRESH_HU
    return replace(bleed, site="convexity") if old else bleed


def _mimics(rng: Generator, style: Style, bleeds: tuple[BleedSpec, ...]) -> MimicSpec:
    shares = {name: share for name, share in tables.MIMICS[style].items() if name not in tables.AGEING}
    names = {name for name, share in shares.items() if rng.random() < share}
    epidural = next((b for b in bleeds if b.subtype is Subtype.EPIDURAL), None)
    share = tables.EDH_TRAUMA_SHARE if epidural else tables.TRAUMA_SHARE
    if rng.random() < share:
        names |= {"fracture", "swelling"} if rng.random() < 0.5 or epidural else {"swelling"}
    blow = (float(rng.uniform(-math.pi, math.pi)), float(rng.uniform(-0.1, 0.8)))
    if epidural and "fracture" in names:
        azimuth, height = EPIDURAL_SITES[epidural.site]
        blow = (epidural.side * math.radians(azimuth), math.radians(height + 4.0))
    return MimicSpec(seed=int(rng.integers(2**31)), names=frozenset(names), blow=blow)


def _ageing(rng: Generator, style: Style, atrophy: float) -> frozenset[str]:
    """Mimics that come with age, drawn in a fixed order and without a look at the bleeds."""
    base, slope = tables.AGEING_LINE
    shares = {name: tables.MIMICS[style][name] * (base + slope * atrophy) for name in sorted(tables.AGEING)}
    return frozenset(name for name, share in shares.items() if rng.random() < share)
