"""A volume has the true geometry of its series, however its files arrive."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread

from ich_triage.domain.states import ReasonCode
from ich_triage.errors import NotAnalysedError
from ich_triage.imaging.header import read_headers, read_study
from ich_triage.imaging.select import select
from ich_triage.imaging.stacks import Series, split
from ich_triage.imaging.volume import InPlane, Volume, assemble, slice_extents_mm


def _volume(paths: list[Path]) -> Volume:
    headers, _ = read_study(paths)
    (stack,) = split(headers)
    return assemble(stack)


def _numbered(slices: int, size: int = 32) -> np.ndarray:
    """Slices that differ from each other, and left from right and front from back within each."""
    return np.random.default_rng(0).integers(-1000, 1000, (slices, size, size)).astype(np.int16)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.randoms(use_true_random=False))
def test_order_of_files_never_matters(write_series, tmp_path: Path, order: random.Random) -> None:
    """Any order of the files gives the same chosen series and the same volume."""
    if not list(tmp_path.iterdir()):
        pixels = _numbered(12)
        write_series(12, 8.0, volume=pixels)
        write_series(2, 8.0, volume=pixels[:2], InstanceNumber=40)
    paths = sorted(tmp_path.iterdir())
    expected = assemble(select(read_study(paths)[0]).chosen)
    order.shuffle(paths)
    volume = assemble(select(read_study(paths)[0]).chosen)
    np.testing.assert_array_equal(volume.hu, expected.hu)
    np.testing.assert_array_equal(volume.positions_mm, expected.positions_mm)
    assert volume.images == expected.images and volume.warnings == expected.warnings


def test_the_real_head(real_head: Path) -> None:
    """The real head has its tilt, its uneven spacing and its order from base to vertex."""
    paths = sorted(real_head.glob("*.dcm"))
    volume = _volume(random.Random(3).sample(paths, len(paths)))
    steps = np.diff(volume.positions_mm)
    assert volume.hu.shape == (28, 512, 512) and volume.hu.dtype == np.float32
    assert volume.tilt_deg == pytest.approx(-18.5, abs=0.01)
    assert (steps.min(), steps.max()) == pytest.approx((1.08, 7.0), abs=0.01)
    assert set(volume.thickness_mm) == {4.0, 7.0}
    assert [image.sop_instance_uid for image in volume.images] == [
        dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID for path in paths
    ]
    assert not volume.gaps and not volume.warnings


@pytest.mark.risk("R-021")
def test_voxels_of_a_tilted_stack_lie_where_the_header_says(real_head: Path) -> None:
    """Voxel indices map to the LPS place that PS3.3 Equation C.7.6.2.1-1 gives for that very image."""
    volume = _volume(sorted(real_head.glob("*.dcm")))
    ds = dcmread(real_head / "20.dcm", stop_before_pixels=True)
    row, column = np.array(ds.ImageOrientationPatient, dtype=float).reshape(2, 3)
    dy, dx = ds.PixelSpacing
    expected = np.array(ds.ImagePositionPatient, dtype=float) + row * dx * 300 + column * dy * 100
    np.testing.assert_allclose(volume.to_lps(np.array([19, 100, 300])), expected, atol=1e-4)
    between = volume.to_lps(np.array([[18.5, 0, 0], [0, 0, 0]]))
    np.testing.assert_allclose(between[0], volume.image_positions[18:20].mean(axis=0))


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        ([1, 0, 0, 0, 1, 0], InPlane()),
        ([-1, 0, 0, 0, 1, 0], InPlane(flipped_x=True)),
        ([-1, 0, 0, 0, -1, 0], InPlane(flipped_x=True, flipped_y=True)),
        ([0, 1, 0, 1, 0, 0], InPlane(transposed=True)),
        ([0, -1, 0, 1, 0, 0], InPlane(transposed=True, flipped_y=True)),
    ],
    ids=str,
)
@pytest.mark.risk("R-004")
def test_every_patient_position_gives_the_same_axes(
    write_series, orientation: list[float], turn: InPlane
) -> None:
    """However the patient lay, x runs to the left, y to the back, z to the head, and places stay true."""
    pixels = _numbered(4)
    volume = _volume(write_series(4, volume=pixels, ImageOrientationPatient=orientation))
    assert volume.in_plane == turn
    assert (
        volume.row[0] == pytest.approx(1) and volume.column[1] == pytest.approx(1) and volume.normal[2] == 1
    )
    row, column = np.array(orientation, dtype=float).reshape(2, 3)
    stored_y, stored_x = 3, 12
    place = np.array([-128, -128, 10]) + row * stored_x * 8 + column * stored_y * 8
    steps = (place - volume.image_positions[2]) / 8
    z, y, x = 2, round(steps[1]), round(steps[0])
    assert volume.hu[z, y, x] == pixels[2, stored_y, stored_x]
    np.testing.assert_allclose(volume.to_lps(np.array([z, y, x])), place)
    np.testing.assert_array_equal(turn.undo(volume.hu[2]), pixels[2])


def test_repeated_image_is_left_out_and_named(write_series) -> None:
    """The same pixels at the same position count once; other pixels there are named as a conflict."""
    pixels = _numbered(10)
    paths = write_series(10, volume=pixels)
    paths += write_series(1, volume=pixels[:1], InstanceNumber=50)
    paths += write_series(1, volume=pixels[5:6], InstanceNumber=51, start_mm=15)
    volume = _volume(paths)
    np.testing.assert_array_equal(volume.hu, pixels)
    assert len(volume.warnings) == 2
    assert "repeats" in volume.warnings[0] and "differs" in volume.warnings[1]


@pytest.mark.risk("R-006")
def test_one_undecodable_image_stops_the_analysis(write_series) -> None:
    """A slice that cannot be looked at must not pass for one without a finding."""
    paths = write_series(12, volume=_numbered(12))
    paths[4].write_bytes(paths[4].read_bytes()[:-10])
    with pytest.raises(NotAnalysedError, match="truncated") as caught:
        _volume(paths)
    assert caught.value.code == ReasonCode.UNREADABLE_PIXELS


def test_a_stack_without_geometry(write_series) -> None:
    """Without positions there is no volume, and the reason says so."""
    headers, _ = read_study(write_series(3, ImagePositionPatient=None))
    with pytest.raises(NotAnalysedError) as caught:
        assemble(Series(headers))
    assert caught.value.code == ReasonCode.NO_GEOMETRY


def test_frames_of_an_enhanced_image(write, make_enhanced) -> None:
    """Frames stored from the vertex down stand from the base up, each with its frame number."""
    frames = np.abs(_numbered(6))
    (stack,) = split(read_headers(write(make_enhanced(frames))))
    volume = assemble(stack)
    np.testing.assert_array_equal(volume.hu, frames[::-1].astype(np.float32) - 1000)
    assert [image.frame_number for image in volume.images] == [6, 5, 4, 3, 2, 1]


def test_extent_of_slices() -> None:
    """A slice stands for half the way to each neighbour; at an end for its own half, at a gap for less."""
    even = slice_extents_mm(np.array([0.0, 5, 10]), np.array([5.0, 5, 5]))
    np.testing.assert_allclose(even, 5)
    uneven = slice_extents_mm(np.array([0.0, 4, 8, 15, 22]), np.array([4.0, 4, 4, 7, 7]))
    np.testing.assert_allclose(uneven, [4, 4, 5.5, 7, 7])
    gap = slice_extents_mm(np.array([0.0, 5, 30, 35, 40]), np.array([5.0] * 5))
    np.testing.assert_allclose(gap, [5, 2.5 + 3.75, 3.75 + 2.5, 5, 5])
    np.testing.assert_allclose(slice_extents_mm(np.array([3.0]), np.array([5.0])), 5)


@pytest.mark.risk("R-021")
def test_volume_of_a_known_body(write_series, make_head) -> None:
    """The analytic brain measures 4/3 π abc within 2%, also where the slice spacing changes on the way."""
    truth = 4 / 3 * np.pi * 68 * 86 * 72 / 1000
    full = make_head(60, 128)[10:50]  # reaches beyond both ends of the brain
    paths = write_series(40, 5.0, volume=full)
    del paths[30:40:2]
    volume = _volume(paths)
    assert volume.volume_ml(volume.hu == 34) == pytest.approx(truth, rel=0.02)
