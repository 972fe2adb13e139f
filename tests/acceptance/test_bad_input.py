"""Hostile objects through the running service: each study ends in a clear reason, the processes live on."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedCTImageStorage, generate_uid

from ich_triage.dicom import scu
from tests import wire
from tests.acceptance.conftest import Hospital
from tests.files import files_below
from tests.heads import PIXELS, SLICES, tiny_head
from tests.scanner import dose_report
from tests.service import Json, worklist

pytestmark = [pytest.mark.peer, pytest.mark.timeout(900)]

ANALYSED = ("flagged", "not_flagged")


def _save(datasets: list[Dataset], folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, ds in enumerate(datasets):
        path = folder / f"{number:04d}.dcm"
        ds.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def _truncated(folder: Path) -> list[Path]:
    paths = _save(tiny_head(), folder)
    for path in paths[3:6]:
        path.write_bytes(path.read_bytes()[:-3000])
    return paths


def _without_pixels(folder: Path) -> list[Path]:
    datasets = tiny_head()
    for ds in datasets:
        del ds.PixelData
    return _save(datasets, folder)


def _too_few_pixels(folder: Path) -> list[Path]:
    datasets = tiny_head()
    for ds in datasets:
        ds.PixelData = ds.PixelData[: PIXELS * 10]
    return _save(datasets, folder)


def _lengths_that_lie(folder: Path) -> list[Path]:
    paths = _save(tiny_head(), folder)
    for path in paths:
        content = path.read_bytes()
        at = content.rindex(b"\xe0\x7f\x10\x00OW") + 8
        path.write_bytes(content[:at] + struct.pack("<L", 0x7FFFFFF0) + content[at + 4 :])
    return paths


def _bomb(folder: Path) -> list[Path]:
    datasets = tiny_head()
    for ds in datasets:
        ds.Rows = ds.Columns = 65535
    return _save(datasets, folder)


def _without(*keywords: str) -> Callable[[Path], list[Path]]:
    def make(folder: Path) -> list[Path]:
        datasets = tiny_head()
        for ds in datasets:
            for keyword in keywords:
                delattr(ds, keyword)
        return _save(datasets, folder)

    return make


def _absurd_numbers(folder: Path) -> list[Path]:
    datasets = tiny_head()
    for ds in datasets:
        ds.add_new("ImagePositionPatient", "LO", "nan\\inf\\1e400")
        ds.add_new("RescaleSlope", "LO", "rubbish")
    return _save(datasets, folder)


def _no_image(folder: Path) -> list[Path]:
    return _save([dose_report(generate_uid())], folder)


def _no_frames(folder: Path) -> list[Path]:
    ds = tiny_head(last=1)[0]
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    ds.NumberOfFrames = 0
    ds.PerFrameFunctionalGroupsSequence = Sequence([])
    ds.PixelData = b""
    return _save([ds], folder)


def _every_second_slice_missing(folder: Path) -> list[Path]:
    datasets = tiny_head()
    return _save(datasets[:5] + datasets[8:], folder)


def _top_unreadable(folder: Path) -> list[Path]:
    datasets = tiny_head()
    for ds in datasets[-2:]:
        ds.Rows = 65535
    return _save(datasets, folder)


def _top_with_contrast(folder: Path) -> list[Path]:
    datasets = tiny_head()
    for ds in datasets[-2:]:
        ds.ContrastBolusAgent = "IOHEXOL"
    return _save(datasets, folder)


def _one_of_no_series(folder: Path) -> list[Path]:
    datasets = tiny_head()
    del datasets[-1].SeriesInstanceUID
    return _save(datasets, folder)


def _infinite_slope(folder: Path) -> list[Path]:
    datasets = tiny_head()
    datasets[3].add_new("RescaleSlope", "DS", "1e39")
    return _save(datasets, folder)


BAD = {
    "truncated files": (_truncated, {"unreadable_pixels", "gaps", "unreadable_header"}),
    "no pixel data": (_without_pixels, {"unreadable_pixels"}),
    "pixel data too short": (_too_few_pixels, {"unreadable_pixels"}),
    "an element longer than its file": (_lengths_that_lie, {"unreadable_pixels", "unreadable_header"}),
    "a decompression bomb": (_bomb, {"not_a_head", "unreadable_pixels", "unreadable_header"}),
    "no position": (_without("ImagePositionPatient"), {"no_geometry"}),
    "no spacing": (_without("PixelSpacing"), {"no_geometry"}),
    "no rows": (_without("Rows"), {"unreadable_pixels", "unreadable_header", "no_geometry", "no_ct_images"}),
    "numbers that are none": (_absurd_numbers, {"no_geometry", "unreadable_header", "unreadable_pixels"}),
    "no image at all": (_no_image, {"no_ct_images"}),
    "an image without frames": (
        _no_frames,
        {"no_ct_images", "unreadable_header", "unreadable_pixels", "no_geometry", "too_few_slices"},
    ),
    "uppermost slices unreadable": (_top_unreadable, {"unreadable_header"}),
    "uppermost slices another scan": (_top_with_contrast, {"gaps"}),
    "a slope beyond all numbers": (_infinite_slope, {"unreadable_header", "gaps"}),
    "a slice of no known series": (_one_of_no_series, {"unreadable_header"}),
    "no series at all": (_without("SeriesInstanceUID"), {"unreadable_header", "no_ct_images"}),
    "slices missing in the middle": (_every_second_slice_missing, {"gaps"}),
}


def _interleaved(folder: Path) -> list[Path]:
    study = generate_uid()
    one, two = tiny_head(study=study), tiny_head(study=study)
    return _save([ds for pair in zip(one, two, strict=True) for ds in pair], folder)


def _japanese(folder: Path) -> list[Path]:
    datasets = tiny_head()
    for ds in datasets:
        ds.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
        ds.PatientName = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    return _save(datasets, folder)


def _unknown_character_set(folder: Path) -> list[Path]:
    paths = _save(tiny_head(name="Test^Head"), folder)
    for path in paths:
        path.write_bytes(path.read_bytes().replace(b"Test^Head", b"T\xe9st^\xff\xfe\x1b$"))
    return paths


def _private_tags(folder: Path) -> list[Path]:
    datasets = tiny_head()
    for ds in datasets:
        block = ds.private_block(0x0009, "ACME 1.1", create=True)
        block.add_new(0x01, "UN", b"\x00\xff" * 1000)
        block.add_new(0x02, "SQ", Sequence([Dataset()]))
        ds.add_new(0x00E11001, "LO", "no creator")
        ds[0x00E11001].private_creator = None
    return _save(datasets, folder)


ODD = {
    "two series interleaved": _interleaved,
    "Japanese": _japanese,
    "an unknown character set": _unknown_character_set,
    "private tags": _private_tags,
}


def _send(hospital: Hospital, paths: list[Path]) -> None:
    """The last slice first: if it is the bad one and comes after a pause, a flag of the others stays up."""
    sent = scu.store(paths[::-1], hospital.us, calling="HOSTILE")
    errors = [each.error for each in sent if each.error]
    assert errors == []


def _study_uid(paths: list[Path]) -> str:
    from pydicom import dcmread

    return str(dcmread(paths[-1], stop_before_pixels=True, force=True).StudyInstanceUID)


@pytest.fixture(scope="module")
def settled(hospital: Hospital, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Json]:
    """Every odd and hostile study, sent at once beside a good one, and what became of each."""
    folder = tmp_path_factory.mktemp("hostile")
    running = hospital.process_ids()
    studies = {name: make(folder / name) for name, make in ODD.items()}
    studies |= {name: make(folder / name) for name, (make, _) in BAD.items()}
    studies["a good one"] = _save(tiny_head(), folder / "good")
    for paths in studies.values():
        _send(hospital, paths)
    told = {name: hospital.until_settled(_study_uid(paths)) for name, paths in studies.items()}
    assert hospital.process_ids() == running, "a process died of what it was sent"
    return told


@pytest.mark.parametrize("name", BAD)
@pytest.mark.risk("R-002")
def test_what_cannot_be_analysed_says_why(settled: dict[str, Json], name: str) -> None:
    """Not analysed, with one of the reasons that fit, in words too; and a report says so at the PACS."""
    told, codes = settled[name], BAD[name][1]
    assert told["state"] == "not_analysed"
    assert told["reason"]["code"] in codes
    assert told["reason"]["text"]
    assert told["analysis"] is None
    assert {each["kind"] for each in told["deliveries"]} == {"sr"}


@pytest.mark.parametrize("name", [*ODD, "a good one"])
def test_what_is_only_odd_is_analysed(settled: dict[str, Json], name: str) -> None:
    """Strange, but a whole head: an answer over all its slices."""
    told = settled[name]
    assert told["state"] in ANALYSED
    assert len(told["slices"]) == SLICES


def test_names_are_read_in_their_character_set(settled: dict[str, Json]) -> None:
    """The list shows the patient's name as it is written."""
    assert "山田^太郎" in settled["Japanese"]["patient_name"]


