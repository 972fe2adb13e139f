"""Cases: phantoms as the network sees them, kept whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ich_triage.domain.input_spec import InputSpec
from ich_triage.domain.labels import SUBTYPES, Subtype
from ich_triage.phantom.generate import Phantom, generate
from ich_triage.phantom.spec import draw
from train.cases import Case
from train.drawn import to_case, to_volume

SPEC = InputSpec(size=64)


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    """A small head with a bleed within the brain."""
    return generate(draw(7, bleeds=(Subtype.INTRAPARENCHYMAL,), slices=20), matrix=96)


def test_case_has_input_masks_and_labels_of_every_slice(phantom: Phantom) -> None:
    """Masks lie on the network's grid and hold the volume that the phantom's truth states."""
    case = to_case(phantom, SPEC)
    assert case.x.shape == (20, 5, 64, 64)
    assert case.masks.shape == (20, 5, 16, 16)
    assert case.height[[0, -1]].tolist() == [0, 1]
    iph = SUBTYPES.index(Subtype.INTRAPARENCHYMAL)
    on_grid = case.masks[:, iph].sum(axis=(1, 2)) / 255 * case.facts.cell_mm2 / 1000 @ case.facts.slice_mm
    assert on_grid == pytest.approx(phantom.truth.bleeds[0].volume_ml, rel=0.05)
    assert case.facts.true_ml[iph] == pytest.approx(phantom.truth.bleeds[0].volume_ml, rel=0.05)
    np.testing.assert_array_equal(case.labels[:, 1 + iph], case.masks[:, iph].any(axis=(1, 2)))


def test_case_comes_back_from_its_file(phantom: Phantom, tmp_path: Path) -> None:
    """What is saved is what is loaded, and nothing half-written is left."""
    case = to_case(phantom, SPEC, baselines=True)
    case.save(tmp_path / "case.npz")
    loaded = Case.load(tmp_path / "case.npz")
    np.testing.assert_array_equal(loaded.x, case.x)
    assert loaded.facts == case.facts
    assert sorted(file.name for file in tmp_path.iterdir()) == ["case.npy", "case.npz"]


def test_volume_lies_where_the_phantom_lies(phantom: Phantom) -> None:
    """The centroid of the mask in the volume is the one of the phantom's truth, in LPS."""
    volume = to_volume(phantom)
    bleed = phantom.truth.bleeds[0]
    zyx = np.argwhere(phantom.masks[SUBTYPES.index(bleed.subtype)].numpy())
    assert volume.to_lps(zyx).mean(axis=0) == pytest.approx(bleed.centroid_lps, abs=1.0)
