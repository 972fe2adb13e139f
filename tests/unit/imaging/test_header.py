"""Headers are read from whatever comes, and nothing that comes can break the reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from ich_triage.errors import HeaderError
from ich_triage.imaging import header as header_module
from ich_triage.imaging.header import read_headers, read_study


def test_reads_a_scanners_header(real_head: Path) -> None:
    """A real GE header gives its geometry, its signed pixels and its padding."""
    (header,) = read_headers(real_head / "15.dcm")
    assert header.image_position_patient == (-125.0, -123.5404569, 61.8360586)
    assert header.slice_thickness == 7.0
    assert header.gantry_detector_tilt == 18.5
    assert header.convolution_kernel == "STD+"
    assert (header.pixel_representation, header.bits_stored, header.pixel_padding_value) == (1, 16, -1500)
    assert header.pixels is not None and header.pixels.length == 512 * 512 * 2


@pytest.mark.filterwarnings("ignore:End of file reached:UserWarning:pydicom")
@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 300, b"not DICOM" * 100, b"\0" * 128 + b"DICM", b"\0" * 128 + b"DICM" + b"\xff" * 64],
)
def test_rubbish_is_refused(tmp_path: Path, content: bytes) -> None:
    """What is no DICOM object ends in HeaderError, whatever it is."""
    path = tmp_path / "x.dcm"
    path.write_bytes(content)
    with pytest.raises(HeaderError):
        read_headers(path)


@pytest.mark.parametrize(
    "absurd",
    [
        {"Rows": 65535}, {"Columns": 0}, {"Rows": None}, {"NumberOfFrames": 10**6}, {"NumberOfFrames": -3},
        {"Rows": 4096, "Columns": 4096, "NumberOfFrames": 129},
        {"BitsAllocated": 12}, {"BitsStored": 17}, {"BitsStored": None}, {"PixelRepresentation": 7},
        {"RescaleSlope": 0}, {"SOPInstanceUID": None}, {"SeriesInstanceUID": ""}, {"StudyInstanceUID": None},
    ],
)  # fmt: skip
@pytest.mark.risk("R-115")
def test_absurd_values_are_refused(write_slice, absurd: dict[str, object]) -> None:
    """Sizes no CT has, and objects without identity, are refused before anything is allocated for them."""
    with pytest.raises(HeaderError) as caught:
        read_headers(write_slice(**absurd))
    assert "Secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("keyword", "attribute", "value"),
    [
        ("ImagePositionPatient", "image_position_patient", [1, 2]),
        ("ImagePositionPatient", "image_position_patient", None),
        ("ImageOrientationPatient", "image_orientation_patient", [1, 0, 0, 1, 0, 0]),
        ("ImageOrientationPatient", "image_orientation_patient", [0, 0, 0, 0, 0, 0]),
        ("PixelSpacing", "pixel_spacing", [0, 0]),
        ("PixelSpacing", "pixel_spacing", ["1e300", "1"]),
        ("SliceThickness", "slice_thickness", -5),
        ("InstanceNumber", "instance_number", None),
    ],
)
def test_malformed_geometry_reads_as_absent(write_slice, keyword: str, attribute: str, value: object) -> None:
    """Geometry that cannot be true becomes None, for selection to say so; it never becomes a number."""
    values = {"InstanceNumber": 1} | {keyword: value}
    (header,) = read_headers(write_slice(**values))
    assert getattr(header, attribute) is None


def test_text_that_is_no_number_reads_as_absent(write_slice) -> None:
    """A decimal string of letters, as broken senders write it, is no number and no crash."""
    path = write_slice(SliceThickness="12345678")
    path.write_bytes(path.read_bytes().replace(b"12345678", b"abcdefgh"))
    (header,) = read_headers(path)
    assert header.slice_thickness is None


@pytest.mark.parametrize(
    ("charset", "description"),
    [("ISO_IR 100", "Schädel nativ"), ("ISO_IR 192", "頭部 単純"), (["", "ISO 2022 IR 87"], "頭部")],
)
def test_descriptions_in_other_alphabets(write_slice, charset: str, description: str) -> None:
    """Descriptions come out as written in the object's own character set."""
    (header,) = read_headers(write_slice(SpecificCharacterSet=charset, SeriesDescription=description))
    assert header.series_description == description


@pytest.mark.filterwarnings("ignore:Unknown encoding:UserWarning")
def test_unknown_character_set(write_slice) -> None:
    """A character set that does not exist costs the accents, not the study."""
    path = write_slice(SpecificCharacterSet="ISO_IR 100", SeriesDescription="Head")
    path.write_bytes(path.read_bytes().replace(b"ISO_IR 100", b"NO_SUCH_CS"))
    (header,) = read_headers(path)
    assert header.series_description == "Head"


