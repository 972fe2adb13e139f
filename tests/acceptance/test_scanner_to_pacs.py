"""The main job with real peers: DCMTK sends, Orthanc and dcmqrscp receive, three readers judge."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import psutil
import pytest
from highdicom.sr import srread
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from ich_triage.dicom import codes, scu
from ich_triage.domain.finding import Side
from ich_triage.domain.labels import Subtype
from ich_triage.phantom.insert import insert_bleed
from tests.acceptance.conftest import Hospital
from tests.heads import SLICES, tiny_head
from tests.patient_scanner import PatientScanner
from tests.peers import dciodvfy_errors, dsrdump, program
from tests.service import Json, worklist

pytestmark = [pytest.mark.peer, pytest.mark.timeout(900)]


def _write(datasets: list[Dataset], folder: Path) -> Path:
    folder.mkdir()
    for number, ds in enumerate(datasets):
        ds.save_as(folder / f"{number:04d}.dcm", enforce_file_format=True)
    return folder


def _renamed(folder: Path) -> list[Dataset]:
    """The real head as a study of its own, so that tests do not meet in one."""
    study = generate_uid()
    datasets = [dcmread(path) for path in sorted(folder.glob("*.dcm"))]
    for ds in datasets:
        ds.StudyInstanceUID = study
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    return datasets


def _send(tool: str, folder: Path, hospital: Hospital) -> None:
    """As a scanner of DCMTK's make."""
    files = sorted(str(path) for path in folder.iterdir())
    us = hospital.us
    command = [program(tool), "-aet", "SCANNER", "-aec", us.ae_title, us.host, str(us.port), *files]
    subprocess.run(command, check=True, capture_output=True, timeout=120)


def _read_report(content: bytes) -> tuple[bool, list[str], list[str]]:
    """Of an SR: whether haemorrhage is present, the side of each finding with one, the key images."""
    report = srread(BytesIO(content))
    answers = {
        item.ConceptCodeSequence[0].CodeValue
        for item in _items(report, codes.INTRACRANIAL_HEMORRHAGE)
        if item.ValueType == "CODE"
    }
    sides = [
        str(site.laterality.meaning).lower()
        for group in report.content.get_image_measurement_groups()
        for site in group.finding_sites
        if site.laterality
    ]
    key_images = [
        str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for item in _items(report, codes.KEY_IMAGES)
        if item.ValueType == "IMAGE"
    ]
    return codes.PRESENT.value in answers, sides, key_images


def _items(parent: Dataset, name: Code) -> list[Dataset]:
    """The content items of that name, at any depth."""
    found = []
    for item in parent.get("ContentSequence", ()):
        concept = item.get("ConceptNameCodeSequence")
        if concept and concept[0].CodeValue == name.value:
            found.append(item)
        found += _items(item, name)
    return found


def _as_the_list_has_it(told: Json) -> tuple[bool, list[str], list[str]]:
    findings = told["analysis"]["findings"]
    sides = [side for finding in findings if (side := finding["side"]) in ("left", "right", "bilateral")]
    key_images = dict.fromkeys(finding["key_slice"]["sop_instance_uid"] for finding in findings)
    return told["state"] == "flagged", sides, list(key_images)


@pytest.fixture(scope="module")
def real_study(hospital: Hospital, real_head: Path, tmp_path_factory: pytest.TempPathFactory) -> Json:
    """The real head, sent by dcmsend and settled."""
    datasets = _renamed(real_head)
    _send("dcmsend", _write(datasets, tmp_path_factory.mktemp("scanner") / "files"), hospital)
    return hospital.until_settled(str(datasets[0].StudyInstanceUID))


