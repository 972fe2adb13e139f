"""Venous sinuses and the veins at the vertex."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from ich_triage.phantom.generate import generate
from ich_triage.phantom.records import PhantomSpec
from ich_triage.phantom.spec import draw

Volumes = NDArray[np.float64]


def _plain(seed: int) -> PhantomSpec:
    """A head without bleeds and mimics that lies straight in its scanner, 5 mm apart from −65 mm on."""
    lies = {"tilt_deg": 0.0, "pose_deg": (0.0, 0.0, 0.0), "offset_mm": (0.0, 0.0), "bottom_mm": -65.0}
    spec = draw(seed, bleeds=None, slices=30, tail_share=0.0, hardening=0.0, **lies)
    return replace(spec, mimics=replace(spec.mimics, names=frozenset()))


def _blood(spec: PhantomSpec) -> tuple[Volumes, tuple[Volumes, Volumes, Volumes]]:
    """Venous blood of each voxel in mL, and the voxels' x, y and z in the head, mm.

    Blood 100 HU denser shows where it is.
    """
    plain, dense = (
        generate(replace(spec, head=replace(spec.head, sinus_hu=spec.head.sinus_hu + more)), matrix=128)
        for more in (0.0, 100.0)
    )
    volume_ml = float(np.prod(plain.spacing)) / 1e3
    across = (np.arange(128) - 63.5) * plain.spacing[1]
    x, y = across[None, None, :], across[None, :, None]
    z = plain.positions[:, 2][:, None, None]
    return (dense.hu - plain.hu).double().numpy() / 100.0 * volume_ml, (x, y, z)


def test_both_lateral_sinuses_are_there_each_with_its_width() -> None:
    """Transverse and sigmoid sinus lie left and right, behind the petrous bone, the wide one the larger."""
    spec = _plain(3)
    spec = replace(spec, head=replace(spec.head, sinus_mm=(10.0, 5.0)))
    blood, (x, y, z) = _blood(spec)
    transverse = (y > 50) & (z < 0) & (np.abs(x) > 12)
    sigmoid = (y < 50) & (y > 10) & (z < -18) & (np.abs(x) > 25)
    for region in (transverse, sigmoid):
        left, right = (
            float(blood[np.broadcast_to(region & side, blood.shape)].sum()) for side in (x > 0, x < 0)
        )
        assert 0.3 < right < left / 1.7
        assert left < 5.0
    in_front = np.broadcast_to((z < -25) & (y < 5), blood.shape)
    assert abs(float(blood[in_front].sum())) < 0.05


@pytest.mark.parametrize("seed", [3, 11])
def test_veins_reach_the_sagittal_sinus_in_every_head(seed: int) -> None:
    """Millilitres of venous blood lie beside the sagittal sinus at the vertex, and none further down."""
    blood, (x, _, z) = _blood(_plain(seed))
    beside = (np.abs(x) > 10) & (np.abs(x) < 45)
    at_vertex = np.broadcast_to(beside & (z > 35), blood.shape)
    below = np.broadcast_to(beside & (z > 10) & (z < 25), blood.shape)
    assert 0.2 < float(blood[at_vertex].sum()) < 4.0
    assert abs(float(blood[below].sum())) < 0.05


def test_sinus_has_the_hu_of_its_head() -> None:
    """The middle of a wide sinus measures what its head's blood does."""
    spec = _plain(3)
    spec = replace(spec, head=replace(spec.head, sinus_hu=62.0, sinus_mm=(12.0, 12.0)))
    blood, _ = _blood(spec)
    phantom = generate(spec, matrix=128)
    filled = blood > 0.97 * float(np.prod(phantom.spacing)) / 1e3
    assert filled.sum() > 40
    assert float(np.median(phantom.hu.numpy()[filled])) == pytest.approx(62.0, abs=4.0)
