"""The quality page."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from ich_triage.domain.states import StudyState
from ich_triage.store.database import Database
from tests.analysed import add_analysed


@pytest.mark.risk("R-013")
def test_the_page_and_the_api_tell_the_same(reader: TestClient, sqlite: Database, spool: Path) -> None:
    """Two studies, one flagged: the share with its interval."""
    add_analysed(sqlite, spool, "1.2.3")
    add_analysed(sqlite, spool, "1.2.4", StudyState.NOT_FLAGGED)
    (package,) = reader.get("/api/v1/quality").json()["packages"]
    rate = package["total"]["flag_rate"]
    assert (rate["count"], rate["of"], rate["value"]) == (1, 2, 0.5)
    page = reader.get("/quality").text
    assert "1 of 2" in page
    assert "phantom-resnet18 1" in page


def test_before_the_first_answer_it_says_so(reader: TestClient) -> None:
    """No figure of nothing."""
    assert "No model has answered" in reader.get("/quality").text
