"""A head series is declared whole by geometry only when all evidence says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread

from ich_triage.domain.completeness import (
    Gap,
    SlicePosition,
    coverage_mm,
    find_gaps,
    is_whole,
    slice_normal,
    whole_series,
)

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def _series(count: int = 30, spacing: float = 5.0, **changes: object) -> list[SlicePosition]:
    one = SlicePosition(
        series_instance_uid="1.2",
        image_position=(0, 0, 0),
        image_orientation=AXIAL,
        is_axial_ct=True,
        slice_thickness=spacing,
    )
    one = replace(one, **changes)
    return [
        replace(one, image_position=(-120.0, -120.0, index * spacing), instance_number=index + 1)
        for index in range(count)
    ]


def test_a_whole_series() -> None:
    """Thirty contiguous slices over 150 mm are whole."""
    assert is_whole(_series())


@pytest.mark.parametrize("missing", [1, 7, 15, 28])
@pytest.mark.risk("R-006")
def test_one_missing_slice(missing: int) -> None:
    """A slice missing anywhere between the ends is seen."""
    slices = _series()
    del slices[missing]
    assert not is_whole(slices)
    assert not is_whole([replace(image, instance_number=None) for image in slices])


def test_a_study_on_its_way_up() -> None:
    """What arrived from the base upward is not whole before it covers a head's length."""
    slices = _series(28)
    whole_from = next(count for count in range(1, 29) if is_whole(slices[:count]))
    assert whole_from == 20


def test_a_study_on_its_way_down() -> None:
    """What arrived from the vertex downward is not whole until its first instance number is there."""
    slices = _series(28)[::-1]
    assert [is_whole(slices[:count]) for count in (20, 27, 28)] == [False, False, True]


def test_every_second_slice() -> None:
    """Even spacing alone is no proof: thickness sees the missing half, and so do instance numbers."""
    half = _series(60, 2.5)[::2]
    assert not is_whole([replace(image, slice_thickness=None) for image in half])
    assert not is_whole([replace(image, instance_number=None, slice_thickness=2.0) for image in half])


def test_more_promised_than_arrived() -> None:
    """The scanner's own count of images is believed when it says that more is to come."""
    assert not is_whole(_series(30, images_in_acquisition=32))
    assert is_whole(_series(30, images_in_acquisition=30))
    assert is_whole(_series(30, images_in_acquisition=2))


def test_thin_base_and_thick_vertex() -> None:
    """Spacing that changes on the way is no gap."""
    positions = [index * 2.5 for index in range(20)] + [50 + index * 5.0 for index in range(16)]
    assert find_gaps(positions, 5.0) == ()


def test_gaps_are_placed() -> None:
    """A gap is named by the slices on both sides of it."""
    positions = [index * 5.0 for index in range(20) if index not in (8, 9)]
    assert find_gaps(positions, 5.0) == (Gap(start_mm=35.0, end_mm=50.0),)


def test_what_cannot_be_judged_is_not_whole() -> None:
    """No images, a scout, images without position, and a stack of one place are not whole."""
    assert not is_whole([])
    assert not is_whole(_series(30, is_axial_ct=False))
    assert not is_whole([replace(image, image_position=None) for image in _series()])
    assert not is_whole([replace(image, image_position=(0, 0, 0)) for image in _series()])


def test_two_stacks_under_one_uid() -> None:
    """A coronal stack under the same UID does not disturb the axial one, nor does it count for it."""
    coronal = [
        replace(image, image_orientation=(1, 0, 0, 0, 0, -1), image_position=(0, index * 5.0, 0))
        for index, image in enumerate(_series(40))
    ]
    axial = [replace(image, instance_number=None) for image in _series()]
    assert is_whole(axial + coronal)
    assert not is_whole(axial[:15] + axial[16:] + coronal[:9])


def test_series_are_judged_one_by_one() -> None:
    """Of several series of a study, those that are whole are named."""
    partial = [replace(image, series_instance_uid="1.3") for image in _series(12)]
    assert whole_series(_series() + partial) == ("1.2",)


@pytest.mark.parametrize(
    "orientation", [AXIAL, (-1, 0, 0, 0, 1, 0), (1, 0, 0, 0, 0.95, -0.3122), (0, 1, 0, 1, 0, 0)]
)
def test_normals_point_to_the_head(orientation: tuple[float, ...]) -> None:
    """Whatever way the patient lies, the normal of an axial slice points up."""
    assert slice_normal(orientation)[2] > 0.9


def test_coverage() -> None:
    """Coverage includes the outer halves of the outermost slices; repeats add nothing."""
    assert coverage_mm([0, 5, 5, 10]) == 15
    assert coverage_mm([3]) == 0


def test_the_real_head(real_head: Path) -> None:
    """The real head is whole, though its instance numbers repeat and its spacing runs from 1 to 7 mm."""
    slices = []
    for path in sorted(real_head.glob("*.dcm")):
        ds = dcmread(path, stop_before_pixels=True)
        slices.append(
            SlicePosition(
                series_instance_uid=ds.SeriesInstanceUID,
                image_position=tuple(map(float, ds.ImagePositionPatient)),
                image_orientation=tuple(map(float, ds.ImageOrientationPatient)),
                is_axial_ct=True,
                instance_number=int(ds.InstanceNumber),
                slice_thickness=float(ds.SliceThickness),
            )
        )
    assert is_whole(slices)
    assert not is_whole(slices[:5] + slices[6:])
    assert not is_whole(slices[:20] + slices[21:])
    assert not is_whole(slices[:20])
