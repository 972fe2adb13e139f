"""From probabilities to a mask, where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from ich_triage.model.masks import marked, without_specks

#: mL of a voxel of each slice: the last slices are twice as thick
VOXEL_ML = np.array([0.02] * 4 + [0.04] * 4)
LEAST_ML = 0.05


def _probabilities(core: float, rim: float) -> np.ndarray:
    """A core of 4³ voxels within 8³, in (8, 32, 32)."""
    probabilities = np.zeros((8, 32, 32), np.float32)
    probabilities[:, 8:16, 8:16] = rim
    probabilities[2:6, 10:14, 10:14] = core
    return probabilities


def test_what_is_sure_is_marked_as_it_is() -> None:
    """Ones and zeros come back."""
    sure = _probabilities(1.0, 0.0)
    np.testing.assert_array_equal(marked(sure, VOXEL_ML, min_part_ml=LEAST_ML), sure > 0)


@pytest.mark.risk("R-021")
def test_the_mask_has_the_expected_volume() -> None:
    """The surest voxels first, and of the less sure ones as many as their probabilities add up to."""
    probabilities = _probabilities(0.9, 0.3)
    mask = marked(probabilities, VOXEL_ML, min_part_ml=LEAST_ML)
    assert mask[2:6, 10:14, 10:14].all()
    assert not mask[probabilities == 0].any()
    expected = (probabilities.sum(axis=(1, 2)) * VOXEL_ML).sum()
    assert (mask.sum(axis=(1, 2)) * VOXEL_ML).sum() == pytest.approx(expected, abs=VOXEL_ML.max() / 2)


def test_a_bleed_of_which_no_voxel_is_sure_has_a_volume() -> None:
    """Below any threshold there is, its place is marked."""
    mask = marked(_probabilities(0.2, 0.02), VOXEL_ML, min_part_ml=LEAST_ML)
    assert 0 < mask.sum() <= 4**3
    assert mask[2:6, 10:14, 10:14].sum() == mask.sum()


def test_nothing_is_marked_where_nothing_is_suspected() -> None:
    """What every voxel of a head is suspected of a little is no bleed, though it adds up."""
    faint = np.full((8, 200, 200), 0.005, np.float32)
    assert not marked(faint, VOXEL_ML, min_part_ml=LEAST_ML).any()


def test_specks_are_dropped() -> None:
    """A part below the smallest volume goes, the others stay as they are."""
    large = _probabilities(1.0, 0.0) > 0
    speck = np.zeros_like(large)
    speck[3, 30, 30] = True
    np.testing.assert_array_equal(without_specks(large | speck, VOXEL_ML, LEAST_ML), large)
    assert not without_specks(speck, VOXEL_ML, LEAST_ML).any()
    assert not without_specks(np.zeros_like(large), VOXEL_ML, LEAST_ML).any()
