"""All coarse fields of one phantom, anatomy first, then bleeds, then the brain that they displace."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ich_triage.domain.labels import Subtype

from . import bleeds as grow
from .bleeds import Clot, Points
from .brain import Brain, brain
from .face import face
from .grid import SliceGrid
from .mass_effect import displaced
from .mimics import mimics
from .noise import NoiseField
from .records import PhantomSpec
from .shapes import coverage
from .skull import cranium


@dataclass(frozen=True, kw_only=True)
class Fields:
    """Coarse channels by name, each (Z * subslices, h, w); distances in mm."""

    #: everything the painter interpolates
    channels: dict[str, Tensor]
    #: bleeds in painting order; each has channels "bleed<i>" and "hu<i>"
    clots: tuple[Clot, ...]


def pia(head_atrophy: float, f: dict[str, Tensor]) -> Tensor:
    """Distance to the brain's surface, sulci and midline cleft folded in; positive inside, mm."""
    sulcus = torch.hypot(f["fold"], torch.relu(f["below_sulcus"])) - f["sulcus_half"]
    cleft = torch.hypot(f["midline"], torch.relu(f["undivided"])) - (0.7 + 1.1 * head_atrophy)
    return torch.minimum(torch.minimum(f["envelope"], sulcus), cleft)


def build(spec: PhantomSpec, grid: SliceGrid, *, rows: int, device: str) -> Fields:
    """Evaluate every field of ``spec`` on ``rows`` × ``rows`` points per sub-slice."""
    head = spec.head
    x, y, z, patient_y = grid.points(rows, device)
    seeds = NoiseField(head.seed, 4, bandwidth=0.5, device=device)
    warp = seeds.sample(x, y, z, wavelength_mm=85.0)
    points = (x + 1.6 * warp[0], y + 1.6 * warp[1], z + 1.2 * warp[2])
    shell = cranium(head, *points, seeds.sample(*points, wavelength_mm=44.0))
    voxel_ml = (
        grid.spacing[0] / grid.subslices * (grid.spacing[1] * (grid.matrix - 1) / (rows - 1)) ** 2 / 1e3
    )

    clots: list[Clot] = []
    for bleed in spec.bleeds:
        maker = _SOLID.get(bleed.subtype)
        if maker:
            clots.append(maker(bleed, shell, points, patient_y, voxel_ml))
    moved = displaced(points, shell, clots)
    anatomy = _pushed(_brain(spec, shell, moved, seeds, device), shell, clots)
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
    channels |= _face_channels(spec, shell, points, seeds)
    clots += _fluid(spec, anatomy, channels, points, (patient_y, voxel_ml))
    for index, clot in enumerate(clots):
        channels[f"bleed{index}"], channels[f"hu{index}"] = clot.distance, clot.hu
    return Fields(channels=channels, clots=tuple(clots))


_SOLID = {
    Subtype.EPIDURAL: grow.epidural,
    Subtype.SUBDURAL: grow.subdural,
    Subtype.INTRAPARENCHYMAL: grow.intraparenchymal,
}


def _brain(spec: PhantomSpec, shell: object, moved: Points, seeds: NoiseField, device: str) -> Brain:
    x, y, z = moved
    radius = (x * x + y * y + z * z).sqrt().clamp_min(6.0)
    # folds run along the radius: sample them on a sphere, with a slow drift towards the depth
    share = 62.0 / radius + 0.35
    folds = NoiseField(spec.head.seed + 1, 1, bandwidth=0.3, device=device)
    fold = folds.sample(x * share, y * share, z * share, wavelength_mm=27.0)
    broad = seeds.sample(x, y, z, wavelength_mm=36.0)
    small = seeds.sample(x, y, z, wavelength_mm=20.0)
    wobbled = (x + 0.7 * small[0], y + 0.7 * small[1], z + 0.7 * small[2])
    noise = torch.stack((fold[0], fold[0], broad[0], broad[1]))
    return brain(spec.head, shell, wobbled, noise)  # type: ignore[arg-type]


def _pushed(anatomy: Brain, shell: object, clots: list[Clot]) -> Brain:
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


def _face_channels(spec: PhantomSpec, shell: object, points: Points, seeds: NoiseField) -> dict[str, Tensor]:
    x, y, z = points
    cells = seeds.sample(x, y, z, wavelength_mm=9.0)
    planes = seeds.sample(x, y, z, wavelength_mm=22.0)
    noise = torch.stack((cells[0], cells[1], planes[0], planes[1]))
    parts = face(spec.head, shell, points, noise)  # type: ignore[arg-type]
    return {
        "bone": parts.bone,
        "density": parts.density,
        "air": parts.air,
        "fat": parts.fat,
        "globe": parts.globe,
    }


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
            clots.append(grow.intraventricular(bleed, anatomy, points, patient_y, voxel_ml))
        elif bleed.subtype is Subtype.SUBARACHNOID:
            inside = coverage(channels["cavity"], 2.0) * (channels["ventricles"] > 1.0)
            space = inside * coverage(pia(spec.head.atrophy, channels), 2.2) * (channels["above_floor"] > 1.0)
            clots.append(grow.subarachnoid(bleed, space, points, patient_y, voxel_ml))
    return clots
