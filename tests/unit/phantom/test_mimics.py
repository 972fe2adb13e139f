"""What looks like a bleed and is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ich_triage.domain.labels import Subtype
from ich_triage.phantom.generate import Phantom, generate
from ich_triage.phantom.spec import draw

#: where the calcified walls of each artery may lie: |x|, y and z, mm
BOXES = {"carotid": ((4, 20), (-28, -6), (-36, -6)), "vertebral": ((0, 18), (3, 27), (-80, -44))}


def _around(name: str, seed: int, *, there: bool, bleeds: tuple[Subtype, ...] = ()) -> Phantom:
    """The slices about an artery with or without its calcified walls, straight in the scanner."""
    lies = {"tilt_deg": 0.0, "pose_deg": (0.0, 0.0, 0.0), "offset_mm": (0.0, 0.0)}
    low = BOXES[name][2][0]
    spec = draw(
        seed, bleeds=bleeds, slices=12, spacing_mm=3.0, thickness_mm=3.0, hardening=0.0, bottom_mm=low, **lies
    )
    names = frozenset({name}) if there else frozenset()
    return generate(replace(spec, mimics=replace(spec.mimics, names=names)), matrix=192)


@pytest.mark.parametrize("name", BOXES)
def test_arteries_calcify_at_their_place(name: str) -> None:
    """Walls of one or both arteries are as dense as calcium there, nowhere else, and carry no label."""
    sides, peaks = set(), []
    for seed in range(3):
        phantom, without = _around(name, seed, there=True), _around(name, seed, there=False)
        added = np.argwhere((phantom.hu - without.hu).numpy() > 25)
        assert len(added) > 0
        across = (np.arange(192) - 95.5) * phantom.spacing[1]
        x, y, z = across[added[:, 2]], across[added[:, 1]], phantom.positions[added[:, 0], 2]
        for (low, high), places in zip(BOXES[name], (np.abs(x), y, z), strict=True):
            assert low <= places.min() <= places.max() <= high
        assert phantom.truth.labels == (False,) * 6
        sides.add(tuple(np.unique(np.sign(x))))
        peaks.append(float((phantom.hu - without.hu).max()))
    assert len(sides) > 1
    assert 130 < max(peaks) < 700


def test_calcified_walls_do_not_depend_on_a_bleed() -> None:
    """The same walls are drawn with and without a bleed that displaces nothing near them."""
    alone, bare = (_around("carotid", 1, there=there) for there in (True, False))
    bled = _around("carotid", 1, there=True, bleeds=(Subtype.INTRAVENTRICULAR,))
    walls = (alone.hu - bare.hu) > 25
    assert walls.any()
    assert float((alone.hu - bled.hu)[walls].abs().max()) < 5
