"""What the index reads from headers, good and hostile."""

from __future__ import annotations

import errno
import tracemalloc
import zlib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)

from ich_triage.errors import HeaderError
from ich_triage.intake.header import HEADER_LIMIT_BYTES, read
from ich_triage.intake.spool import Arrival
from ich_triage.store.instances import Received
from tests.scanner import IDENTIFIERS, ct_slice, raw_file

STUDY, SERIES = "1.2.3", "1.2.3.4"
SERIES_TAG = 0x0020000E


def _read(data: Dataset, folder: Path) -> Received:
    path = folder / "object.dcm"
    data.save_as(path, enforce_file_format=True)
    return read(Arrival(path=path, received_at=datetime.now(UTC)))


def test_a_slice_is_read_with_its_place(tmp_path: Path) -> None:
    """Identifiers, patient and geometry come out as they stand in the header."""
    data = ct_slice(3, study=STUDY, series=SERIES)
    data.file_meta.SendingApplicationEntityTitle = "SCANNER"
    data.ImagesInAcquisition = 24
    found = _read(data, tmp_path)
    assert (found.study_instance_uid, found.series_instance_uid) == (STUDY, SERIES)
    assert (found.sop_instance_uid, found.patient_name) == (f"{SERIES}.3", "Test^Head")
    assert (found.patient_id, found.accession_number, found.study_date) == ("ID7", "ACC9", "20260102")
    assert found.calling_ae_title == "SCANNER"
    assert found.positions == [
        {
            "series_instance_uid": SERIES,
            "image_position": (-100.0, -100.0, 15.0),
            "image_orientation": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
            "is_axial_ct": True,
            "instance_number": 3,
            "images_in_acquisition": 24,
            "slice_thickness": 5.0,
        }
    ]


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
    ids=lambda uid: uid.keyword,
)
def test_every_native_encoding_is_read(tmp_path: Path, syntax: str) -> None:
    """Implicit, big endian and deflated headers give the same facts."""
    data = ct_slice(2, study=STUDY, series=SERIES)
    data.file_meta.TransferSyntaxUID = syntax
    del data.PixelData
    path = tmp_path / "object.dcm"
    data.save_as(path, enforce_file_format=True)
    found = read(Arrival(path=path, received_at=datetime.now(UTC)))
    assert found.study_instance_uid == STUDY
    assert found.positions is not None
    assert found.positions[0]["image_position"] == (-100.0, -100.0, 10.0)


@pytest.mark.parametrize(
    ("charset", "encoded", "decoded"),
    [
        ("ISO_IR 100", "Müller^Jörg".encode("latin-1"), "Müller^Jörg"),
        ("ISO_IR 192", "Ωμέγα^山田".encode(), "Ωμέγα^山田"),
        ("ISO_IR 144", "Люкceмбypг".encode("iso8859_5"), "Люкceмбypг"),
        ("\\ISO 2022 IR 87", b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "Yamada^Tarou=山田^太郎"),
        ("", b"Plain^Name", "Plain^Name"),
    ],
)
def test_names_are_decoded_by_their_character_set(
    tmp_path: Path, charset: str, encoded: bytes, decoded: str
) -> None:
    """Single-byte, Unicode and code-extension character sets all arrive as text."""
    assert _read_named(tmp_path, charset, encoded).patient_name == decoded


@pytest.mark.filterwarnings("ignore:Unknown encoding")
@pytest.mark.parametrize("charset", ["NO SUCH SET", "ISO_IR 192", "\\ISO 2022 IR 87"])
def test_a_hostile_name_never_costs_the_object(tmp_path: Path, charset: str) -> None:
    """Bytes that are no text in their character set, and controls, leave a name that a database can keep."""
    hostile = b"\xff\xfe\x00\x1b$B\xff\x01<script>" + b"A" * 5000
    name = _read_named(tmp_path, charset, hostile).patient_name
    assert "<script>" in name
    assert name.isprintable()
    assert len(name) <= 256


def _read_named(folder: Path, charset: str, name: bytes) -> Received:
    return _read_raw(folder, IDENTIFIERS | {0x00080005: ("CS", charset.encode()), 0x00100010: ("PN", name)})


def _read_raw(folder: Path, elements: dict[int, tuple[str, bytes]]) -> Received:
    path = raw_file(folder / "object.dcm", elements)
    return read(Arrival(path=path, received_at=datetime.now(UTC)))


def test_localizers_and_reformats_are_not_axial(tmp_path: Path) -> None:
    """What cannot be a slice of an axial stack never makes a study look whole."""
    scout = ct_slice(1, study=STUDY, series=SERIES)
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    coronal = ct_slice(1, study=STUDY, series=SERIES)
    coronal.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    for data in (scout, coronal):
        positions = _read(data, tmp_path).positions
        assert positions is not None
        assert positions[0]["is_axial_ct"] is False


