"""All coarse fields of one phantom, anatomy first, then bleeds, then the brain that they displace."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from dataclasses import fields as dataclass_fields
from typing import TypeVar

import torch
from torch import Tensor

from ich_triage.domain.labels import Subtype

from . import bleeds as grow
from .bleeds import Clot, Points
from .brain import GYRAL_WAVE_MM, Brain, brain
from .face import Face, face
from .grid import SliceGrid
from .mass_effect import displaced
from .mimics import mimics
from .noise import NoiseField
from .records import PhantomSpec
from .shapes import coverage
from .skull import Cranium, cranium
from .vessels import arteries


@dataclass(frozen=True, kw_only=True)
class Fields:
    """Coarse channels by name, each (Z * subslices, h, w); distances in mm."""

    #: everything the painter interpolates
    channels: dict[str, Tensor]
    #: bleeds in painting order; each has channels "bleed<i>" and "hu<i>"
    clots: tuple[Clot, ...]
    #: first and last row, first and last column of the working image that the channels span
    window: tuple[int, int, int, int]


def pia(head_atrophy: float, f: dict[str, Tensor]) -> Tensor:
    """Distance to the brain's surface, sulci and midline cleft folded in; positive inside, mm."""
    sulcus = torch.hypot(f["fold"], torch.relu(f["below_sulcus"])) - f["sulcus_half"]
    cleft = torch.hypot(f["midline"], torch.relu(f["undivided"])) - (1.0 + 1.3 * head_atrophy)
    return torch.minimum(torch.minimum(f["envelope"], sulcus), cleft)


def build(
    spec: PhantomSpec, grid: SliceGrid, *, working: int, samples_per_pixel: float, device: str
) -> Fields:
    """Evaluate every field of ``spec`` within the head's window of ``working``² pixels a sub-slice."""
    head = spec.head
    window = grid.window(working)
    spans = (window[1] - window[0], window[3] - window[2])
    samples = (math.ceil(spans[0] * samples_per_pixel) + 1, math.ceil(spans[1] * samples_per_pixel) + 1)
    x, y, z, patient_y = grid.points(window, working=working, samples=samples, device=device)
    seeds = NoiseField(head.seed, 4, bandwidth=0.5, device=device)
    warp = seeds.sample(x, y, z, wavelength_mm=85.0)
    points = (x + 1.6 * warp[0], y + 1.6 * warp[1], z + 0.8 * warp[2])
    wobble = seeds.sample(*points, wavelength_mm=44.0)
    shell = _by_planes(lambda x, y, z, w: cranium(head, x, y, z, w), *points, wobble)
    working_mm = grid.spacing[1] * (grid.matrix - 1) / (working - 1)
    area = working_mm**2 * spans[0] * spans[1] / ((samples[0] - 1) * (samples[1] - 1))
    voxel_ml = grid.spacing[0] / grid.subslices * area / 1e3

    clots: list[Clot] = []
    for bleed in spec.bleeds:
        maker = _SOLID.get(bleed.subtype)
        if maker:
            clots.append(maker(bleed, shell, points, patient_y, voxel_ml))
    moved = displaced(points, shell, clots)
    folds = NoiseField(head.seed + 1, 1, bandwidth=0.3, device=device)
    anatomy = _pushed(_brain(spec, shell, moved, (seeds, folds)), clots)
    extras = mimics(spec.mimics, head, shell, points, moved)
    channels = _brain_channels(anatomy) | {
        "cavity": shell.cavity,
        "vault": shell.vault,
        "outer": shell.outer,
        "skin": shell.skin - extras.swelling,
        "above_floor": shell.above_floor,
        "calcified": extras.calcified,
        "delta_hu": extras.delta_hu,
        "metal": extras.metal,
        "gap": extras.gap,
        "tumour": extras.tumour,
        "texture": seeds.sample(*points, wavelength_mm=24.0)[3],
    }
    channels["arteries"] = arteries(moved)
    if extras.plaque is not None:
        channels["plaque"] = extras.plaque
    channels |= vars(_face(spec, shell, points, seeds))
    clots += _fluid(spec, anatomy, channels, points, (patient_y, voxel_ml))
    for index, clot in enumerate(clots):
        channels[f"bleed{index}"], channels[f"hu{index}"] = clot.distance, clot.hu
    return Fields(channels=channels, clots=tuple(clots), window=window)


_SOLID = {
    Subtype.EPIDURAL: grow.epidural,
    Subtype.SUBDURAL: grow.subdural,
    Subtype.INTRAPARENCHYMAL: grow.intraparenchymal,
}


T = TypeVar("T", Cranium, Brain, Face)


