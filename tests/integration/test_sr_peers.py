"""Objects made from a real head, judged by programs that are not ours."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from highdicom.sr import srread
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as standard_codes

from ich_triage.domain.labels import SUBTYPES
from ich_triage.domain.states import StudyState
from ich_triage.imaging.header import read_study
from ich_triage.imaging.select import select
from ich_triage.imaging.volume import Volume, assemble
from ich_triage.outputs.outbox import Outbox
from ich_triage.outputs.report import Report
from ich_triage.outputs.sr import build_sr
from ich_triage.settings import DicomDestination
from ich_triage.storage.folder import Folder
from tests.peers import dciodvfy_errors, dsrdump
from tests.reports import image_headers, made_header, made_headers, report_of

pytestmark = pytest.mark.peer

#: what the real head itself carries in a copied module: an empty Deidentification Method
CARRIED = "DeidentificationMethod"


@pytest.fixture(scope="module")
def volume(real_head: Path) -> Volume:
    """The real head as it is analysed."""
    headers, unreadable = read_study(sorted(real_head.glob("*.dcm")))
    chosen = select(headers, unreadable=unreadable).chosen
    assert chosen is not None
    return assemble(chosen)


@pytest.fixture(scope="module")
def headers(real_head: Path, volume: Volume) -> list[Dataset]:
    """Headers of the analysed images, in the volume's order."""
    by_uid = {str(ds.SOPInstanceUID): ds for ds in image_headers(real_head)}
    return [by_uid[image.sop_instance_uid] for image in volume.images]


@pytest.fixture
def files(tmp_path: Path, headers: list[Dataset], volume: Volume) -> Iterator[dict[str, Path]]:
    """What the outbox holds for the real head, flagged: kind → file."""
    masks = np.zeros((len(SUBTYPES), *volume.hu.shape), dtype=bool)
    masks[-1, 3:9, 180:260, 320:350] = True
    destination = DicomDestination(name="pacs", host="h", port=104, ae_title="PACS")
    planned = Outbox(Folder(tmp_path), (destination,)).render(
        report_of(headers), headers, volume=volume, masks=masks
    )
    yield {each.kind: tmp_path / each.path for each in planned}


def saved(report: Report, source: Dataset, folder: Path) -> Path:
    """The report as a file."""
    path = folder / "sr.dcm"
    build_sr(report, source).save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("kind", ["sr", "capture"])
def test_dciodvfy_finds_no_error_of_ours(files: dict[str, Path], kind: str) -> None:
    """The only error is the one that the source's patient module already carries."""
    errors = dciodvfy_errors(files[kind])
    assert [error for error in errors if CARRIED not in error] == []


@pytest.mark.parametrize("state", list(StudyState)[2:])
def test_dciodvfy_finds_no_error_in_a_report_of_any_state(tmp_path: Path, state: StudyState) -> None:
    """Flagged, not flagged, not analysed, failed, first or later revision: not one error."""
    report = report_of(made_headers(), state)
    later = replace(report, revision=2, predecessor=report.document)
    source = made_header(PatientName="Doe^Jane", PatientID="1", StudyDate="20260304")
    for each in (report, later):
        assert dciodvfy_errors(saved(each, source, tmp_path)) == []


def test_dsrdump_prints_the_report(files: dict[str, Path]) -> None:
    """DCMTK reads it as Comprehensive 3D SR and shows finding, side, volume, point and label."""
    text = dsrdump(files["sr"])
    for expected in (
        "Comprehensive 3D SR Document",
        'CODE:(121071,DCM,"Finding")=(1386000,SCT,"Intracranial hemorrhage")',
        '(SDH,99ICHTRIAGE,"Subdural hemorrhage")',
        '(7771000,SCT,"Left")',
        '(118565006,SCT,"Volume")="23.46" (mL,UCUM,"mL")',
        "SCOORD3D",
        "For prioritisation only; not flagged is not negative.",
        "Synthetic training data: not for clinical use.",
    ):
        assert expected in text, text


def test_highdicom_reads_it_back(files: dict[str, Path]) -> None:
    """The measurement groups are found again: the study, the subdural, the subarachnoid."""
    report = srread(files["sr"])
    groups = report.content.get_image_measurement_groups()
    assert [group.tracking_identifier for group in groups][1:] == ["SDH", "SAH"]
    subdural = groups[1]
    assert subdural.finding_type == standard_codes.SCT.IntracranialHemorrhage
    (volume, *_) = subdural.get_measurements(name=standard_codes.SCT.Volume)
    assert volume.value == pytest.approx(23.46)
    (found,) = report.content.get_image_measurement_groups(tracking_uid=subdural.tracking_uid)
    assert found.finding_sites[0].laterality == standard_codes.SCT.Left


@pytest.mark.risk("R-003")
def test_the_report_stays_in_the_patients_own_study(files: dict[str, Path], headers: list[Dataset]) -> None:
    """Patient, study and their empty values are the source's; what it lacks of Type 2 is there, empty."""
    for path in files.values():
        made = dcmread(path)
        for keyword in (
            "PatientName",
            "PatientID",
            "StudyInstanceUID",
            "StudyDate",
            "DeidentificationMethod",
        ):
            assert made[keyword].value == headers[0][keyword].value
        assert "PatientBirthDate" in made and not made.PatientBirthDate


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        (["ISO_IR 192"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["ISO_IR 144"], "Достоевский^Фёдор"),
        (["ISO_IR 192"], "<script>^a&b^'\"=王^小东"),
    ],
)
def test_names_in_any_script_are_read_by_others(tmp_path: Path, character_set: list[str], name: str) -> None:
    """DCMTK prints the name that the source carried; dciodvfy has nothing against it.

    ISO 2022 encodings, which DCMTK's Debian build cannot convert, are in the unit tests.
    """
    source = made_header(SpecificCharacterSet=character_set, PatientName=name)
    path = saved(report_of(made_headers()), source, tmp_path)
    assert str(dcmread(path).PatientName) == name
    assert dciodvfy_errors(path) == []
    assert name in dsrdump(path)


def test_the_file_is_explicit_little_endian(files: dict[str, Path]) -> None:
    """The transfer syntax that every PACS takes, with our own implementation identifier."""
    for path in files.values():
        meta = dcmread(io.BytesIO(path.read_bytes()), stop_before_pixels=True).file_meta
        assert meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
        assert meta.ImplementationVersionName == "ICH_TRIAGE_1"
