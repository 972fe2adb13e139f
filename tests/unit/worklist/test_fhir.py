"""DiagnosticReports, judged by a FHIR library of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from fhir.resources.R4B.diagnosticreport import DiagnosticReport

from ich_triage.domain.label import PRIORITISATION_ONLY, SYNTHETIC
from ich_triage.domain.states import StudyState
from ich_triage.store.database import Database
from tests.analysed import add_analysed

STATUS = {
    StudyState.FLAGGED: "preliminary",
    StudyState.NOT_FLAGGED: "preliminary",
    StudyState.NOT_ANALYSED: "cancelled",
    StudyState.FAILED: "cancelled",
    StudyState.IN_PROGRESS: "registered",
}


def _report(client: TestClient, uid: str) -> dict[str, Any]:
    answer = client.get(f"/api/v1/fhir/DiagnosticReport/{uid}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/fhir+json"
    DiagnosticReport.model_validate(answer.json())
    return dict(answer.json())


@pytest.mark.parametrize("state", STATUS)
def test_each_state_is_a_valid_report(
    reader: TestClient, sqlite: Database, spool: Path, state: StudyState
) -> None:
    """Without an answer of the model there is no result, and the words say that this is no negative one."""
    add_analysed(sqlite, spool, "1.2.3", state)
    report = _report(reader, "1.2.3")
    assert report["status"] == STATUS[state]
    assert PRIORITISATION_ONLY in report["conclusion"]
    analysed = state in (StudyState.FLAGGED, StudyState.NOT_FLAGGED)
    assert ("result" in report) == analysed
    assert (SYNTHETIC in report["conclusion"]) == analysed
    if state is StudyState.NOT_FLAGGED:
        assert "not a negative result" in report["conclusion"]


def test_a_flagged_study_has_probabilities_volume_and_side(
    reader: TestClient, sqlite: Database, spool: Path
) -> None:
    """As contained observations, each referred to."""
    add_analysed(sqlite, spool, "1.2.3")
    report = _report(reader, "1.2.3")
    observations = {each["id"]: each for each in report["contained"]}
    assert {f"#{each}" for each in observations} == {each["reference"] for each in report["result"]}
    assert observations["p-any"]["valueQuantity"]["value"] == 0.97
    assert observations["v-1"]["valueQuantity"] | {"value": 23.456} == observations["v-1"]["valueQuantity"]
    assert observations["v-1"]["bodySite"]["text"].endswith("left")
    assert {"value": "urn:oid:1.2.3", "system": "urn:dicom:uid"} in report["identifier"]


@pytest.mark.parametrize("uid", ["9.9", "x", "1.2.3%20or%201"])
def test_an_unknown_report_is_said(reader: TestClient, uid: str) -> None:
    """404, whatever stands there."""
    assert reader.get(f"/api/v1/fhir/DiagnosticReport/{uid}").status_code == 404