@pytest.fixture(scope="module")
def our_files(hospital: Hospital, real_study: Json, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """What Orthanc has stored of ours for the real head."""
    folder = tmp_path_factory.mktemp("orthanc")
    stored = hospital.files_at_orthanc(real_study["study_instance_uid"])
    for uid, content in stored.items():
        (folder / f"{uid}.dcm").write_bytes(content)
    return sorted(folder.iterdir())


def test_the_real_head_comes_back_as_a_report(
    hospital: Hospital, real_study: Json, our_files: list[Path]
) -> None:
    """dcmsend to us, SR at Orthanc and at dcmqrscp, every time of the ledger in order."""
    assert real_study["state"] in ("flagged", "not_flagged")
    assert real_study["series"]["chosen"]["images"] == len(real_study["slices"])
    assert [dcmread(path).Modality for path in our_files].count("SR") == 1
    at_archive = {str(dcmread(path).SOPInstanceUID) for path in hospital.archive.glob("*") if _is_dicom(path)}
    assert {path.stem for path in our_files} <= at_archive
    stages = ("last_slice", "complete", "started", "inferred", "stored", "sent", "committed")
    moments = [real_study["ledger"][stage] for stage in stages]
    assert moments == sorted(moments)


def test_orthanc_commits_to_what_it_has(real_study: Json) -> None:
    """Orthanc's commitment result arrives at our listener, over an association of Orthanc's own."""
    at_orthanc = [each for each in real_study["deliveries"] if each["destination"] == "orthanc"]
    assert at_orthanc
    assert {each["state"] for each in at_orthanc} == {"committed"}
    assert all(each["committed_at"] for each in at_orthanc)


def test_dciodvfy_finds_no_error_of_ours(our_files: list[Path], real_head: Path) -> None:
    """Nothing but what the source carries in modules that are copied from it."""
    inherited = set(dciodvfy_errors(next(real_head.glob("*.dcm"))))
    for path in our_files:
        assert set(dciodvfy_errors(path)) - inherited == set()


def test_readers_of_reports_read_ours(our_files: list[Path], real_study: Json) -> None:
    """DCMTK's dsrdump prints it, highdicom parses it; both find what the worklist says."""
    (report,) = [path for path in our_files if dcmread(path).Modality == "SR"]
    told = dsrdump(report)
    assert "Imaging Measurement Report" in told
    assert "For prioritisation only" in told
    assert srread(report).StudyInstanceUID == real_study["study_instance_uid"]
    assert _read_report(report.read_bytes()) == _as_the_list_has_it(real_study)


def test_storescu_is_answered_and_reported(hospital: Hospital, tmp_path: Path) -> None:
    """DCMTK's other sender, another study."""
    datasets = tiny_head()
    _send("storescu", _write(datasets, tmp_path / "files"), hospital)
    told = hospital.until_settled(str(datasets[0].StudyInstanceUID))
    assert told["instances"] == len(datasets)
    assert told["calling_ae_title"] == "SCANNER"
    assert len(hospital.files_at_orthanc(told["study_instance_uid"])) >= 1


def test_orthanc_can_forward_to_us(hospital: Hospital, tmp_path: Path) -> None:
    """A PACS's auto-forward instead of a scanner."""
    datasets = tiny_head()
    uid = str(datasets[0].StudyInstanceUID)
    for ds in datasets:
        content = BytesIO()
        ds.save_as(content, enforce_file_format=True)
        hospital.orthanc.post("/instances", content.getvalue())
    ours = [each["ID"] for each in hospital.orthanc.get("/studies?expand") if _study_of(each) == uid]
    hospital.orthanc.post("/modalities/triage/store", ours[0].encode())
    assert hospital.until_settled(uid)["instances"] == len(datasets)


@pytest.mark.parametrize(
    ("subtype", "side", "volume_ml"),
    [
        (Subtype.INTRAPARENCHYMAL, Side.LEFT, 35.0),
        (Subtype.SUBDURAL, Side.RIGHT, 45.0),
    ],
)
def test_a_bleed_put_into_the_real_head_is_found_where_it_is(
    hospital: Hospital, real_head: Path, tmp_path: Path, subtype: Subtype, side: Side, volume_ml: float
) -> None:
    """Flagged; the first finding's key slice shows the bleed, and its side is the one it was put on."""
    datasets, truth = insert_bleed(_renamed(real_head), subtype, volume_ml, seed=3, side=side)
    _send("dcmsend", _write(datasets, tmp_path / "files"), hospital)
    told = hospital.until_settled(str(datasets[0].StudyInstanceUID))
    assert told["state"] == "flagged"
    first = told["analysis"]["findings"][0]
    bloody = {uid for uid, ml in zip(truth.sop_instance_uids, truth.slice_ml, strict=True) if ml > 0}
    assert first["key_slice"]["sop_instance_uid"] in bloody
    assert first["side"] == truth.side == side
    stored = hospital.files_at_orthanc(told["study_instance_uid"]).values()
    (report,) = (content for content in stored if dcmread(BytesIO(content)).Modality == "SR")
    assert _read_report(report) == _as_the_list_has_it(told)
    assert np.argmax(truth.slice_ml) in range(first["slice_range"][0] - 1, first["slice_range"][1] + 2)


def _is_dicom(path: Path) -> bool:
    return path.is_file() and path.read_bytes()[128:132] == b"DICM"


def _study_of(study: Json) -> str:
    return str(study["MainDicomTags"]["StudyInstanceUID"])


def test_serve_runs_what_other_systems_ask(hospital: Hospital) -> None:
    """Where it is enabled, beside receiver, worker and pages."""
    scu.echo(hospital.asked, calling="RIS", timeout_s=30.0)
    names = {child.cmdline()[-1] for child in hospital.process.children()}
    assert {"receiver", "worker", "web", "query"} <= names


def test_a_service_whose_processes_are_killed_loses_and_doubles_nothing(hospital: Hospital) -> None:
    """kill -9: the receiver in mid-study, the worker in an analysis; `serve` starts them again."""
    studies = [tiny_head(clot=True) for _ in range(3)]
    with ThreadPoolExecutor(1) as scanner:
        sent = scanner.submit(lambda: [PatientScanner(hospital.us).send(each) for each in studies])
        first = hospital.folder / "spool" / "studies" / str(studies[0][0].StudyInstanceUID)
        hospital.wait(lambda: len(list(first.glob("*.dcm"))) > 3, limit_s=60, what="some slices")
        _process(hospital, "receiver").kill()
        hospital.wait(lambda: _killed_in_an_analysis(hospital), limit_s=120, what="a study in work")
        sent.result(120)
    uids = [str(each[0].StudyInstanceUID) for each in studies]
    told = [hospital.until_settled(uid) for uid in uids]
    assert [len(each["slices"]) for each in told] == [SLICES] * 3
    assert max(revision["attempts"] for each in told for revision in each["revisions"]) >= 2
    for uid, each in zip(uids, told, strict=True):
        planned = {
            delivery["sop_instance_uid"]
            for revision in each["revisions"]
            for delivery in revision["deliveries"]
            if delivery["destination"] == "orthanc" and delivery["state"] != "superseded"
        }
        assert planned == hospital.at_orthanc(uid)


def _process(hospital: Hospital, name: str) -> psutil.Process:
    (found,) = (child for child in hospital.process.children() if child.cmdline()[-1:] == [name])
    return found


def _killed_in_an_analysis(hospital: Hospital) -> bool:
    """Look again once it cannot move any more: it may just have ended what it was at."""

    def in_work() -> bool:
        rows = worklist(hospital.database)
        return any(row["ledger"].get("started") and not row["ledger"].get("stored") for row in rows)

    if not in_work():
        return False
    worker = _process(hospital, "worker")
    worker.suspend()
    if in_work():
        worker.kill()
        return True
    worker.resume()
    return False
