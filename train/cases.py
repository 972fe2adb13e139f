"""Labelled studies as the network sees them: drawn from the phantom once, prepared, and kept in a folder."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter
from torch import Tensor
from torch.nn import functional as F

from ich_triage.domain.finding import ImageReference, Vector3
from ich_triage.domain.input_spec import InputSpec
from ich_triage.domain.labels import SUBTYPES
from ich_triage.imaging.prepare import Prepared, prepare
from ich_triage.imaging.volume import InPlane, Volume
from ich_triage.model.network import MASK_STRIDE, relative_height
from ich_triage.phantom.generate import Phantom, generate
from ich_triage.phantom.records import BleedSpec, PhantomSpec
from ich_triage.phantom.spec import Wanted, draw

from .gates import features

#: Mimics that training studies carry more often, and the share of studies that gets each on top.
_MORE_MIMICS = ("infarct", "white_matter", "tumour", "falx", "ganglia", "dense_sinus", "carotid", "vertebral")
_MIMIC_SHARE = 0.15


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a study beyond its pixels; never an input of the network."""

    #: seed of the phantom
    seed: int
    #: generator style
    style: str
    #: true volume of each subtype, mL
    true_ml: tuple[float, ...]
    #: what each slice stands for along the normal, mm
    slice_mm: tuple[float, ...]
    #: area of one cell of the mask grid, mm²
    cell_mm2: float
    #: slice thickness, mm
    thickness_mm: float
    #: gantry tilt, degrees
    tilt_deg: float
    #: header fields as numbers, for the metadata-only gate; empty for training
    metadata: tuple[float, ...] = ()
    #: volume in HU bands outside the brain, mL, for the outside-the-skull gate; empty for training
    outside: tuple[float, ...] = ()
    #: what is 50 to 90 HU within the skull, mL: the baseline that counts bright voxels
    hyperdense_ml: float = 0.0


_FACTS = TypeAdapter(Facts)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One labelled study, prepared. Slices go from feet to head."""

    #: network input, (Z, C, S, S), 0..255
    x: NDArray[np.uint8]
    #: share of each mask cell that a subtype fills, (Z, 5, S/4, S/4), 0..255
    masks: NDArray[np.uint8]
    #: slice labels in the order of `LABELS`, (Z, 6)
    labels: NDArray[np.bool_]
    #: relative height of each slice, (Z,) in 0..1
    height: NDArray[np.float32]
    #: what else is known
    facts: Facts

    def save(self, path: Path) -> None:
        """Write `path` and, beside it, the input, so that a few slices can be read alone.

        `path` comes last and whole: where it is, the case is.
        """
        rest = {name: value for name, value in vars(self).items() if name not in {"x", "facts"}}
        partial = path.with_suffix(f".{os.getpid()}.part")
        np.save(_input_path(path), self.x)
        with partial.open("wb") as file:
            np.savez(file, facts=json.dumps(asdict(self.facts)), **rest)
        partial.rename(path)

    @classmethod
    def load(cls, path: Path) -> Case:
        """Read what `save` wrote; the input is mapped, not read."""
        with np.load(path) as stored:
            values = {name: stored[name] for name in stored.files}
        facts = _FACTS.validate_json(str(values.pop("facts")))
        return cls(x=load_input(path), facts=facts, **values)


def load_input(path: Path) -> NDArray[np.uint8]:
    """The input alone of the case at `path`, mapped, not read."""
    found: NDArray[np.uint8] = np.load(_input_path(path), mmap_mode="r")
    return found


def _input_path(path: Path) -> Path:
    return path.with_suffix(".npy")


def training_spec(seed: int) -> PhantomSpec:
    """The phantom of a training seed: style "a", with rare subtypes drawn more often than in life.

    Two in five have no bleed, one in four the RSNA mix (half of which again has none), the others exactly
    one subtype, each as likely as the next. Half of those with a bleed have it large and dense: faint specks
    alone teach a network too slowly to begin with. Dark and dense mimics are commoner than in life, with and
    without a bleed: they are what it takes for one in a real head.
    """
    rng = np.random.default_rng([seed, 77])
    share = rng.random()
    one: Wanted = (SUBTYPES[int(rng.integers(len(SUBTYPES)))],)
    wanted = None if share < 0.40 else "random" if share < 0.65 else one
    spec = draw(seed, bleeds=wanted)
    more = {name for name in _MORE_MIMICS if rng.random() < _MIMIC_SHARE}
    spec = replace(spec, mimics=replace(spec.mimics, names=spec.mimics.names | more))
    if rng.random() < 0.5:
        return spec
    return replace(spec, bleeds=tuple(_conspicuous(bleed, rng) for bleed in spec.bleeds))


def _conspicuous(bleed: BleedSpec, rng: np.random.Generator) -> BleedSpec:
    """The same bleed, at least some millilitres large and as dense as fresh clot."""
    large, dense = float(np.exp(rng.uniform(np.log(4), np.log(40)))), float(rng.uniform(55, 75))
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
    prepared = prepare(volume.hu, volume.positions_mm, volume.pixel_spacing, spec)
    cells = spec.size // MASK_STRIDE
    cell_mm2 = prepared.box.height * prepared.box.width * float(np.prod(volume.pixel_spacing)) / cells**2
    return Case(
        x=_bytes(prepared.tensor),
        masks=_bytes(_on_network_grid(phantom.masks, prepared, cells)),
        labels=phantom.truth.slice_labels.numpy(),
        height=relative_height(volume.positions_mm),
        facts=Facts(
            seed=phantom.spec.seed,
            style=phantom.spec.style,
            true_ml=tuple(volume.volume_ml(mask.numpy()) for mask in phantom.masks),
            slice_mm=tuple(volume.slice_extents_mm().tolist()),
            cell_mm2=cell_mm2,
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


def _vector(values: NDArray[np.float64]) -> Vector3:
    x, y, z = values.tolist()
    return (x, y, z)


def _bytes(values: Tensor) -> NDArray[np.uint8]:
    return (values * 255).round().to(torch.uint8).numpy()


def _on_network_grid(masks: Tensor, prepared: Prepared, size: int) -> Tensor:
    """(5, Z, Y, X) bool to the share of each cell of the network's grid, (Z, 5, size, size)."""
    box, (rows, columns) = prepared.box, prepared.shape
    pad = (-box.left, box.left + box.width - columns, -box.top, box.top + box.height - rows)
    cropped = F.pad(masks.transpose(0, 1).float(), pad)  # a negative pad cuts
    return F.interpolate(cropped, size=(size, size), mode="bilinear", align_corners=False, antialias=True)
