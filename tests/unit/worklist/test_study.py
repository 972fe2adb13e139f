"""The study page."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pydicom.uid import Comprehensive3DSRStorage

from ich_triage.domain.label import PRIORITISATION_ONLY, SYNTHETIC
from ich_triage.domain.states import DeliveryState, OutputKind, StudyState
from ich_triage.keeping.retention import Retention
from ich_triage.outputs.outbox import Outbox
from ich_triage.settings import DicomDestination
from ich_triage.storage.folder import Folder
from ich_triage.store import feedback, studies
from ich_triage.store import worklist as query
from ich_triage.store.database import Database
from ich_triage.store.tables import Delivery
from tests import service
from tests.analysed import add_analysed
from tests.keeping import add_old, keeping
from tests.reports import made_header, report_of

UID = "1.2.3"


def test_a_flagged_study_tells_what_where_and_how_large(
    reader: TestClient, sqlite: Database, spool: Path
) -> None:
    """Finding with side and volume interval, key slice, package; both labels."""
    add_analysed(sqlite, spool, UID)
    page = reader.get(f"/studies/{UID}").text
    for words in (
        "SDH",
        "left",
        "23.5",
        "(18.2 to 29.9)",
        "phantom-resnet18 1",
        SYNTHETIC,
        PRIORITISATION_ONLY,
    ):
        assert words in page
    assert 'data-slice="5"' in page


def test_a_dead_letter_names_the_command_that_sends_it_again(
    reader: TestClient, sqlite: Database, spool: Path
) -> None:
    """Only where there is one."""
    add_analysed(sqlite, spool, UID)
    command = f"ich-triage redeliver {UID}"
    assert command not in reader.get(f"/studies/{UID}").text
    letter = Delivery(
        destination="pacs",
        kind=OutputKind.SR,
        sop_class_uid=Comprehensive3DSRStorage,
        sop_instance_uid="1.2.3.4",
        path="report.dcm",
        state=DeliveryState.DEAD,
    )
    with sqlite.write() as session:
        revision = studies.get(session, UID).revisions[-1]
        revision.deliveries.append(letter)
    assert command in reader.get(f"/studies/{UID}").text


@pytest.mark.parametrize("state", [StudyState.NOT_ANALYSED, StudyState.FAILED, StudyState.IN_PROGRESS])
def test_without_an_answer_nothing_looks_like_a_negative(
    reader: TestClient, sqlite: Database, spool: Path, state: StudyState
) -> None:
    """In words; and there is nothing to agree with."""
    add_analysed(sqlite, spool, UID, state)
    page = reader.get(f"/studies/{UID}").text
    assert "This is not a negative result" in page
    assert "There is no result to agree with" in page
    assert "Not flagged" not in page.split("<footer")[0]


@pytest.mark.risk("R-007")
def test_an_analysis_that_slices_have_overtaken_says_so(
    reader: TestClient, sqlite: Database, spool: Path
) -> None:
    """On the page and on the list: it does not cover them."""
    add_analysed(sqlite, spool, UID, StudyState.NOT_FLAGGED)
    assert "came after this analysis" not in reader.get(f"/studies/{UID}").text
    service.complete(sqlite, UID)
    assert "came after this analysis" in reader.get(f"/studies/{UID}").text
    assert "before the latest slices" in reader.get("/").text


def test_the_sites_viewer_is_linked_without_patient_data(
    site: Callable[..., TestClient], sqlite: Database, spool: Path
) -> None:
    """By the template of the configuration, escaped."""
    add_analysed(sqlite, spool, UID)
    client = site(viewer_url="https://viewer.example/?study={study_instance_uid}&acc={accession_number}")
    assert "https://viewer.example/?study=1.2.3&amp;acc=ACC9" in client.get(f"/studies/{UID}").text
    with sqlite.write() as session:
        studies.get(session, UID).accession_number = ""
    assert "viewer.example" not in client.get(f"/studies/{UID}").text  # it would open whatever it finds


def test_the_report_is_shown_as_it_went_out(reader: TestClient, sqlite: Database, spool: Path) -> None:
    """Every content item of the file in the outbox; before there is one, it says so."""
    add_analysed(sqlite, spool, UID)
    assert "No structured report" in reader.get(f"/studies/{UID}/report").text
    header = made_header(StudyInstanceUID=UID, PatientID="ID7", PatientName="DOE^JANE")
    pacs = DicomDestination(name="pacs", host="pacs", port=104, ae_title="PACS", outputs=("sr",))
    Outbox(Folder(spool), [pacs]).render(report_of([header], study_instance_uid=UID), [header])
    page = reader.get(f"/studies/{UID}/report").text
    for words in ("Imaging Measurement Report", "Flagged: intracranial hemorrhage suspected", "0.97"):
        assert words in page


def test_an_open_page_learns_that_it_is_out_of_date(
    reader: TestClient, sqlite: Database, spool: Path
) -> None:
    """Its version changes with the state and with late slices, not with feedback."""
    add_analysed(sqlite, spool, UID)

    def version() -> str:
        return str(reader.get(f"/studies/{UID}/version").json()["version"])

    first = version()
    assert re.search(r'data-version="(\w+)"', reader.get(f"/studies/{UID}").text)[1] == first  # type: ignore[index]
    with sqlite.write() as session:
        opinion = feedback.Opinion(reader="other", agrees=True)
        revision = query.one(session, UID).newest
        assert revision is not None
        feedback.give(session, revision, opinion, revision.complete_at)
    assert version() == first
    with sqlite.write() as session:
        studies.set_state(studies.get(session, UID), StudyState.NOT_FLAGGED)
    second = version()
    service.complete(sqlite, UID)
    assert len({first, second, version()}) == 3


@pytest.mark.parametrize("uid", ["9.9", "../../etc/passwd", "%2e%2e%2fetc", "x" * 65])
def test_an_unknown_study_is_said_on_a_page(reader: TestClient, uid: str) -> None:
    """In words, with a way back; never a trace."""
    answer = reader.get(f"/studies/{uid}", headers={"accept": "text/html"})
    assert answer.status_code in (404, 422)
    assert "Traceback" not in answer.text


def test_a_page_says_when_retention_removed_the_images(
    reader: TestClient, sqlite: Database, spool: Path, tmp_path: Path
) -> None:
    """Results stay on the page; in the place of pictures, also of those looked at before, is the date."""
    add_old(sqlite, tmp_path, UID, days=31)
    before = reader.get(f"/api/v1/studies/{UID}/pictures").json()
    Retention(keeping(tmp_path, images_days=30), sqlite, grace_s=0).run()
    page = reader.get(f"/studies/{UID}").text
    with sqlite.read() as session:
        day = f"{studies.get(session, UID).images_removed_at:%Y-%m-%d}"
    assert f"Its images were removed by retention on {day}" in page and "23.5" in page
    for path in ("", f"/0?stack={before['stack']}"):
        refused = reader.get(f"/api/v1/studies/{UID}/pictures{path}")
        assert refused.status_code == 410 and f"removed by retention on {day}" in refused.json()["detail"]
