"""Phantoms as cases: what training draws, and how a phantom becomes what the network sees."""

from __future__ import annotations

import functools
import hashlib
import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ich_triage import imaging
from ich_triage import phantom as generator
from ich_triage.domain.finding import ImageReference, Vector3
from ich_triage.domain.input_spec import InputSpec
from ich_triage.domain.labels import SUBTYPES, Subtype
from ich_triage.imaging.volume import InPlane, Volume
from ich_triage.phantom.generate import Phantom, generate
from ich_triage.phantom.records import BleedSpec, PhantomSpec, Style
from ich_triage.phantom.spec import FRESH_HU, Wanted, draw

from .cases import Case, Facts, Pixels
from .gates import features

#: First seed of each part of the embedded package, which has at most `PART_SEEDS`; parts share no phantom.
FIRST_SEED = {"train": 0, "calibration": 1_000_000, "test": 2_000_000, "held_out": 3_000_000}
PART_SEEDS = 1_000_000
#: Modules (their folder, which files) that decide what a case looks like.
_CASE_CODE = ((generator, "*"), (imaging, "prepare"), (imaging, "windows"))
#: Mimics that training studies carry more often, and the share of studies that gets each on top.
_MORE_MIMICS = ("infarct", "white_matter", "tumour", "falx", "ganglia", "dense_sinus", "carotid", "vertebral")
_MIMIC_SHARE = 0.15


def training_spec(seed: int, *, style: Style = "a") -> PhantomSpec:
    """The phantom of a training seed, with rare and faint bleeds drawn more often than in life.

    One in five has no bleed; one in five what networks miss, one or two old subdural or subarachnoid ones;
    one in five the RSNA mix (half of which again has none); the others one to four bleeds, each subtype as
    likely as the next: a head costs the same to draw with many. Of the latter two one bleed in three is large
    and dense: faint specks alone teach a network too slowly to begin with. Dark and dense mimics are commoner
    than in life, with and without a bleed: they are what it takes for one in a real head.
    """
    rng = np.random.default_rng([seed, 77])
    share = rng.random()
    several: Wanted = tuple(SUBTYPES[k] for k in rng.integers(len(SUBTYPES), size=rng.integers(1, 5)))
    if 0.20 <= share < 0.40:
        return _with_mimics(_faint(seed, style), rng)
    wanted = None if share < 0.20 else "random" if share < 0.60 else several
    spec = _with_mimics(draw(seed, style=style, bleeds=wanted), rng)
    bleeds = tuple(_conspicuous(bleed, rng) if rng.random() < 1 / 3 else bleed for bleed in spec.bleeds)
    return replace(spec, bleeds=bleeds)


def _with_mimics(spec: PhantomSpec, rng: np.random.Generator) -> PhantomSpec:
    more = {name for name in _MORE_MIMICS if rng.random() < _MIMIC_SHARE}
    return replace(spec, mimics=replace(spec.mimics, names=spec.mimics.names | more))


def _faint(seed: int, style: Style) -> PhantomSpec:
    """A head with one or two of the bleeds that are hardest to see, half of the subdurals large."""
    rng = np.random.default_rng([seed, 78])
    kinds = rng.choice([Subtype.SUBDURAL, Subtype.SUBARACHNOID], p=[0.6, 0.4], size=rng.integers(1, 3))
    spec = draw(seed, style=style, bleeds=tuple(Subtype(kind) for kind in kinds))
    bleeds = tuple(_old(each, rng) if each.subtype is Subtype.SUBDURAL else each for each in spec.bleeds)
    return replace(spec, bleeds=bleeds)


def _old(bleed: BleedSpec, rng: np.random.Generator) -> BleedSpec:
    """The same subdural, between CSF and cortex in density or just above, where such lie."""
    large = _large_ml(rng) if rng.random() < 1 / 2 else 0.0
    hu = float(rng.uniform(12, FRESH_HU))
    return replace(bleed, volume_ml=max(bleed.volume_ml, large), hu=hu, site="convexity")


def _large_ml(rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(np.log(4), np.log(40))))


def _conspicuous(bleed: BleedSpec, rng: np.random.Generator) -> BleedSpec:
    """The same bleed, at least some millilitres large and as dense as fresh clot."""
    large, dense = _large_ml(rng), float(rng.uniform(55, 75))
    return replace(bleed, volume_ml=max(bleed.volume_ml, large), hu=max(bleed.hu, dense), fraction=1.0)


def to_volume(phantom: Phantom) -> Volume:
    """A phantom as the volume that a received study becomes; its orientation is the canonical one already."""
    x, y = np.array(phantom.orientation).reshape(2, 3)
    normal = np.cross(x, y)
    scan = phantom.spec.acquisition
    return Volume(
        series_instance_uid="",
        hu=phantom.hu.numpy(),
        positions_mm=phantom.positions @ normal,
        thickness_mm=np.full(len(phantom.hu), scan.thickness_mm),
        pixel_spacing=(phantom.spacing[1], phantom.spacing[2]),
        row=_vector(x),
        column=_vector(y),
        normal=_vector(normal),
        image_positions=phantom.positions,
        tilt_deg=phantom.tilt_deg,
        in_plane=InPlane(),
        images=tuple(
            ImageReference(sop_class_uid="", sop_instance_uid=str(z)) for z in range(len(phantom.hu))
        ),
    )


def to_case(phantom: Phantom, spec: InputSpec, *, baselines: bool = False) -> Case:
    """Prepare a phantom exactly as a received study is prepared; `baselines` notes what the gates need."""
    seen = features(phantom) if baselines else None
    volume = to_volume(phantom)
    pixels = Pixels.of(volume, spec)
    labels = phantom.truth.slice_labels.numpy().astype(np.float32)
    return Case(
        x=pixels.x,
        masks=pixels.masks(phantom.masks),
        labels=labels,
        study=labels.max(axis=0),
        images=np.full(len(labels), ""),
        height=pixels.height,
        facts=Facts(
            seed=phantom.spec.seed,
            style=phantom.spec.style,
            true_ml=tuple(volume.volume_ml(mask.numpy()) for mask in phantom.masks),
            slice_mm=tuple(volume.slice_extents_mm().tolist()),
            cell_mm2=pixels.cell_mm2,
            thickness_mm=phantom.spec.acquisition.thickness_mm,
            tilt_deg=phantom.tilt_deg,
            metadata=tuple(seen.metadata.tolist()) if seen else (),
            outside=tuple(seen.outside.tolist()) if seen else (),
            hyperdense_ml=seen.hyperdense_ml if seen else 0.0,
        ),
    )


def draw_case(path: Path, phantom: PhantomSpec, spec: InputSpec, *, matrix: int, baselines: bool) -> None:
    """Make one case of `matrix`² pixels per slice and keep it at `path`."""
    to_case(generate(phantom, matrix=matrix), spec, baselines=baselines).save(path)


@functools.cache
def generator_sha256() -> str:
    """Hash of the code that makes cases, as it was when the command started."""
    code = hashlib.sha256()
    folders = [Path(str(module.__file__)).parent.glob(f"{name}.py") for module, name in _CASE_CODE]
    for file in sorted(itertools.chain.from_iterable(folders)):
        code.update(file.read_bytes())
    return code.hexdigest()


@functools.cache
def code_sha256() -> str:
    """Hash of the code that a drawn case and its labels follow from, the mixes of this module included."""
    return hashlib.sha256(generator_sha256().encode() + Path(__file__).read_bytes()).hexdigest()


def _vector(values: NDArray[np.float64]) -> Vector3:
    x, y, z = values.tolist()
    return (x, y, z)
