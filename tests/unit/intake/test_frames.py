"""Where the frames of an Enhanced CT lie, as the index keeps it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian

from ich_triage.domain.completeness import SlicePosition, is_whole
from ich_triage.intake.header import read
from ich_triage.intake.spool import Arrival
from ich_triage.phantom.enhanced import write_enhanced
from ich_triage.phantom.generate import generate
from ich_triage.phantom.spec import draw


@pytest.fixture(scope="module")
def enhanced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head of 24 frames."""
    phantom = generate(draw(1, slices=24), matrix=32)
    return write_enhanced(phantom, tmp_path_factory.mktemp("enhanced") / "enhanced.dcm")


def _positions(path: Path) -> list[SlicePosition]:
    found = read(Arrival(path=path, received_at=datetime.now(UTC)))
    return [SlicePosition(**position) for position in found.positions or ()]


def test_a_whole_head_in_one_object_is_whole(enhanced: Path) -> None:
    """Geometry tells, so that the study need not wait for its quiet time."""
    assert is_whole(_positions(enhanced))


def test_frames_with_a_gap_are_not_whole(enhanced: Path, tmp_path: Path) -> None:
    """A multi-frame object that lacks its middle waits for what may follow."""
    ds = pydicom.dcmread(enhanced)
    del ds.PerFrameFunctionalGroupsSequence[10:14]
    ds.NumberOfFrames = len(ds.PerFrameFunctionalGroupsSequence)
    ds.save_as(tmp_path / "gap.dcm")
    positions = _positions(tmp_path / "gap.dcm")
    assert len(positions) == 20
    assert not is_whole(positions)


def test_frames_that_cannot_be_told_cost_only_time(enhanced: Path, tmp_path: Path) -> None:
    """Functional groups that contradict Number of Frames, and a deflated object: indexed without geometry."""
    ds = pydicom.dcmread(enhanced)
    ds.NumberOfFrames = 7
    ds.save_as(tmp_path / "contradiction.dcm")
    assert _positions(tmp_path / "contradiction.dcm") == []
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    ds.save_as(tmp_path / "deflated.dcm")
    assert _positions(tmp_path / "deflated.dcm") == []
