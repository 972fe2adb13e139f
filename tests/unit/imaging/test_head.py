"""Brain and midline are found by threshold and shape."""

from __future__ import annotations

import numpy as np
import pytest

from ich_triage.imaging import head
from ich_triage.imaging.header import read_study
from ich_triage.imaging.stacks import split
from ich_triage.imaging.volume import Volume, assemble


def _volume(paths) -> Volume:
    (stack,) = split(read_study(paths)[0])
    return assemble(stack)


def test_brain_is_what_bone_encloses(write_series, make_head) -> None:
    """The mask of an analytic brain has its volume, and scalp and skull stay out."""
    pixels = make_head()
    volume = _volume(write_series(30, volume=pixels))
    found = head.find(volume)
    brain = found.full(found.brain)
    truth = pixels == 34
    overlap = 2 * (brain & truth).sum() / (brain.sum() + truth.sum())
    assert overlap > 0.95
    assert not brain[pixels == 900].mean() > 0.1


@pytest.mark.parametrize(("turn", "shift"), [(0, 0), (12, 15), (-15, -10)])
def test_midline_follows_the_head(write_series, make_head, turn: float, shift: float) -> None:
    """The midline of a head turned and off centre passes through its centre at its angle."""
    volume = _volume(write_series(30, volume=make_head(turn_deg=turn, shift_mm=shift)))
    midline = head.find(volume).midline
    centre_x = (shift + 128) / 2 - 0.5
    assert midline.angle_deg == pytest.approx(turn, abs=1.5)
    assert midline.left_mm(np.array([15, 63.5, centre_x])) == pytest.approx(0, abs=2)
    assert midline.left_mm(np.array([15, 63.5, centre_x + 20])) > 30
    assert midline.left_mm(np.array([15, 63.5, centre_x - 20])) < -30


def test_air_has_no_head(write_series) -> None:
    """A volume of air gives empty masks and a midline all the same."""
    volume = _volume(write_series(12, volume=np.full((12, 32, 32), -1000, dtype=np.int16)))
    found = head.find(volume)
    assert not found.head.any() and not found.brain.any() and not found.bone.any()
    assert np.isfinite(found.midline.left_mm(np.array([0, 0, 0])))


def test_the_real_head(real_head) -> None:
    """The real brain has a brain's volume, its head rest is cut off, and its turn is that of its falx."""
    volume = _volume(sorted(real_head.glob("*.dcm")))
    found = head.find(volume)
    assert 1200 < volume.volume_ml(found.full(found.brain)) < 1650
    assert found.midline.angle_deg == pytest.approx(-9.5, abs=3)
    assert not found.full(found.head)[25, :, :100].any()  # beside the vertex stands only the head rest
    falx = np.array([[21, 160, 229], [21, 405, 278], [16, 400, 271]])  # read off the picture
    assert np.abs(found.midline.left_mm(falx)).max() < 5
