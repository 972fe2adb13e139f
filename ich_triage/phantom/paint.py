"""HU and bleed shares of fine voxels from interpolated fields, tissue over tissue with partial volume."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ich_triage.domain.labels import SUBTYPES, Subtype

from .bleeds import Clot
from .fields import pia
from .records import PhantomSpec
from .shapes import coverage
from .vessels import ARTERY_HU, VEIN_HU

AIR_HU, FAT_HU, SOFT_HU, METAL_HU = -1000.0, -95.0, 48.0, 3000.0
#: thickness of a calcified artery's wall
PLAQUE_MM = 1.4

Channels = dict[str, Tensor]


class Painted(NamedTuple):
    """Voxels of one slab."""

    #: HU, (…)
    hu: Tensor
    #: share of each bleed subtype, (5, …)
    shares: Tensor
    #: HU by which that share stands out from what a reader compares it with, times the share, (5, …)
    contrasts: Tensor


def paint(spec: PhantomSpec, f: Channels, clots: tuple[Clot, ...], width_mm: float) -> Painted:
    """Tissue over tissue for voxels ``width_mm`` wide."""
    hu = _outside(f, width_mm)
    hu = _lerp(hu, _bone_hu(f), _vault_share(f, width_mm))
    inside = coverage(f["cavity"], width_mm)
    brain_hu = _intracranial(spec, f, clots, width_mm)
    shares = torch.zeros((len(SUBTYPES), *hu.shape), device=hu.device)
    contrasts = torch.zeros_like(shares)
    for index, clot in enumerate(clots):
        share = _bleed_share(spec, clot, f, index, width_mm)
        subtype, seen = SUBTYPES.index(clot.spec.subtype), share * inside
        contrasts[subtype] += seen * _contrast(spec, clot, f[f"hu{index}"], brain_hu)
        brain_hu = _lerp(brain_hu, f[f"hu{index}"], share)
        shares[subtype] += seen
    calcified = coverage(f["calcified"], width_mm)
    brain_hu = _lerp(brain_hu, 190.0 + 60.0 * f["texture"], calcified)
    if "plaque" in f:
        wall = torch.maximum(f["arteries"].abs() - PLAQUE_MM / 2, f["plaque"])
        brain_hu = _lerp(
            brain_hu, (415.0 + 285.0 * f["texture"]).clamp(130.0, 700.0), coverage(wall, width_mm)
        )
    hu = _lerp(hu, brain_hu, inside)
    if "metal" in spec.mimics.names:
        hu = _lerp(hu, METAL_HU, coverage(f["metal"], width_mm))
    return Painted(hu=hu, shares=shares.clamp_(0.0, 1.0), contrasts=contrasts)


def _contrast(spec: PhantomSpec, clot: Clot, blood_hu: Tensor, under_hu: Tensor) -> Tensor:
    """HU between blood and what a reader holds it against.

    Within brain and ventricles it is what the blood has taken the place of: every head has that there. Around
    the brain it is cortex, and the fluid that an old collection could pass for: nobody knows how wide the
    space beneath the skull, or a sulcus, was before.
    """
    if clot.spec.subtype in (Subtype.INTRAPARENCHYMAL, Subtype.INTRAVENTRICULAR):
        return (blood_hu - under_hu).abs()
    return torch.minimum((blood_hu - spec.head.grey_hu).abs(), (blood_hu - spec.head.csf_hu).abs())


def _lerp(under: Tensor, over: Tensor | float, share: Tensor) -> Tensor:
    return under + share * (over - under)


def _outside(f: Channels, width: float) -> Tensor:
    """Soft tissue, fat, orbits, facial bone and air spaces."""
    skin = coverage(f["skin"], width)
    soft = SOFT_HU + 6.0 * f["texture"]
    soft = _lerp(soft, FAT_HU + 10.0 * f["texture"], coverage(f["fat"], 1.6))
    soft = _lerp(soft, 45.0, coverage((f["globe"] + 0.8).abs() - 0.8, width))
    soft = _lerp(soft, 9.0, coverage(f["globe"] + 1.6, width))
    edge = (-f["bone"] / 2.2).clamp(0.0, 1.0)
    marrow = 250.0 + 120.0 * f["texture"] + 900.0 * f["density"]
    bone = 950.0 + 500.0 * f["density"] + (marrow - 950.0 - 500.0 * f["density"]) * edge
    soft = _lerp(soft, bone, coverage(f["bone"], width))
    soft = _lerp(soft, AIR_HU, coverage(f["air"], width))
    return _lerp(torch.full_like(soft, AIR_HU), soft, skin)


def _vault_share(f: Channels, width: float) -> Tensor:
    shell = torch.maximum(f["outer"], -f["vault"])
    shell = torch.maximum(shell, -f["above_floor"] - 5.0)
    shell = torch.maximum(shell, -f["gap"])
    return coverage(shell, width) * (1.0 - coverage(f["air"], width))


def _bone_hu(f: Channels) -> Tensor:
    """Dense outer and inner table, spongy diploë between."""
    depth = torch.minimum(f["vault"], -f["outer"])
    spongy = ((depth - 1.3) / 1.0).clamp(0.0, 1.0)
    return 1450.0 + spongy * (620.0 + 170.0 * f["texture"] - 1450.0)


def _intracranial(spec: PhantomSpec, f: Channels, clots: tuple[Clot, ...], width: float) -> Tensor:
    head = spec.head
    surface = pia(head.atrophy, f)
    white = (0.5 + (surface - 3.2) / 1.6).clamp(0.0, 1.0) * (1.0 - coverage(f["deep_grey"], 2.0))
    tissue = head.grey_hu + 0.9 * f["texture"] + white * (head.white_hu - head.grey_hu)
    tissue = tissue + f["delta_hu"] * (0.35 + 0.65 * white) + _oedema(f, clots, white)
    hu = _lerp(torch.full_like(tissue, head.csf_hu), tissue, coverage(-surface, width))
    hu = _lerp(hu, head.csf_hu, coverage(f["ventricles"], width))
    hu = _lerp(hu, head.grey_hu + 3.0, coverage(f["tumour"], width))
    falx = torch.maximum(f["midline"].abs() - 0.55, f["no_falx"])
    tentorium = torch.maximum(f["tent"].abs() - 0.6, f["no_tent"])
    lining = -f["cavity"] - head.dura_mm
    dura = torch.stack([coverage(sheet, width) for sheet in (falx, tentorium, lining)]).amax(0)
    hu = _lerp(hu, head.dura_hu, dura)
    sinus = head.sinus_hu + 2.0 * f["texture"] + (16.0 if "dense_sinus" in spec.mimics.names else 0.0)
    contrast = spec.acquisition.contrast
    hu = _lerp(hu, VEIN_HU if contrast else sinus, coverage(f["sinus"], width))
    return _lerp(hu, ARTERY_HU if contrast else head.artery_hu, coverage(f["arteries"], width))


def _oedema(f: Channels, clots: tuple[Clot, ...], white: Tensor) -> Tensor:
    """Fall of HU in the rim of a bleed within the brain, deepest in white matter."""
    fall = torch.zeros_like(white)
    for index, clot in enumerate(clots):
        if clot.spec.subtype is Subtype.INTRAPARENCHYMAL and clot.spec.oedema_mm > 0.5:
            reach = clot.spec.oedema_mm * (1.0 + 0.3 * f["texture"])
            fall = torch.maximum(fall, ((reach - f[f"bleed{index}"]) / 2.5).clamp(0.0, 1.0))
    return -fall * (8.0 + 2.0 * white)


def _bleed_share(spec: PhantomSpec, clot: Clot, f: Channels, index: int, width: float) -> Tensor:
    distance = f[f"bleed{index}"]
    subtype = clot.spec.subtype
    if subtype is Subtype.INTRAVENTRICULAR:
        return coverage(torch.maximum(distance, f["ventricles"]), width)
    if subtype is Subtype.SUBARACHNOID:
        gap = coverage(pia(spec.head.atrophy, f), width) * coverage(-f["ventricles"] + 1.0, width)
        patchy = clot.spec.fraction + (1.0 - clot.spec.fraction) * (0.7 + f["texture"]).clamp(0.0, 1.0)
        return gap * (-distance / 6.0 + 0.5).clamp(0.0, 1.0) * patchy
    if subtype is Subtype.INTRAPARENCHYMAL:
        return coverage(distance, width) * (1.0 - coverage(f["ventricles"], width))
    return coverage(distance, width)
