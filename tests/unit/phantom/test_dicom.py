"""CT Image objects of a phantom."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from ich_triage.phantom.dicom import study_datasets, write_study
from ich_triage.phantom.generate import Phantom, generate
from ich_triage.phantom.records import Vendor
from ich_triage.phantom.spec import VENDORS, draw


def complaints(path: Path) -> list[str]:
    """Errors that dciodvfy (dicom3tools) finds in a file."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed")
    run = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
    return [line for line in (run.stdout + run.stderr).splitlines() if line.startswith("Error")]


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    """A short study."""
    return generate(draw(11, slices=5, tilt_deg=14.0), matrix=64)


@pytest.mark.peer
@pytest.mark.parametrize("vendor", VENDORS)
def test_every_object_is_clean(vendor: Vendor, tmp_path: Path) -> None:
    """dciodvfy finds no error in any series of any maker, contrast and localizer included."""
    made = generate(draw(3, slices=4, vendor=vendor, contrast=vendor == "SIEMENS"), matrix=32)
    paths = write_study(made, tmp_path, series=("localizer", "soft", "bone"))
    for path in (*paths[:2], paths[-1]):
        assert complaints(path) == []


@pytest.mark.parametrize("vendor", VENDORS)
def test_hu_come_back(vendor: Vendor) -> None:
    """Stored values through slope and intercept are the phantom's HU, to half a unit, inside the circle."""
    made = generate(draw(3, slices=3, vendor=vendor), matrix=64)
    for ds, plane in zip(study_datasets(made), made.hu.numpy(), strict=True):
        hu = ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
        assert np.abs(hu - plane)[16:48, 16:48].max() < 0.501


def test_uids_follow_the_seed(phantom: Phantom) -> None:
    """UIDs repeat for a seed, are new on request, and are unique within a study."""
    first, again, fresh = (
        [ds.SOPInstanceUID for ds in study_datasets(phantom, fresh=f)] for f in (False, False, True)
    )
    assert first == again
    assert not set(first) & set(fresh)
    assert len(set(first)) == len(first)


def test_study_has_one_identity(phantom: Phantom) -> None:
    """Series of one study share study and frame of reference, and differ in series number and kernel."""
    everything = study_datasets(phantom, series=("localizer", "soft", "bone"))
    assert len({ds.StudyInstanceUID for ds in everything}) == 1
    assert len({ds.FrameOfReferenceUID for ds in everything}) == 1
    assert sorted({int(ds.SeriesNumber) for ds in everything}) == [1, 2, 3]
    assert len({ds.ConvolutionKernel for ds in everything[1:]}) == 2
    assert everything[0].ImageType[2] == "LOCALIZER"


def test_angiography_says_so() -> None:
    """An angiography names its contrast agent and itself."""
    (ds, *_) = study_datasets(generate(draw(3, slices=3, contrast=True, bleeds=None), matrix=32))
    assert ds.ContrastBolusAgent
    assert "CTA" in ds.SeriesDescription
    assert "CTA" in ds.StudyDescription


def test_quirks_are_those_of_rsna() -> None:
    """Across seeds the odd formats appear, SliceThickness and InstanceNumber never, windows are multiple."""
    made = generate(draw(0, slices=1, bleeds=None), matrix=32)
    seen = set()
    for seed in range(24):
        odd = replace(made, spec=replace(made.spec, seed=seed))
        (ds,) = study_datasets(odd, quirks=True)
        seen.add((ds.BitsStored, ds.PixelRepresentation))
        assert "SliceThickness" not in ds
        assert "InstanceNumber" not in ds
        assert len(ds.WindowCenter) == 2
    assert {(12, 0), (16, 1)} <= seen


def test_files_read_back(phantom: Phantom, tmp_path: Path) -> None:
    """Files are Part 10 files in the order of the scan."""
    paths = write_study(phantom, tmp_path)
    heights = [float(pydicom.dcmread(path).ImagePositionPatient[2]) for path in paths]
    assert len(paths) == 5
    assert heights == sorted(heights)
