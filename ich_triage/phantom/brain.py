"""Brain, ventricles, cisterns and dura as signed fields on the (displaced) head coordinates.

Fields with a crease at their zero set (folds, midline, tentorium) are kept signed here and folded on the
fine grid, so that sheets thinner than the coarse sampling survive interpolation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .records import HeadSpec
from .shapes import capsule, chain, ellipsoid, smooth_min
from .skull import tentorium_height
from .vessels import veins

#: gyral spacing: two sulci per wavelength
GYRAL_WAVE_MM = 27.0
#: slope of the fold noise at its zero crossings, 1/mm (unit variance, narrow band)
_FOLD_SLOPE = 2.0 * 3.14159 / GYRAL_WAVE_MM * 0.8


@dataclass(frozen=True, kw_only=True)
class Brain:
    """Signed fields, mm."""

    #: depth under the outer envelope of cerebrum, cerebellum and brainstem; positive inside
    envelope: Tensor
    #: signed distance to the nearest sulcus' middle sheet
    fold: Tensor
    #: envelope depth minus the local depth of sulci: positive below the bottom of a sulcus
    below_sulcus: Tensor
    #: half-width of sulci
    sulcus_half: Tensor
    #: signed distance to the midline sheet
    midline: Tensor
    #: how deep inside the undivided middle (callosum, thalami) a point lies; positive inside
    undivided: Tensor
    #: positive where the falx does not reach
    no_falx: Tensor
    #: height above the tentorium
    above_tentorium: Tensor
    #: positive where the tentorium does not reach
    no_tentorium: Tensor
    #: ventricles, negative inside
    ventricles: Tensor
    #: deep grey nuclei and brainstem, negative inside
    deep_grey: Tensor
    #: venous sinuses and the veins at the vertex, negative inside
    sinus: Tensor
    #: cisterns about the brainstem, and Sylvian fissures; negative inside
    cistern: Tensor


def brain(head: HeadSpec, cavity: Tensor, points: tuple[Tensor, Tensor, Tensor], noise: Tensor) -> Brain:
    """``points``: displaced by mass effect. ``noise`` (4, …), unit variance: folds, fine, two broad ones."""
    x, y, z = points
    above = z - tentorium_height(x, y)
    stem = _brainstem(x, y, z)
    cistern = _cisterns(head, points, stem, noise)
    # brain lies against the dura where the head is young, and in places where it is old
    gap = 0.2 + 3.4 * head.atrophy**2 * (1.0 + 0.8 * noise[3]).clamp_min(0.0)
    depth = -cavity - head.dura_mm - gap
    cerebrum, cerebellum = _envelopes(head, depth, points, above, stem, cistern)
    envelope = torch.maximum(torch.maximum(cerebrum, cerebellum), -stem)
    undivided = _undivided(y, z)
    is_cerebrum = cerebrum > torch.maximum(cerebellum, -stem)
    sulcal_depth = torch.where(is_cerebrum, 13.0 + 6.0 * noise[2], 1.5)
    half = 0.35 + 1.25 * head.atrophy**1.5 * (1.0 + 0.5 * noise[3]).clamp_min(0.1)
    return Brain(
        envelope=envelope,
        fold=noise[0] / _FOLD_SLOPE,
        below_sulcus=torch.where(is_cerebrum, cerebrum, envelope) - sulcal_depth.clamp_min(1.0),
        sulcus_half=half,
        midline=x,
        undivided=undivided,
        no_falx=_no_falx(y, z, above),
        above_tentorium=above,
        no_tentorium=_incisura(x, y),
        ventricles=_ventricles(head, x, y, z),
        deep_grey=torch.minimum(_deep_grey(x, y, z), stem),
        sinus=veins(head, cavity, points, above, noise),
        cistern=cistern,
    )


def _envelopes(
    head: HeadSpec,
    depth: Tensor,
    points: tuple[Tensor, Tensor, Tensor],
    above: Tensor,
    stem: Tensor,
    cistern: Tensor,
) -> tuple[Tensor, Tensor]:
    x, y, z = points
    # within the incisura thalami and callosum come down to the midbrain
    over = torch.maximum(above - 1.0, torch.minimum(_incisura(x, y), z + 2.0))
    over = torch.where(y > -2.0, over, torch.full_like(above, 40.0))
    around = torch.where(z < -4.0, stem - 3.0, torch.full_like(stem, 40.0))
    # the temporal lobes reach down beside the stem in front of the petrous ridge
    over = torch.maximum(over, torch.minimum(8.0 - y + 0.62 * x.abs() - 8.0, x.abs() - 9.0))
    cerebrum = torch.minimum(torch.minimum(depth, over), torch.minimum(around, cistern - 0.3))
    cerebellum = torch.minimum(torch.minimum(depth, -above - 1.5), stem + 2.5)
    body = ellipsoid(x, y, z, (0, 46, -30), (57, 42, 40))
    vallecula = capsule(x, y, z, ((0, 70, -50), (0, 40, -58)), (2.5 + 2 * head.atrophy, 3.5))
    cerebellum = torch.minimum(torch.minimum(cerebellum, -body), vallecula)
    cerebellum = torch.where(y > 12.0, cerebellum, torch.full_like(cerebellum, -9.0))
    return cerebrum, cerebellum


def _brainstem(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    midbrain = ellipsoid(x, y, z, (0, 8, -9), (17.0, 12.5, 11.0))
    pons = ellipsoid(x, y, z, (0, 10, -28), (16.0, 13.0, 14.0))
    medulla = capsule(x, y, z, ((0, 14, -40), (0, 24, -70)), (9.0, 6.5))
    cord = capsule(x, y, z, ((0, 24, -70), (0, 28, -120)), (6.5, 6.0))
    arms = ellipsoid(x.abs(), y, z, (20, 22, -32), (13.0, 11.0, 9.0))
    stem = smooth_min(smooth_min(midbrain, pons, 4.0), torch.minimum(medulla, cord), 4.0)
    return smooth_min(stem, arms, 3.0)


def _cisterns(head: HeadSpec, points: tuple[Tensor, Tensor, Tensor], stem: Tensor, noise: Tensor) -> Tensor:
    x, y, z = points
    ax, wide = x.abs(), 0.75 + 0.6 * head.atrophy
    star = ellipsoid(x, y, z, (0, -14, -17), (11.5 * wide, 10.0 * wide, 6.0))
    arms = capsule(ax, y, z, ((6, -18, -16), (30, -24, -10)), (2.6 * wide, 2.2 * wide))
    between = capsule(ax, y, z, ((0, -6, -18), (0, 0, -14)), (4.5 * wide, 3.0 * wide))
    ambient = torch.maximum(stem - 2.6 * wide, (z + 8.0).abs() - 9.0)
    plate = capsule(ax, y, z, ((0, 23, -3), (11, 20, -1)), (3.2 * wide, 2.0 * wide))
    vermian = capsule(ax, y, z, ((0, 22, 3), (0, 32, 7)), (2.0 * wide, 1.4 * wide))
    parts = (star, arms, between, ambient, plate, vermian, _sylvian(head, ax, y, z, noise))
    return torch.stack(parts).amin(0)


def _sylvian(head: HeadSpec, ax: Tensor, y: Tensor, z: Tensor, noise: Tensor) -> Tensor:
    """A sheet over the insula and one that opens it to the surface."""
    half = (0.5 + 2.0 * head.atrophy) * (1.0 + 0.35 * noise[1])
    island = ellipsoid(ax, y, z, (38, -14, 3), (7.0, 22.0, 15.0))
    sheet = (ax - 41.0 + 0.011 * (y + 14) ** 2 + 1.8 * noise[1]).abs() - half
    over = torch.maximum(sheet, island - 3.0)
    rise = -8.0 + 0.42 * (y + 30.0) + 3.0 * noise[3] + 0.25 * (ax - 40.0)
    slit = ((z - rise).abs() * 0.9 - half * 0.9).maximum(38.0 - ax).maximum((y + 10).abs() - 30.0)
    return torch.minimum(over, slit)


def _undivided(y: Tensor, z: Tensor) -> Tensor:
    """Positive inside the sagittal outline of callosum, septum, thalami and midbrain."""
    r = (((y + 9.0) / 40.0) ** 2 + ((z - 3.0) / 25.0) ** 2).sqrt()
    return (1.0 - r) * 30.0


def _no_falx(y: Tensor, z: Tensor, above: Tensor) -> Tensor:
    r = (((y + 2.0) / 60.0) ** 2 + ((z - 2.0) / 37.0) ** 2).sqrt()
    below = torch.where(y > 0, -above, -28.0 - z)
    return torch.maximum((1.0 - r) * 35.0, below)


def _incisura(x: Tensor, y: Tensor) -> Tensor:
    r = ((x / 19.0) ** 2 + ((y - 10.0) / 25.0) ** 2).sqrt()
    return torch.maximum((1.0 - r) * 20.0, -(y + 4.0 - 0.5 * x.abs()))


def _ventricles(head: HeadSpec, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    ax, s = x.abs(), head.ventricles
    lateral = chain(
        ax / 1.0, y, z * 0.8,
        [(14 + 2 * s, -46, 2, 2.6 * s), (8 + 2 * s, -33, 7, 5.6 * s), (7 + 2 * s, -12, 15, 6.0 * s),
         (11 + 2 * s, 10, 17, 6.2 * s), (22, 26, 10, 7.0 * s), (25, 42, 6, 4.6 * s), (23, 57, 4, 2.0 * s)],
    )  # fmt: skip
    temporal = chain(
        ax,
        y,
        z,
        [(23, 26, 10, 5.0 * s), (32, 14, -8, 2.4 * s), (31, -2, -17, 2.2 * s), (27, -10, -19, 1.6 * s)],
    )
    caudate = ellipsoid(ax, y, z, (16.0, -29, 7), (6.0, 11.0, 11.0))
    thalamus = ellipsoid(ax, y, z, (11.5, 3, 8), (10.0, 15.0, 9.5))
    lateral = torch.maximum(lateral, -torch.minimum(caudate, thalamus))
    lateral = torch.maximum(lateral, 0.9 - ax)
    third = ellipsoid(x, y, z, (0, -4, 0), (1.2 + 1.9 * s, 14.0, 11.0))
    fourth = ellipsoid(x, y, z, (0, 29, -32), (5.0 + 3.0 * s, 3.0 + 2.4 * s, 11.0))
    return torch.stack((lateral, temporal, third, fourth)).amin(0)


def _deep_grey(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    ax = x.abs()
    turned_x, turned_y = ax + 0.25 * (y + 14.0), y - 0.1 * (ax - 25.0)
    putamen = ellipsoid(turned_x, turned_y, z, (26, -14, 3), (5.0, 17.0, 12.0))
    pallidum = ellipsoid(turned_x, turned_y, z, (19, -9, 1), (4.5, 10.0, 7.0))
    caudate = ellipsoid(ax, y, z, (13.5, -30, 9), (5.5, 12.0, 11.0))
    thalamus = ellipsoid(ax, y, z, (11, 3, 8), (9.5, 14.5, 9.0))
    return torch.stack((putamen, pallidum, caudate, thalamus)).amin(0)
