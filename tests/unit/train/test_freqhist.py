"""Frequency histogram bins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ich_triage.errors import TrainingDataError
from train.freqhist import FrequencyBins, bins

Group = dict[tuple[int, int], np.ndarray]


def test_bins_are_the_stated_quantiles() -> None:
    """Of 0 to 9999: 0.001, 0.005, 0.015, …, 0.995, 0.999; of few values each once."""
    found = bins(np.arange(10_000, dtype=np.float32))
    assert len(found) == 102
    assert found[[0, 1, 2, -2, -1]] == pytest.approx([10, 50, 150, 9950, 9990], abs=1)
    assert bins(np.array([3, 3, 3, 7] * 100, dtype=np.float32)).tolist() == [3, 7]


def test_each_grey_is_as_frequent_as_any_other() -> None:
    """Pixels of any distribution become even in the unit interval; what lies beyond saturates."""
    hu = np.random.default_rng(1).normal(40, 20, 50_000).astype(np.float32)
    frequency = FrequencyBins.draw({(12, 0): hu}, seed=0)
    counts, _ = np.histogram(frequency.apply(hu), 10, (0, 1))
    assert counts / len(hu) == pytest.approx(0.1, abs=0.02)
    assert frequency.apply(np.array([[-9999.0], [9999.0]], np.float32)).tolist() == [[0.0], [1.0]]


def test_every_kind_of_pixels_gives_as_many() -> None:
    """A kind that is rare weighs as much as a common one; the same seed draws the same."""
    pixels: Group = {(16, 1): np.full(9000, 50, np.float32), (12, 0): np.full(100, 10, np.float32)}
    pixels[12, 0][50:] = 20
    found = FrequencyBins.draw(pixels, seed=0)
    assert [(each.bits_stored, each.pixels) for each in found.sample] == [(12, 100), (16, 100)]
    assert found.hu == (10, 20, 50)
    assert FrequencyBins.draw(pixels, seed=0) == found


@pytest.mark.parametrize("pixels", [{}, {(12, 0): np.zeros(9, np.float32)}])
def test_without_two_values_there_are_no_bins(pixels: Group) -> None:
    """Nothing, or one value only."""
    with pytest.raises(TrainingDataError, match="no two values"):
        FrequencyBins.draw(pixels, seed=0)


def test_frozen_bins_come_back(tmp_path: Path) -> None:
    """As they were; a file that holds others says what to do."""
    found = FrequencyBins.draw({(12, 0): np.arange(1000, dtype=np.float32)}, seed=0)
    found.freeze(tmp_path / "bins.json")
    assert FrequencyBins.load(tmp_path / "bins.json") == found
    (tmp_path / "bins.json").write_text('{"hu": [2, 1], "sample": []}')
    with pytest.raises(TrainingDataError, match="remove it"):
        FrequencyBins.load(tmp_path / "bins.json")
