"""The axial, non-contrast, soft-kernel head series is chosen, and every other one gets its reason."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from ich_triage.domain.states import ReasonCode
from ich_triage.imaging.header import read_headers, read_study
from ich_triage.imaging.select import Selection, select
from ich_triage.imaging.stacks import split

CORONAL = [1, 0, 0, 0, 0, -1]
SCOUT = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "ImageOrientationPatient": CORONAL}
COMPREHENSIVE_SR = "1.2.840.10008.5.1.4.1.1.88.33"


def _select(paths: list[Path]) -> Selection:
    headers, unreadable = read_study(paths)
    return select(headers, unreadable=unreadable)


def _codes(selection: Selection) -> dict[str, ReasonCode]:
    return {series.series_instance_uid: series.code for series in selection.rejected}


def test_a_whole_emergency_study(write_series, write, make_slice) -> None:
    """Of all that a scanner sends after a head injury the 5 mm soft series is chosen, the rest explained."""
    mip = {"ImageType": ["DERIVED", "SECONDARY", "AXIAL", "MIP"], "SeriesDescription": "Head MIP"}
    coronal = {"ImageType": ["DERIVED", "SECONDARY", "REFORMATTED"], "ImageOrientationPatient": CORONAL}
    cta = {"SeriesDescription": "CTA Head 0.6", "ContrastBolusAgent": "ISOVUE"}
    dose = {"SeriesDescription": "Dose Report", "ImageType": ["DERIVED", "SECONDARY", "OTHER"]}
    report = {"SOPClassUID": COMPREHENSIVE_SR, "Modality": "SR", "PixelData": None}
    paths = [
        *write_series(1, SeriesInstanceUID="1.1", **SCOUT),
        *write_series(30, SeriesInstanceUID="1.2"),
        *write_series(30, SeriesInstanceUID="1.3", ConvolutionKernel="BONEPLUS"),
        *write_series(150, 1.0, SeriesInstanceUID="1.4"),
        *write_series(40, SeriesInstanceUID="1.5", **cta),
        *write_series(30, SeriesInstanceUID="1.6", ContrastBolusAgent="OMNIPAQUE 350"),
        *write_series(30, SeriesInstanceUID="1.7", **mip),
        *write_series(30, SeriesInstanceUID="1.8", **coronal),
        *write_series(30, SeriesInstanceUID="1.9", SeriesDescription="C-Spine 2.0"),
        write(make_slice(SeriesInstanceUID="1.10", **report)),
        *write_series(2, SeriesInstanceUID="1.11", **dose),
        *write_series(5, SeriesInstanceUID="1.12", SeriesDescription="Head 5.0 repeat"),
    ]
    selection = _select(paths)
    assert selection.chosen is not None and selection.chosen.series_instance_uid == "1.2"
    assert selection.code is None and "30 images" in selection.reason
    assert _codes(selection) == {
        "1.1": ReasonCode.LOCALIZER,
        "1.3": ReasonCode.BONE_KERNEL,
        "1.4": ReasonCode.BETTER_SERIES,
        "1.5": ReasonCode.ANGIOGRAPHY,
        "1.6": ReasonCode.CONTRAST,
        "1.7": ReasonCode.NOT_AXIAL_ORIGINAL,
        "1.8": ReasonCode.NOT_AXIAL_ORIGINAL,
        "1.9": ReasonCode.NOT_A_HEAD,
        "1.10": ReasonCode.NO_CT_IMAGES,
        "1.11": ReasonCode.NOT_AXIAL_ORIGINAL,
        "1.12": ReasonCode.TOO_FEW_SLICES,
    }
    assert all(series.reason and series.images for series in selection.rejected)
    shuffled = random.Random(1).sample(paths, len(paths))
    assert _select(shuffled).chosen == selection.chosen


@pytest.mark.parametrize(
    ("attributes", "code"),
    [
        ({"SeriesDescription": "CT HEAD W CONTRAST"}, ReasonCode.CONTRAST),
        ({"SeriesDescription": "Head post contrast 5mm"}, ReasonCode.CONTRAST),
        ({"SeriesDescription": "Brain C+"}, ReasonCode.CONTRAST),
        ({"SeriesDescription": "Axial +C"}, ReasonCode.CONTRAST),
        ({"SeriesDescription": "Schädel mit KM"}, ReasonCode.CONTRAST),
        ({"SeriesDescription": "Crâne avec contraste"}, ReasonCode.CONTRAST),
        ({"SeriesDescription": "Cabeza con contraste"}, ReasonCode.CONTRAST),
        ({"SeriesDescription": "HEAD VENOUS"}, ReasonCode.CONTRAST),
        ({"ContrastBolusAgent": "CE"}, ReasonCode.CONTRAST),
        ({"SeriesDescription": "CT Angiogram COW"}, ReasonCode.ANGIOGRAPHY),
        ({"SeriesDescription": "Perfusion 4D"}, ReasonCode.ANGIOGRAPHY),
        ({"SeriesDescription": "PREMONITORING"}, ReasonCode.ANGIOGRAPHY),
        ({"SeriesDescription": "Topogram 0.6"}, ReasonCode.LOCALIZER),
        ({"SeriesDescription": "Knochen", "ConvolutionKernel": ""}, ReasonCode.BONE_KERNEL),
        ({"ConvolutionKernel": ["J70h", "3"]}, ReasonCode.BONE_KERNEL),
        ({"SeriesDescription": "Head Cor 3.0"}, ReasonCode.NOT_AXIAL_ORIGINAL),
        ({"SeriesDescription": "Dose Report"}, ReasonCode.NOT_AXIAL_ORIGINAL),
        ({"SeriesDescription": "VNC Head"}, ReasonCode.NOT_AXIAL_ORIGINAL),
        ({"SamplesPerPixel": 3}, ReasonCode.NOT_AXIAL_ORIGINAL),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]}, ReasonCode.NOT_AXIAL_ORIGINAL),
        ({"SeriesDescription": "Abdomen 5.0"}, ReasonCode.NOT_A_HEAD),
        ({"SeriesDescription": "", "BodyPartExamined": "CHEST"}, ReasonCode.NOT_A_HEAD),
        ({"SeriesDescription": "Sinus 3.0", "BodyPartExamined": "HEAD"}, ReasonCode.NOT_A_HEAD),
        ({"PixelSpacing": [1, 1]}, ReasonCode.NOT_A_HEAD),
        ({"ImagePositionPatient": None}, ReasonCode.NO_GEOMETRY),
        ({"PixelSpacing": None}, ReasonCode.NO_GEOMETRY),
        ({"Modality": "PT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.128"}, ReasonCode.NO_CT_IMAGES),
    ],
    ids=str,
)
@pytest.mark.risk("R-005")
def test_what_is_not_analysed(write_series, attributes: dict[str, object], code: ReasonCode) -> None:
    """A study of one unsuitable series is not analysed, with the code and words that say why."""
    selection = _select(write_series(20, **attributes))
    assert selection.chosen is None
    assert selection.code == code, selection.reason
    assert selection.reason and selection.rejected


@pytest.mark.parametrize(
    "attributes",
    [
        {"SeriesDescription": "CT HEAD W/O CONTRAST"},
        {"SeriesDescription": "Head without contrast"},
        {"SeriesDescription": "HEAD NON-CON 5mm"},
        {"SeriesDescription": "NCCT"},
        {"SeriesDescription": "Schädel nativ, ohne KM"},
        {"SeriesDescription": "Crâne sans contraste"},
        {"SeriesDescription": "Unenhanced brain"},
        {"SeriesDescription": "Post fossa 5mm"},
        {"SeriesDescription": "HEAD LOW DOSE 5mm"},
        {"SeriesDescription": "5mm", "StudyDescription": "CT HEAD AND CTA NECK"},
        {"SeriesDescription": "", "ProtocolName": "", "ConvolutionKernel": ""},
        {"SeriesDescription": "Head", "BodyPartExamined": "CHEST"},
        {"ContrastBolusAgent": "NONE"},
        {"ImageType": ["DERIVED", "PRIMARY", "AXIAL"]},
        {"ImageType": ["DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"]},
        {"SliceThickness": None},
        {"Modality": ""},
    ],
    ids=str,
)
def test_what_is_analysed(write_series, attributes: dict[str, object]) -> None:
    """Words that only sound like an exclusion, and headers that say little, do not cost the analysis."""
    selection = _select(write_series(20, **attributes))
    assert selection.chosen is not None, selection.reason


@pytest.mark.risk("R-005")
def test_original_before_reformat(write_series) -> None:
    """A thick axial reformat serves only while there is no original."""
    reformat = ["DERIVED", "SECONDARY", "REFORMATTED", "AVERAGE"]
    paths = write_series(20, SeriesInstanceUID="1.1", ImageType=reformat)
    thin = write_series(100, 1.0, SeriesInstanceUID="1.2")
    assert _select(paths).chosen.series_instance_uid == "1.1"
    both = _select(paths + thin)
    assert both.chosen.series_instance_uid == "1.2"
    assert _codes(both) == {"1.1": ReasonCode.NOT_AXIAL_ORIGINAL}


@pytest.mark.parametrize(
    ("other", "code"),
    [
        ({"ConvolutionKernel": "BONE"}, ReasonCode.BONE_KERNEL),
        ({"ImageType": ["DERIVED", "SECONDARY", "AXIAL", "MIP"]}, ReasonCode.NOT_AXIAL_ORIGINAL),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}, ReasonCode.NOT_AXIAL_ORIGINAL),
        ({"SliceThickness": 3}, ReasonCode.BETTER_SERIES),
        ({"ContrastBolusAgent": "IODINE"}, ReasonCode.CONTRAST),
        ({"AcquisitionNumber": 0}, ReasonCode.BETTER_SERIES),
        (SCOUT, ReasonCode.LOCALIZER),
    ],
    ids=str,
)
def test_two_stacks_under_one_series(write_series, other: dict[str, object], code: ReasonCode) -> None:
    """Stacks interleaved under one Series Instance UID are taken apart and judged one by one."""
    good = write_series(20, AcquisitionNumber=2, InstanceNumber=1)
    bad = write_series(20, **({"AcquisitionNumber": 2, "InstanceNumber": 50} | other))
    selection = _select([path for pair in zip(good, bad, strict=True) for path in pair])
    assert selection.chosen is not None
    assert {header.path for header in selection.chosen.headers} == set(good)
    assert [series.code for series in selection.rejected] == [code]


def test_the_same_scan_twice_without_acquisition_number(write_series) -> None:
    """Two scans of the same places are parted by their order, not mixed."""
    first, second = write_series(20, InstanceNumber=1), write_series(20, InstanceNumber=101)
    selection = _select(first + second)
    assert {header.path for header in selection.chosen.headers} in (set(first), set(second))


def test_an_interrupted_scan_does_not_mix_with_its_repeat(write_series) -> None:
    """The lower half of a first attempt stays out of the repeated scan."""
    half = write_series(9, AcquisitionNumber=1)
    whole = write_series(20, AcquisitionNumber=2, InstanceNumber=10)
    selection = _select(half + whole)
    assert {header.path for header in selection.chosen.headers} == set(whole)


def test_dynamic_series(write_series) -> None:
    """Many images at each position are a perfusion scan, whatever it is called."""
    paths = [path for turn in range(4) for path in write_series(20, InstanceNumber=1 + 20 * turn)]
    assert _select(paths).code == ReasonCode.ANGIOGRAPHY


@pytest.mark.risk("R-006")
def test_missing_slice(write_series) -> None:
    """A series with a slice missing in the middle is not analysed, and the reason says gaps."""
    paths = write_series(20)
    del paths[9]
    assert _select(paths).code == ReasonCode.GAPS


def test_nothing_at_all() -> None:
    """An empty study has no CT images."""
    assert select(()).code == ReasonCode.NO_CT_IMAGES


def test_only_unreadable_files(tmp_path: Path) -> None:
    """A study of unreadable files says so, not that it has no CT images."""
    (tmp_path / "x.dcm").write_bytes(b"rubbish")
    selection = _select([tmp_path / "x.dcm"])
    assert selection.code == ReasonCode.UNREADABLE_HEADER and selection.rejected[0].images == 1


def test_the_real_head_is_one_stack(real_head: Path) -> None:
    """Two thicknesses, two image types and 21 acquisitions are one scan of one head."""
    paths = sorted(real_head.glob("*.dcm"))
    selection = _select(paths)
    assert selection.chosen is not None and not selection.rejected
    assert [header.path.name for header in selection.chosen.headers] == [path.name for path in paths]
    assert not selection.chosen.gaps and selection.chosen.coverage_mm == pytest.approx(149.6, abs=0.1)


def test_a_missing_slice_of_the_real_head_is_seen(real_head: Path) -> None:
    """Either thickness of the real head shows a gap when one of its slices is left out."""
    paths = sorted(real_head.glob("*.dcm"))
    for missing in (5, 20):
        headers, _ = read_study(paths[:missing] + paths[missing + 1 :])
        assert select(headers).code == ReasonCode.GAPS


def test_frames_of_an_enhanced_image(write, make_enhanced) -> None:
    """An Enhanced CT image is selected like a series of single frames, from the lowest frame up."""
    headers = read_headers(write(make_enhanced(np.zeros((20, 64, 64), dtype=np.int16))))
    selection = select(headers)
    assert [header.frame_number for header in selection.chosen.headers] == list(range(20, 0, -1))


def test_split_keeps_every_image_once(write_series) -> None:
    """Taking stacks apart loses and doubles nothing."""
    paths = write_series(10) + write_series(10, InstanceNumber=11) + write_series(3, **SCOUT)
    headers, _ = read_study(paths)
    uids = [header.sop_instance_uid for stack in split(headers) for header in stack.headers]
    assert sorted(uids) == sorted(dcmread(path).SOPInstanceUID for path in paths)