def _by_planes(make: Callable[..., T], *fields: Tensor) -> T:
    """Call a pointwise maker on a few planes at a time, so that its many temporaries stay in the cache."""
    planes = fields[0].shape[0]
    step = planes if fields[0].is_cuda else max(1, 60_000 // fields[0][0].numel())
    parts = [make(*(f[..., start : start + step, :, :] for f in fields)) for start in range(0, planes, step)]
    names = [field.name for field in dataclass_fields(parts[0])]
    whole = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
    return type(parts[0])(**whole)


def _brain(spec: PhantomSpec, shell: Cranium, moved: Points, noises: tuple[NoiseField, NoiseField]) -> Brain:
    seeds, folds = noises

    def make(x: Tensor, y: Tensor, z: Tensor, cavity: Tensor) -> Brain:
        # folds run along the radius: sample them on a sphere, with a slow drift towards the depth
        share = 52.0 / (x * x + y * y + z * z).sqrt().clamp_min(6.0) + 0.5
        fold = folds.sample(x * share, y * share, z * share, wavelength_mm=GYRAL_WAVE_MM)
        broad = seeds.sample(x, y, z, wavelength_mm=36.0)
        small = seeds.sample(x, y, z, wavelength_mm=20.0)
        wobbled = (x + 0.7 * small[0], y + 0.7 * small[1], z + 0.7 * small[2])
        return brain(spec.head, cavity, wobbled, torch.stack((fold[0], small[3], broad[0], broad[1])))

    return _by_planes(make, *moved, shell.cavity)


def _pushed(anatomy: Brain, clots: list[Clot]) -> Brain:
    """The envelope yields to what lies on it, and sulci beside a bleed close."""
    envelope, half = anatomy.envelope, anatomy.sulcus_half
    for clot in clots:
        half = half * (1.0 - 0.8 * torch.exp(-clot.distance.clamp_min(0.0) / 14.0))
        if clot.spec.subtype is not Subtype.INTRAPARENCHYMAL:
            envelope = torch.minimum(envelope, clot.distance - 0.3)
    return replace(anatomy, envelope=envelope, sulcus_half=half)


def _brain_channels(anatomy: Brain) -> dict[str, Tensor]:
    below = anatomy.above_tentorium
    cerebrum = torch.relu(-below.clamp(-2.0, 0.0)) * 20.0 * (anatomy.envelope > -1e9)
    return {
        "envelope": anatomy.envelope,
        "fold": anatomy.fold,
        "below_sulcus": anatomy.below_sulcus,
        "sulcus_half": anatomy.sulcus_half,
        "midline": anatomy.midline,
        "undivided": torch.maximum(anatomy.undivided, torch.where(anatomy.no_tentorium < 12, cerebrum, -9.0)),
        "no_falx": anatomy.no_falx,
        "tent": anatomy.above_tentorium,
        "no_tent": anatomy.no_tentorium,
        "ventricles": anatomy.ventricles,
        "deep_grey": anatomy.deep_grey,
        "sinus": anatomy.sinus,
    }


def _face(spec: PhantomSpec, shell: Cranium, points: Points, seeds: NoiseField) -> Face:
    def make(x: Tensor, y: Tensor, z: Tensor, *parts: Tensor) -> Face:
        cells = seeds.sample(x, y, z, wavelength_mm=9.0)
        planes = seeds.sample(x, y, 0.6 * z, wavelength_mm=22.0)
        near = Cranium(**dict(zip(names, parts, strict=True)))
        return face(spec.head, near, (x, y, z), torch.stack((cells[0], cells[1], planes[0], planes[1])))

    names = [field.name for field in dataclass_fields(shell)]
    return _by_planes(make, *points, *(getattr(shell, name) for name in names))


def _fluid(
    spec: PhantomSpec,
    anatomy: Brain,
    channels: dict[str, Tensor],
    points: Points,
    rest: tuple[Tensor, float],
) -> list[Clot]:
    """Bleeds into CSF, which need the brain first."""
    patient_y, voxel_ml = rest
    clots: list[Clot] = []
    for bleed in spec.bleeds:
        if bleed.subtype is Subtype.INTRAVENTRICULAR:
            clots.append(grow.intraventricular(bleed, anatomy.ventricles, points, patient_y, voxel_ml))
        elif bleed.subtype is Subtype.SUBARACHNOID:
            inside = coverage(channels["cavity"] + grow.LINING_MM, 2.0) * (channels["ventricles"] > 1.0)
            space = inside * coverage(pia(spec.head.atrophy, channels), 2.2) * (channels["above_floor"] > 1.0)
            clots.append(grow.subarachnoid(bleed, space, points, patient_y, voxel_ml))
    return clots