@pytest.mark.risk("R-003")
def test_one_uid_in_two_studies_is_kept_apart(hospital: Hospital, tmp_path: Path) -> None:
    """Both are analysed over their own pixels; the second says what is wrong with it."""
    series = generate_uid()[:50]
    first, second = tiny_head(series=series), tiny_head(series=series, clot=True)
    _send(hospital, _save(first, tmp_path / "1"))
    hospital.until_settled(str(first[0].StudyInstanceUID))
    _send(hospital, _save(second, tmp_path / "2"))
    told = hospital.until_settled(str(second[0].StudyInstanceUID))
    assert told["state"] in ANALYSED
    assert {each["kind"] for each in told["problems"]} == {"uid_in_two_studies"}
    assert "Test" not in str(told["problems"])


def test_a_scanner_that_leaves_in_mid_object_is_forgotten(hospital: Hospital) -> None:
    """No study, no half file, and the next association is served."""
    before = {row["study_instance_uid"] for row in worklist(hospital.database)}
    with wire.connect(hospital.us.port) as peer:
        peer.sendall(wire.associate_rq(called=hospital.us.ae_title))
        assert wire.read_pdu(peer)[0] == wire.ACCEPTED
        peer.sendall(wire.store_command("1.2.3.4.5"))
        peer.sendall(wire.p_data(b"\x08\x00\x05\x00" * 500, control=0))
    incoming = hospital.folder / "spool" / "incoming"
    hospital.wait(
        lambda: not [path for path in files_below(incoming) if not path.name.startswith(".")], limit_s=90
    )
    scu.echo(hospital.us, calling="TEST")
    assert {row["study_instance_uid"] for row in worklist(hospital.database)} == before


def test_bare_connections_do_not_use_up_the_places(hospital: Hospital) -> None:
    """More port probes than there are associations; a scanner still gets in, and nobody died."""
    running = hospital.process_ids()
    for _ in range(40):
        socket.create_connection((hospital.us.host, hospital.us.port), timeout=10).close()
    with socket.create_connection((hospital.us.host, hospital.us.port), timeout=10) as web_browser:
        web_browser.sendall(b"GET / HTTP/1.1\r\n\r\n")
        scu.echo(hospital.us, calling="TEST")
    assert hospital.process_ids() == running