def test_private_tags_are_stepped_over(write, make_slice) -> None:
    """Private elements, sequences among them, disturb nothing that follows."""
    ds = make_slice()
    block = ds.private_block(0x0019, "ACME 1.0", create=True)
    block.add_new(0x10, "SQ", [Dataset(), Dataset()])
    block.add_new(0x11, "UN", b"\xfe\xff\x00\xe0" * 100)
    (header,) = read_headers(write(ds))
    assert header.rows == 64 and header.pixels is not None


def test_an_object_without_image_still_has_a_name(write, make_slice) -> None:
    """A structured report gives one header that says what it is, as the reason for leaving it out."""
    ds = make_slice(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.67", Modality="SR")
    for keyword in ("PixelData", "Rows", "Columns", "BitsAllocated", "BitsStored"):
        del ds[keyword]
    (header,) = read_headers(write(ds))
    assert not header.is_ct_image and header.modality == "SR" and header.pixels is None


def test_one_header_per_frame(write, make_enhanced) -> None:
    """Enhanced CT resolves shared and per-frame functional groups for each frame."""
    headers = read_headers(write(make_enhanced(np.zeros((4, 64, 64), dtype=np.int16))))
    assert [header.frame_number for header in headers] == [1, 2, 3, 4]
    assert [header.image_position_patient[2] for header in headers] == [200, 195, 190, 185]
    assert {header.pixel_spacing for header in headers} == {(4.0, 4.0)}
    assert headers[0].rescale_intercept == -1000 and headers[0].convolution_kernel == "STANDARD"
    assert headers[0].image_type == ("ORIGINAL", "PRIMARY", "AXIAL", "NONE")


def test_frames_without_their_groups_are_refused(write, make_enhanced) -> None:
    """Frames that outnumber their functional groups have no known place."""
    ds = make_enhanced(np.zeros((4, 8, 8), dtype=np.int16))
    ds.PerFrameFunctionalGroupsSequence.pop()
    with pytest.raises(HeaderError, match="functional groups"):
        read_headers(write(ds))


def test_deflated_object(write, make_slice) -> None:
    """A deflated object reads like any other."""
    ds = make_slice()
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    (header,) = read_headers(write(ds))
    assert header.rows == 64 and header.pixels is not None


@pytest.mark.risk("R-115")
def test_deflate_bomb(write, make_slice, monkeypatch: pytest.MonkeyPatch) -> None:
    """An object that inflates beyond the limit is refused before it fills the memory."""
    monkeypatch.setattr(header_module, "MAX_INFLATED_BYTES", 1 << 20)
    ds = make_slice(np.zeros((2048, 2048), dtype=np.int16))
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = write(ds)
    assert path.stat().st_size < 100_000
    with pytest.raises(HeaderError, match="limit"):
        read_headers(path)


def test_truncated_deflate(tmp_path: Path, write, make_slice) -> None:
    """A deflated object cut short is refused."""
    ds = make_slice(np.random.default_rng(0).integers(0, 999, (64, 64)).astype(np.int16))
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = write(ds)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(HeaderError, match="truncated"):
        read_headers(path)


def test_a_folder_with_one_bad_file(write_series) -> None:
    """One unreadable file is named with its reason and the others are read."""
    paths = write_series(3)
    paths[1].write_bytes(b"rubbish")
    headers, unreadable = read_study(paths)
    assert len(headers) == 2
    assert [bad.path for bad in unreadable] == [paths[1]] and unreadable[0].reason


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.risk("R-116")
def test_no_damage_crashes_the_reader(tmp_path: Path, make_slice, data: st.DataObject) -> None:
    """Bytes overwritten or cut off anywhere give headers or HeaderError, never another exception."""
    path = tmp_path / "damaged.dcm"
    make_slice(np.zeros((4, 4), dtype=np.int16), SOPInstanceUID="1.2.3.5").save_as(
        path, enforce_file_format=True
    )
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 6))):
        content[data.draw(st.integers(132, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        headers = read_headers(path)
    except HeaderError:
        return
    assert headers


def test_files_of_public_sets_are_read_on_request(write_slice) -> None:
    """A set whose UIDs are names of its own and that leaves the SOP class out is refused unless asked for."""
    named = {"SOPClassUID": None, "StudyInstanceUID": "ID_1a", "SeriesInstanceUID": "ID_2b"}
    path = write_slice(**named)
    with pytest.raises(HeaderError, match="SOPClassUID missing"):
        read_headers(path)
    (header,) = read_headers(path, any_uid=True)
    assert header.is_ct_image and header.series_instance_uid == "ID_2b"
    with pytest.raises(HeaderError, match="SeriesInstanceUID is not a UID"):
        read_headers(write_slice(SeriesInstanceUID="ID_2b"))
