"""What phantoms training draws: bleeds, mimics and scanners in other shares than life has."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from ich_triage.domain.labels import SUBTYPES, Subtype
from ich_triage.phantom.records import BleedSpec, PhantomSpec, Style
from ich_triage.phantom.spec import FRESH_HU, Wanted, draw

from .drawn import code_sha256

#: Mimics that training studies carry more often, and the share of studies that gets each on top.
_MORE_MIMICS = (
    "infarct", "white_matter", "tumour", "falx", "ganglia", "dense_sinus", "carotid", "vertebral",
    "fracture", "swelling",
)  # fmt: skip
_MIMIC_SHARE = 0.15
#: What networks miss: how much of it each subtype is, and how dense it is, HU; None: as in life.
_FAINT: dict[Subtype, tuple[float, tuple[float, float] | None]] = {
    Subtype.SUBDURAL: (0.45, (12.0, FRESH_HU)),
    Subtype.SUBARACHNOID: (0.30, None),
    Subtype.INTRAPARENCHYMAL: (0.15, (28.0, 44.0)),
    Subtype.INTRAVENTRICULAR: (0.10, (22.0, 36.0)),
}
#: How far a head turns, leans and nods against the slices where it lies askew, degrees.
_ASKEW_DEG = (18.0, 12.0, 16.0)


def training_spec(seed: int, *, style: Style = "a") -> PhantomSpec:
    """The phantom of a training seed, with rare and faint bleeds drawn more often than in life.

    One in five has no bleed; one in five one or two faint ones, which networks miss; one in five the RSNA mix
    (half of which again has none); the others one to four bleeds, each subtype as likely as the next: a head
    costs the same to draw with many. Of the latter two one bleed in three is large and dense: faint specks
    alone teach a network too slowly at first. Dark and dense mimics, fractures and swellings are commoner
    than in life, with and without a bleed: they are what it takes for one in a real head. One head in two is
    unusual, and lies and is scanned as few are.
    """
    rng = np.random.default_rng([seed, 77])
    share = rng.random()
    several: Wanted = tuple(SUBTYPES[k] for k in rng.integers(len(SUBTYPES), size=rng.integers(1, 5)))
    if 0.20 <= share < 0.40:
        return _unusual(_with_mimics(_faint(seed, style), rng))
    wanted = None if share < 0.20 else "random" if share < 0.60 else several
    spec = _with_mimics(draw(seed, style=style, bleeds=wanted), rng)
    bleeds = tuple(_conspicuous(bleed, rng) if rng.random() < 1 / 3 else bleed for bleed in spec.bleeds)
    return _unusual(replace(spec, bleeds=bleeds))


def _with_mimics(spec: PhantomSpec, rng: np.random.Generator) -> PhantomSpec:
    more = {name for name in _MORE_MIMICS if rng.random() < _MIMIC_SHARE}
    return replace(spec, mimics=replace(spec.mimics, names=spec.mimics.names | more))


def _faint(seed: int, style: Style) -> PhantomSpec:
    """A head with one or two of the bleeds that are hardest to see, half of the larger kinds large."""
    rng = np.random.default_rng([seed, 78])
    kinds = rng.choice(list(_FAINT), p=[share for share, _ in _FAINT.values()], size=rng.integers(1, 3))
    spec = draw(seed, style=style, bleeds=tuple(Subtype(kind) for kind in kinds))
    return replace(spec, bleeds=tuple(_pale(each, rng) for each in spec.bleeds))


def _pale(bleed: BleedSpec, rng: np.random.Generator) -> BleedSpec:
    """The same bleed about as dense as what lies around it; a subarachnoid one is hard to see as it is."""
    hu = _FAINT[bleed.subtype][1]
    if hu is None:
        return bleed
    large = _large_ml(rng) if rng.random() < 1 / 2 else 0.0
    pale = replace(bleed, volume_ml=max(bleed.volume_ml, large), hu=float(rng.uniform(*hu)))
    return replace(pale, site="convexity") if bleed.subtype is Subtype.SUBDURAL else pale


def _large_ml(rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(np.log(4), np.log(40))))


def _conspicuous(bleed: BleedSpec, rng: np.random.Generator) -> BleedSpec:
    """The same bleed, at least some millilitres large and as dense as fresh clot."""
    large, dense = _large_ml(rng), float(rng.uniform(55, 75))
    return replace(bleed, volume_ml=max(bleed.volume_ml, large), hu=max(bleed.hu, dense), fraction=1.0)


def _unusual(spec: PhantomSpec) -> PhantomSpec:
    """The same bleeds; one in two in a head askew, in a scanner at the edge of what there is, or past it.

    Slices that overlap, a wide tail of the point spread and a head that turns, leans or nods each make a
    network surer of blood where none is, and most of all together (train/LOG.md, 2026-11-30 14:50). What
    makes style "b" stays as it is, so that no training study is like the held-out ones.
    """
    rng = np.random.default_rng([spec.seed, 79])
    if rng.random() < 1 / 2:
        return spec
    turn, lean, nod = (float(rng.uniform(-most, most)) for most in _ASKEW_DEG)
    head = replace(
        spec.head,
        skull_mm=float(rng.uniform(4.5, 10.0)),
        scalp_mm=float(rng.uniform(2.0, 10.0)),
        dura_mm=float(rng.uniform(0.4, 1.6)),
        dura_hu=float(rng.uniform(45.0, 65.0)),
        artery_hu=float(rng.uniform(38.0, 55.0)),
        sinus_hu=float(rng.uniform(45.0, 70.0)),
    )
    return replace(spec, head=head).with_acquisition(
        pose_deg=(turn, lean, nod),
        thickness_mm=spec.acquisition.spacing_mm * float(rng.uniform(1.0, 1.6)),
        psf_mm=float(rng.uniform(0.5, 1.0)),
        tail_share=float(rng.uniform(0.0, 0.25)),
        hardening=float(rng.uniform(0.4, 4.0)),
        noise_hu=float(rng.uniform(1.5, 7.0)),
    )


@functools.cache
def mix_sha256() -> str:
    """Hash of the code that a training seed's case follows from."""
    return hashlib.sha256(code_sha256().encode() + Path(__file__).read_bytes()).hexdigest()
