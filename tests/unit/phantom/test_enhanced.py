"""Enhanced CT of a phantom."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest

from ich_triage.phantom.enhanced import write_enhanced
from ich_triage.phantom.generate import generate
from ich_triage.phantom.spec import draw


@pytest.mark.peer
def test_object_is_clean(tmp_path: Path) -> None:
    """dciodvfy finds no error in an Enhanced CT phantom."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed")
    path = write_enhanced(generate(draw(1, slices=4, tilt_deg=9.0), matrix=32), tmp_path / "enhanced.dcm")
    run = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
    assert [line for line in (run.stdout + run.stderr).splitlines() if line.startswith("Error")] == []


def test_frames_are_the_slices(tmp_path: Path) -> None:
    """Each frame has its slice's HU and position."""
    phantom = generate(draw(1, slices=4), matrix=48)
    ds = pydicom.dcmread(write_enhanced(phantom, tmp_path / "enhanced.dcm"))
    shared = ds.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence[0]
    hu = ds.pixel_array * float(shared.RescaleSlope) + float(shared.RescaleIntercept)
    assert np.abs(hu - phantom.hu.numpy())[:, 12:36, 12:36].max() < 0.501
    for frame, position in zip(ds.PerFrameFunctionalGroupsSequence, phantom.positions, strict=True):
        placed = [float(v) for v in frame.PlanePositionSequence[0].ImagePositionPatient]
        assert placed == pytest.approx(position.tolist(), abs=1e-5)
