"""Bleeds of known size in a given series: the real head where it is at hand, and a phantom."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from ich_triage.domain.finding import Side
from ich_triage.domain.labels import SUBTYPES, Subtype
from ich_triage.errors import NotAnalysedError
from ich_triage.phantom.dicom import study_datasets
from ich_triage.phantom.generate import generate
from ich_triage.phantom.insert import insert_bleed
from ich_triage.phantom.spec import draw

REAL = Path(__file__).parents[3] / "../shared/ct-head-ge"


@pytest.fixture(scope="module")
def real_head() -> list[Dataset]:
    """The real head CT, in the order of its files."""
    paths = sorted(REAL.glob("*.dcm"))
    if not paths:
        pytest.skip("the real head is not here")
    return [pydicom.dcmread(path) for path in paths]


@pytest.mark.parametrize("subtype", SUBTYPES)
def test_real_head_takes_every_bleed(real_head: list[Dataset], subtype: Subtype) -> None:
    """10 mL of each subtype go into the real head at about that volume, bright, and on the side asked for."""
    side = Side.RIGHT
    new, bleed = insert_bleed(real_head, subtype, 10.0, seed=3, side=side)
    assert bleed.volume_ml == pytest.approx(10.0, rel=0.35)
    assert sum(bleed.slice_ml) == pytest.approx(bleed.volume_ml)
    assert bleed.side in ({Side.BILATERAL, side} if subtype is Subtype.INTRAVENTRICULAR else {side})
    stored = np.stack([ds.pixel_array for ds in new])
    before = np.stack([ds.pixel_array for ds in real_head])
    assert stored.dtype == before.dtype
    assert 45 < stored[bleed.mask].mean() < 75
    assert stored[bleed.mask].mean() > before[bleed.mask].mean() + 12
    changed = stored != before
    assert changed.mean() < 0.01
    assert (changed & (before > 400)).sum() < 200


def test_everything_else_stays(real_head: list[Dataset]) -> None:
    """UIDs are new, geometry and header are not, and the key image is the one with the largest area."""
    new, bleed = insert_bleed(real_head, Subtype.INTRAPARENCHYMAL, 10.0, seed=1, side=Side.LEFT)
    old_uids = {str(ds.SOPInstanceUID) for ds in real_head}
    assert not old_uids & {str(ds.SOPInstanceUID) for ds in new}
    assert len({ds.StudyInstanceUID for ds in new}) == len({ds.SeriesInstanceUID for ds in new}) == 1
    for before, after in zip(real_head, new, strict=True):
        assert before.ImagePositionPatient == after.ImagePositionPatient
        assert before.PixelRepresentation == after.PixelRepresentation
    key = next(ds for ds in new if ds.SOPInstanceUID == bleed.key_sop_instance_uid)
    index = bleed.sop_instance_uids.index(bleed.key_sop_instance_uid)
    assert bleed.mask[index].sum() == max(plane.sum() for plane in bleed.mask)
    axes = np.array([float(v) for v in key.ImageOrientationPatient])
    normal = np.cross(axes[:3], axes[3:])
    height = np.array([float(v) for v in key.ImagePositionPatient]) @ normal
    assert height == pytest.approx(np.array(bleed.centroid_lps) @ normal, abs=12)
    assert bleed.centroid_lps[0] > 5


def test_unsigned_pixels_stay_unsigned() -> None:
    """A 12-bit unsigned series keeps its representation; the order of the files does not matter."""
    plain = study_datasets(generate(draw(6, bleeds=None, slices=24, vendor="SIEMENS"), matrix=192))
    new, bleed = insert_bleed(plain[::-1], Subtype.SUBDURAL, 15.0, seed=2, side=Side.LEFT)
    assert {(ds.BitsStored, ds.PixelRepresentation) for ds in new} == {(12, 0)}
    assert bleed.side is Side.LEFT
    assert bleed.volume_ml == pytest.approx(15.0, rel=0.2)
    assert [ds.ImagePositionPatient for ds in new] == [ds.ImagePositionPatient for ds in plain[::-1]]


def test_what_is_no_head_is_refused() -> None:
    """A series without a brain in it is refused by name."""
    plain = study_datasets(generate(draw(6, bleeds=None, slices=6), matrix=64))
    for ds in plain:
        ds.PixelData = np.full((64, 64), 24, np.uint16).tobytes()
    with pytest.raises(NotAnalysedError):
        insert_bleed(plain, Subtype.SUBDURAL, 5.0, seed=1)