def test_malformed_geometry_is_no_geometry(tmp_path: Path) -> None:
    """Numbers that are none, too few or infinite become None, and the object is still indexed."""
    malformed = {
        0x00200032: ("DS", b"1\\2\\nan"),
        0x00200037: ("DS", b"1\\0\\0"),
        0x00200013: ("IS", b"99999999999999999999"),
        0x00180050: ("DS", b"thick"),
    }
    positions = _read_raw(tmp_path, IDENTIFIERS | malformed).positions
    assert positions is not None
    assert positions[0]["image_position"] is positions[0]["image_orientation"] is None
    assert positions[0]["instance_number"] is positions[0]["slice_thickness"] is None


def test_objects_that_are_no_ct_have_no_place(tmp_path: Path) -> None:
    """A capture is indexed without a position."""
    data = ct_slice(1, study=STUDY, series=SERIES)
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    assert _read(data, tmp_path).positions is None


@pytest.mark.parametrize("tag", [tag for tag in IDENTIFIERS if tag != SERIES_TAG], ids=hex)
@pytest.mark.parametrize("value", [None, b"../../etc/passwd", b"1." + b"2" * 70, b".."])
def test_identifiers_that_cannot_be_trusted_are_refused(
    tmp_path: Path, tag: int, value: bytes | None
) -> None:
    """Nothing but digits and dots, 64 at most, ever becomes a file name."""
    elements = {key: item for key, item in IDENTIFIERS.items() if key != tag}
    with pytest.raises(HeaderError, match="missing" if value is None else "not a UID"):
        _read_raw(tmp_path, elements if value is None else elements | {tag: ("UI", value)})


def test_a_refused_object_names_the_study_that_it_belongs_to(tmp_path: Path) -> None:
    """So that whoever looks at the study learns of the object that was not looked at."""
    sop_instance_uid = 0x00080018
    elements = {key: item for key, item in IDENTIFIERS.items() if key != sop_instance_uid}
    with pytest.raises(HeaderError) as refused:
        _read_raw(tmp_path, elements)
    assert refused.value.study_instance_uid == STUDY


@pytest.mark.parametrize("series", [None, "series 3"])
def test_a_slice_of_no_known_series_stays_in_its_study(tmp_path: Path, series: str | None) -> None:
    """It may be the slice with the bleed, so the study has to know of it."""
    data = ct_slice(1, study=STUDY, series=SERIES)
    del data.SeriesInstanceUID
    if series:
        data.add_new("SeriesInstanceUID", "LO", series)
    received = _read(data, tmp_path)
    assert (received.study_instance_uid, received.series_instance_uid) == (STUDY, "")


@pytest.mark.parametrize("trouble", [OSError(errno.ENOMEM, "no memory"), MemoryError()])
def test_trouble_of_the_machine_is_not_the_objects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    """It will pass: the object must not be set aside for it."""

    def fail(*_: object) -> None:
        raise trouble

    monkeypatch.setattr("ich_triage.intake.header._parse", fail)
    with pytest.raises(OSError, match=r"(?i)memory"):
        _read(ct_slice(1, study=STUDY, series=SERIES), tmp_path)


@pytest.mark.parametrize("content", [b"", b"rubbish", b"\0" * 128 + b"DICM", bytes(range(256)) * 40])
def test_rubbish_is_a_header_error(tmp_path: Path, content: bytes) -> None:
    """Whatever the bytes, the reader says so in its own words."""
    path = tmp_path / "object.dcm"
    path.write_bytes(content)
    with pytest.raises(HeaderError):
        read(Arrival(path=path, received_at=datetime.now(UTC)))


@pytest.mark.parametrize("keep", [200, 400, 700, 900])
def test_a_truncated_header_is_an_error_or_complete(tmp_path: Path, keep: int) -> None:
    """A file cut anywhere is refused, or read with all its identifiers; nothing else escapes."""
    path = tmp_path / "object.dcm"
    ct_slice(1, study=STUDY, series=SERIES).save_as(path, enforce_file_format=True)
    path.write_bytes(path.read_bytes()[:keep])
    try:
        found = read(Arrival(path=path, received_at=datetime.now(UTC)))
    except HeaderError:
        return
    assert found.study_instance_uid == STUDY


def test_a_deflated_bomb_unfolds_only_to_the_limit(tmp_path: Path) -> None:
    """A few kilobytes that inflate to gigabytes cost no more than the header limit."""
    data = ct_slice(1, study=STUDY, series=SERIES)
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    del data.PixelData
    path = tmp_path / "object.dcm"
    data.save_as(path, enforce_file_format=True)
    whole = path.read_bytes()
    start = 144 + int.from_bytes(whole[140:144], "little")
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    header = zlib.decompress(whole[start:], -zlib.MAX_WBITS)
    bomb = [deflate.compress(header), *(deflate.compress(bytes(1 << 24)) for _ in range(16)), deflate.flush()]
    path.write_bytes(whole[:start] + b"".join(bomb))
    tracemalloc.start()
    try:
        found = read(Arrival(path=path, received_at=datetime.now(UTC)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.study_instance_uid == STUDY
    assert peak < 4 * HEADER_LIMIT_BYTES
