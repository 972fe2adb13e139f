"""The webhook's JSON: stable, honest, and without the patient's name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ich_triage.domain.label import PRIORITISATION_ONLY, SYNTHETIC
from ich_triage.domain.states import StudyState
from ich_triage.outputs.webhook_body import build_body
from ich_triage.settings import WebhookDestination
from tests.reports import made_header, made_headers, report_of

DESK = WebhookDestination(kind="webhook", name="desk", url="https://desk.example/hook")
HEADER = made_header(
    PatientName="Doe^Jane", PatientID="4711", PatientBirthDate="19700131", AccessionNumber='"A\\1'
)


def told(state: StudyState = StudyState.FLAGGED, **changes: Any) -> dict[str, Any]:
    """The body's data for a report in `state`."""
    return dict(json.loads(build_body(report_of(made_headers(), state, **changes), HEADER, DESK))["data"])


def test_a_flagged_study_says_everything() -> None:
    """Each documented key has its value."""
    body = json.loads(build_body(report_of(made_headers()), HEADER, DESK))
    assert (body["type"], body["timestamp"]) == ("study.triaged", "2026-03-04T05:06:07.890000+00:00")
    data = body["data"]
    assert (data["study_instance_uid"], data["accession_number"], data["revision"]) == ("1.2.3", '"A\\1', 1)
    assert (data["state"], data["priority"], data["stat"], data["reason"]) == ("flagged", 2, False, None)
    assert data["analysis"]["probabilities"]["any"] == 0.97
    assert data["analysis"]["package"]["weights_sha256"] == "ab" * 32
    assert data["findings"][0] == {
        "subtype": "subdural",
        "probability": 0.9312,
        "side": "left",
        "volume_ml": 23.456,
        "volume_interval_ml": [18.2, 29.9],
        "key_image": {
            "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
            "sop_instance_uid": "1.2.3.1.6",
            "frame_number": None,
        },
    }
    assert data["labels"] == [PRIORITISATION_ONLY, SYNTHETIC]


@pytest.mark.parametrize("state", [StudyState.NOT_ANALYSED, StudyState.FAILED])
@pytest.mark.risk("R-002")
def test_what_was_not_analysed_is_no_negative(state: StudyState) -> None:
    """State and reason say so; there is no analysis whose probabilities could be misread."""
    data = told(state)
    assert (data["state"], data["reason"]) == (state, {"code": "angiography", "text": "CT angiography"})
    assert (data["analysis"], data["findings"], data["labels"]) == (None, [], [PRIORITISATION_ONLY])


def test_a_flag_that_stands_is_said() -> None:
    """A second look that came to nothing: not analysed, but the study is as urgent as before."""
    data = told(StudyState.NOT_ANALYSED, flag_stood=True, predecessor_held_by=frozenset({"desk"}))
    assert (data["earlier_flag_stands"], data["priority"], data["correction"]) == (True, 2, True)


@pytest.mark.risk("R-123")
def test_nothing_identifies_the_patient() -> None:
    """Name, id and date of birth stay where they are; the same report makes the same bytes."""
    body = build_body(report_of(made_headers()), HEADER, DESK)
    assert not any(each in body for each in (b"Doe", b"4711", b"1970"))
    assert body == build_body(report_of(made_headers()), HEADER, DESK)


def test_the_documented_example_is_what_is_posted() -> None:
    """docs/webhook.md shows a body as it is built, and names each of its keys."""
    document = (Path(__file__).parents[3] / "docs/webhook.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```json\n(.*?)```", document, re.DOTALL)
    body = json.loads(build_body(report_of(made_headers()), made_header(AccessionNumber="SYN-A1"), DESK))
    assert body == json.loads(example)
    table = document.split("## The body")[1].split("```json")[0]
    finding = body["data"]["findings"][0]
    for part in (body["data"], body["data"]["analysis"], body["data"]["analysis"]["package"], finding):
        assert all(f"{key}`" in table or f"{key}[]`" in table for key in part)
