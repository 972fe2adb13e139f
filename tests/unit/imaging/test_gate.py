"""What is not a whole head is refused by its pixels, whatever the header calls it."""

from __future__ import annotations

import numpy as np
import pytest

from ich_triage.domain.states import ReasonCode
from ich_triage.errors import NotAnalysedError
from ich_triage.imaging import gate, head
from ich_triage.imaging.header import read_study
from ich_triage.imaging.stacks import split
from ich_triage.imaging.volume import Volume, assemble


def _volume(paths) -> Volume:
    (stack,) = split(read_study(paths)[0])
    return assemble(stack)


def _code(volume: Volume) -> str:
    with pytest.raises(NotAnalysedError) as caught:
        gate.check(volume, head.find(volume))
    return caught.value.code


def test_heads_pass(write_series, make_head, real_head) -> None:
    """An analytic head and the real one pass."""
    for paths in (write_series(30, volume=make_head()), sorted(real_head.glob("*.dcm"))):
        volume = _volume(paths)
        gate.check(volume, head.find(volume))


@pytest.mark.risk("R-015")
def test_soft_tissue_without_skull(write_series, make_head) -> None:
    """A body of brain density that no bone encloses, an abdomen say, is no head."""
    pixels = make_head()
    pixels[pixels == 900] = 34
    assert _code(_volume(write_series(30, volume=pixels))) == ReasonCode.NOT_A_HEAD


def test_water_phantom_and_air(write_series) -> None:
    """Air alone, and a block of water, are no heads."""
    for value in (-1000, 0):
        volume = _volume(write_series(30, volume=np.full((30, 64, 64), value, dtype=np.int16)))
        assert _code(volume) == ReasonCode.NOT_A_HEAD


def test_part_of_a_head(write_series, make_head) -> None:
    """The vertex alone is too little of a head."""
    volume = _volume(write_series(11, volume=make_head()[19:30]))
    assert _code(volume) == ReasonCode.TOO_FEW_SLICES


@pytest.mark.risk("R-006")
def test_missing_slices(write_series, make_head) -> None:
    """Slices missing in the middle are refused with the place where they are missing."""
    paths = write_series(30, volume=make_head())
    del paths[12:14]
    assert _code(_volume(paths)) == ReasonCode.GAPS
