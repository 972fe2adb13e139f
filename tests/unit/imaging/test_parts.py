"""A stack that lacks images of its own series is not analysed as if it were the whole scan."""

from __future__ import annotations

from pathlib import Path

import pytest

from ich_triage.domain.states import ReasonCode
from ich_triage.imaging.header import UnreadableFile, read_study
from ich_triage.imaging.select import Selection, select

UID = "1.2"


def _with(paths: list[Path], *unreadable: UnreadableFile) -> Selection:
    headers, _ = read_study(paths)
    return select(headers, unreadable=unreadable)


@pytest.mark.parametrize(
    ("differing", "code"),
    [
        ({"ContrastBolusAgent": "OMNIPAQUE"}, ReasonCode.GAPS),
        ({"ConvolutionKernel": "BONEPLUS"}, ReasonCode.GAPS),
        ({"ImageOrientationPatient": None}, ReasonCode.NO_GEOMETRY),
    ],
)
@pytest.mark.risk("R-006")
def test_uppermost_slices_that_do_not_fit(write_series, write, make_slice, differing, code) -> None:
    """The top of the head under the same Series Instance UID, set apart by one attribute."""
    whole = write_series(30, SeriesInstanceUID=UID)
    assert _with(whole).chosen is not None
    top = write_series(30, SeriesInstanceUID=UID, **differing)[26:]
    selection = _with([*whole[:26], *top])
    assert selection.chosen is None
    assert selection.code is code


@pytest.mark.parametrize("turned", [[-1, 0, 0, 0, 1, 0], [-1, 0, 0, 0, -1, 0]])
def test_every_second_slice_stored_mirrored_or_turned(write_series, turned: list[int]) -> None:
    """Parallel, but with rows that run the other way: in one volume, left and right would change places."""
    whole = write_series(30, SeriesInstanceUID=UID)
    other = write_series(30, SeriesInstanceUID=UID, ImageOrientationPatient=turned)
    selection = _with([*whole[::2], *other[1::2]])
    assert selection.chosen is None
    assert selection.code is ReasonCode.GAPS


def test_another_reconstruction_of_the_same_region_is_no_part(write_series) -> None:
    """Two kernels under one Series Instance UID: the soft one is whole by itself."""
    soft = write_series(30, SeriesInstanceUID=UID)
    bone = write_series(30, SeriesInstanceUID=UID, ConvolutionKernel="BONEPLUS")
    selection = _with([*soft, *bone])
    assert selection.chosen is not None
    assert selection.chosen.first.convolution_kernel != "BONEPLUS"


def test_unreadable_images_count_against_their_own_series(write_series, tmp_path: Path) -> None:
    """Of the chosen series they are missing slices; of another one they are no obstacle."""
    paths = write_series(30, SeriesInstanceUID=UID)
    path = tmp_path / "broken.dcm"
    own = UnreadableFile(path=path, reason="Rows absurd", series_instance_uid=UID)
    other = UnreadableFile(path=path, reason="Rows absurd", series_instance_uid="1.9")
    refused = _with(paths, own)
    assert refused.chosen is None
    assert refused.code is ReasonCode.UNREADABLE_HEADER
    assert "1 image(s)" in refused.reason
    assert _with(paths, other).chosen is not None


@pytest.mark.parametrize("series", [None, "series 3"])
def test_a_slice_that_does_not_say_its_series_may_belong_to_any(
    write_series, write, make_slice, series
) -> None:
    """It cannot be ordered among the others, so what it shows has not been looked at."""
    paths = write_series(30, SeriesInstanceUID=UID)
    stray = make_slice(SeriesInstanceUID=None)
    if series:
        stray.add_new("SeriesInstanceUID", "LO", series)
    headers, unreadable = read_study([*paths, write(stray)])
    refused = select(headers, unreadable=unreadable)
    assert refused.chosen is None
    assert refused.code is ReasonCode.UNREADABLE_HEADER
    assert "1 image(s) of an unknown series" in refused.reason
    assert select(headers, unreadable=[]).chosen is not None
