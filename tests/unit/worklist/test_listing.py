"""The worklist page and its rows."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from ich_triage.domain.audit import AuditEvent
from ich_triage.domain.label import PRIORITISATION_ONLY, SYNTHETIC
from ich_triage.domain.states import StudyState
from ich_triage.store.account_tables import Audit
from ich_triage.store.database import Database
from tests.analysed import add_analysed
from tests.web import csrf_token

STATES = (
    StudyState.NOT_FLAGGED,
    StudyState.FLAGGED,
    StudyState.NOT_ANALYSED,
    StudyState.FAILED,
    StudyState.IN_PROGRESS,
)


@pytest.fixture
def studies(sqlite: Database, spool: Path) -> dict[StudyState, str]:
    """One study of each state: state → Study Instance UID."""
    found = {state: f"1.2.{number}" for number, state in enumerate(STATES, start=1)}
    for state, uid in found.items():
        add_analysed(sqlite, spool, uid, state)
    return found


def _uids(page: str) -> list[str]:
    return re.findall(r'data-uid="([0-9.]+)"', page)


def _rows(client: TestClient, **form: object) -> str:
    token = csrf_token(client.get("/").text)
    answer = client.post("/rows", data=form, headers={"X-CSRF-Token": token})
    assert answer.status_code == 200
    return answer.text


def test_the_page_tells_the_states_apart_in_words(reader: TestClient, studies: dict[StudyState, str]) -> None:
    """Flagged first, not flagged last; each state by its name, reasons beside it, both labels on the page."""
    page = reader.get("/").text
    uids = _uids(page)
    assert uids[0] == studies[StudyState.FLAGGED]
    assert uids[-1] == studies[StudyState.NOT_FLAGGED]
    rows = dict(zip(uids, page.split('data-uid="')[1:], strict=True))
    words = {
        StudyState.FLAGGED: "Flagged",
        StudyState.NOT_ANALYSED: "Not analysed",
        StudyState.FAILED: "Failed",
    }
    for state, word in words.items():
        assert f">{word}" in rows[studies[state]].replace("</span>", "")
    assert "contrast agent was given" in rows[studies[StudyState.NOT_ANALYSED]]
    assert "SDH" in rows[studies[StudyState.FLAGGED]]
    assert PRIORITISATION_ONLY in page
    assert SYNTHETIC in page


def test_filters_and_search_travel_in_the_body(reader: TestClient, studies: dict[StudyState, str]) -> None:
    """Kinds join; words are looked for in name, id and accession number."""
    assert _uids(_rows(reader, kind=["flagged"])) == [studies[StudyState.FLAGGED]]
    both = _uids(_rows(reader, kind=["open", "not_analysed"]))
    assert set(both) == {
        studies[each] for each in (StudyState.NOT_ANALYSED, StudyState.FAILED, StudyState.IN_PROGRESS)
    }
    assert len(_uids(_rows(reader, search="doe acc9"))) == len(STATES)
    assert "in the last 72 hours matches" in _rows(reader, search="nobody")


def test_pages_follow_each_other(site: Callable[..., TestClient], studies: dict[StudyState, str]) -> None:
    """Without overlap, and the counts are those of all."""
    client = site(page_size=2)
    pages = [_rows(client, page=number) for number in (1, 2, 3)]
    assert [len(_uids(page)) for page in pages] == [2, 2, 1]
    assert {uid for page in pages for uid in _uids(page)} == set(studies.values())
    assert all("5 studies" in page for page in pages)


def test_a_list_that_became_shorter_has_no_empty_page(
    site: Callable[..., TestClient], studies: dict[StudyState, str]
) -> None:
    """The last page there is, and how many there are."""
    page = _rows(site(page_size=2), page=9)
    assert (len(_uids(page)), "page 3 of 3" in page) == (1, True)
    assert 'data-pages="3"' in page


def test_search_finds_what_the_row_shows(reader: TestClient, sqlite: Database, spool: Path) -> None:
    """Whatever the case, umlauts and commas included."""
    add_analysed(sqlite, spool, "1.2.9", name="MÜLLER^HANS")
    for words in ("müller", "Müller, Hans", "hans MÜL"):
        assert _uids(_rows(reader, search=words)) == ["1.2.9"], words


@pytest.mark.risk("R-107")
def test_a_name_is_text_whatever_it_holds(reader: TestClient, sqlite: Database, spool: Path) -> None:
    """DICOM names are written by others."""
    add_analysed(sqlite, spool, "1.2.9", name='"><script>alert(1)</script>')
    page = reader.get("/").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.risk("R-111")
def test_nothing_of_a_patient_is_in_an_address(reader: TestClient, studies: dict[StudyState, str]) -> None:
    """Links of the page have UIDs; the search form is sent as a body."""
    page = reader.get("/").text
    addresses = re.findall(r'(?:href|src|action|hx-post|sse-connect)="([^"]*)"', page)
    assert any(studies[StudyState.FLAGGED] in each for each in addresses)
    assert not any("DOE" in each or "ID7" in each or "ACC9" in each for each in addresses)


@pytest.mark.parametrize(
    "form", [{"page": "0"}, {"page": "x"}, {"search": "x" * 300}, {"kind": ["flagged"] * 9}]
)
def test_a_malformed_form_is_refused(reader: TestClient, form: dict[str, object]) -> None:
    """With words that name the field and never what was in it."""
    token = csrf_token(reader.get("/").text)
    answer = reader.post("/rows", data=form, headers={"X-CSRF-Token": token})
    assert answer.status_code == 422
    assert "xxx" not in answer.text


@pytest.mark.risk("R-119")
def test_looking_at_the_list_is_audited(
    reader: TestClient, studies: dict[StudyState, str], sqlite: Database
) -> None:
    """One record of the page with its number of rows; renewals of the same part are one a minute."""
    _rows(reader)
    _rows(reader)
    _rows(reader, kind=["flagged"], search="Doe")
    with sqlite.read() as session:
        events = session.scalars(sa.select(Audit).order_by(Audit.id)).all()
    viewed = [each for each in events if each.event == AuditEvent.LIST_VIEWED]
    assert [each.rows for each in viewed] == [len(STATES)] * 3
    renewed = [each.asked for each in events if each.event == AuditEvent.LIST_REFRESHED]
    assert renewed == ["page 1", "flagged searched page 1"]


@pytest.mark.parametrize("words", ["nothing is analysed", "scanners cannot send"])
@pytest.mark.risk("R-022")
def test_without_a_worker_or_a_receiver_the_page_says_so(reader: TestClient, words: str) -> None:
    """An empty list must not pass for a quiet night."""
    assert words in reader.get("/").text


def test_a_list_says_how_far_back_it_goes(reader: TestClient, studies: dict[StudyState, str]) -> None:
    """Whoever looks for an older study must not take its absence for an answer."""
    assert "of the last 72 hours" in reader.get("/").text
    assert "No study with news in the last 72 hours matches" in _rows(reader, search="nobody at all")
