"""Phantoms as cases: how a phantom becomes what the network sees."""

from __future__ import annotations

import functools
import hashlib
import itertools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ich_triage import imaging
from ich_triage import phantom as generator
from ich_triage.domain.finding import ImageReference, Vector3
from ich_triage.domain.input_spec import InputSpec
from ich_triage.imaging.volume import InPlane, Volume
from ich_triage.phantom.generate import Phantom, generate
from ich_triage.phantom.records import PhantomSpec

from .cases import Case, Facts, Pixels
from .gates import features

#: First seed of each part of the embedded package, which has at most `PART_SEEDS`; parts share no phantom.
FIRST_SEED = {"train": 0, "calibration": 1_000_000, "test": 2_000_000, "held_out": 3_000_000}
PART_SEEDS = 1_000_000
#: Modules (their folder, which files) that decide what a case looks like.
_CASE_CODE = ((generator, "*"), (imaging, "prepare"), (imaging, "windows"))


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
    """Hash of the code that a drawn case and its labels follow from."""
    return hashlib.sha256(generator_sha256().encode() + Path(__file__).read_bytes()).hexdigest()


def _vector(values: NDArray[np.float64]) -> Vector3:
    x, y, z = values.tolist()
    return (x, y, z)
