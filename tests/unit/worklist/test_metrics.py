"""What the web process tells Prometheus, and whom it tells."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text

from ich_triage.domain.roles import Role
from ich_triage.settings import Metrics, Settings, Spool, Web
from ich_triage.store import tokens
from ich_triage.store.database import Database
from ich_triage.worklist.app import create
from tests.listed import put_on_list
from tests.scrape import PACKAGE, Samples, fill, read
from tests.web import add_account, log_in


def _client(database: Database, host: str = "127.0.0.1", **sections: object) -> TestClient:
    app = create(Settings.model_validate({"spool": Spool(path="."), **sections}), database)
    return TestClient(app, client=(host, 5), follow_redirects=False, base_url="http://ich")


def _scraped(database: Database) -> Samples:
    answer = _client(database).get("/metrics")
    assert answer.status_code == 200
    return read(answer.text)


@pytest.mark.risk("R-013")
def test_the_figures_are_those_of_the_database(database: Database) -> None:
    """Studies, queue, deliveries, scores and processes are told as they are, on both databases."""
    fill(database)
    told = _scraped(database)
    assert told["ich_triage_database_up"] == {(): 1.0}
    assert told["ich_triage_studies"][(("state", "flagged"),)] == 1
    assert told["ich_triage_studies_unanswered"][(("reason", "contrast"), ("state", "not_analysed"))] == 1
    assert told["ich_triage_queue_revisions"][(("step", "running"),)] == 1
    assert 250 < told["ich_triage_queue_oldest_seconds"][()] < 400
    assert told["ich_triage_deliveries"][(("destination", "pacs"), ("state", "pending"))] == 4
    assert told["ich_triage_deliveries_oldest_seconds"][(("destination", "pacs"),)] > 250
    assert told["ich_triage_delivery_seconds_gcount"][(("destination", "pacs"),)] == 4
    assert told["ich_triage_receivers"][()] == told["ich_triage_workers"][()] == 1
    assert told["ich_triage_workers_running"] == {(("package", PACKAGE),): 1}
    assert told["ich_triage_workers_off_course"][()] == 0
    assert next(iter(told["ich_triage_flagged_ratio"].values())) == 0.5


def test_histograms_count_up_to_each_bound(sqlite: Database) -> None:
    """From last slice to result took 6.4 s in each of four studies: none within 5 s, all within 10 s."""
    fill(sqlite)
    told = _scraped(sqlite)
    buckets = told["ich_triage_stage_seconds_bucket"]
    total = {dict(key)["le"]: value for key, value in buckets.items() if ("stage", "total") in key}
    assert (total["5"], total["10"], total["+Inf"]) == (0, 4, 4)
    assert told["ich_triage_stage_seconds_gsum"][(("stage", "total"),)] == pytest.approx(4 * 6.4)
    scores = {dict(key)["le"]: value for key, value in told["ich_triage_score_bucket"].items()}
    assert (scores["0.05"], scores["0.9"], scores["0.95"], scores["1"]) == (1, 1, 2, 2)


def test_old_studies_are_outside_the_window_unless_they_wait(sqlite: Database) -> None:
    """What was done two days ago is no news; what has waited since then is all the more."""
    put_on_list(sqlite, "A", minutes=2 * 24 * 60)
    told = _scraped(sqlite)
    assert told["ich_triage_studies"][(("state", "flagged"),)] == 0
    assert "ich_triage_flagged_ratio" not in told


@pytest.mark.risk("R-111")
def test_nothing_of_a_patient_is_told(sqlite: Database) -> None:
    """No name, id or UID of any study is in a scrape; values of labels are words of ours."""
    fill(sqlite)
    answer = _client(sqlite).get("/metrics").text
    assert not re.search(r"DOE|ID7|ACC9|\d+(\.\d+){4}", answer)


@pytest.fixture
def elsewhere(sqlite: Database) -> Iterator[TestClient]:
    """A program on another machine."""
    with _client(sqlite, "10.9.9.9") as client:
        yield client


def test_others_need_a_token_or_a_session(elsewhere: TestClient, sqlite: Database) -> None:
    """Who is not listed shows who it is; a forged token is none."""
    refused = elsewhere.get("/metrics")
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert elsewhere.get("/metrics", headers={"authorization": "Bearer ich_forged"}).status_code == 401
    with sqlite.write() as session:
        token = tokens.make(session, "prometheus", days=1, now=datetime.now(UTC))
    assert elsewhere.get("/metrics", headers={"authorization": f"Bearer {token}"}).status_code == 200
    add_account(sqlite, "chief", Role.ADMIN)
    log_in(elsewhere, "chief")
    assert elsewhere.get("/metrics").status_code == 200


def test_a_listed_network_needs_none(sqlite: Database) -> None:
    """A Prometheus on another machine is named by address or network."""
    listed = Metrics(allowed=("10.9.0.0/16",))
    assert _client(sqlite, "10.9.9.9", metrics=listed).get("/metrics").status_code == 200
    assert _client(sqlite, "127.0.0.1", metrics=listed).get("/metrics").status_code == 401


def test_a_proxy_that_nobody_trusts_opens_no_door(sqlite: Database) -> None:
    """Behind an unnamed proxy on this machine, everybody seems to come from here."""
    headers = {"X-Forwarded-For": "203.0.113.9"}
    assert _client(sqlite).get("/metrics", headers=headers).status_code == 401
    trusted = Web(trusted_proxies=("10.0.0.1",))
    assert _client(sqlite, web=trusted).get("/metrics", headers=headers).status_code == 200


def test_figures_are_kept_for_a_moment(sqlite: Database) -> None:
    """Two scrapes in a row read the database once."""
    client = _client(sqlite)
    first = read(client.get("/metrics").text)
    put_on_list(sqlite, "A")
    assert read(client.get("/metrics").text)["ich_triage_studies"] == first["ich_triage_studies"]


def test_without_a_database_that_is_what_is_told(sqlite: Database) -> None:
    """The scrape succeeds all the same, so that "web down" and "database down" can be told apart."""
    with sqlite.write() as session:
        session.execute(text("ALTER TABLE studies RENAME TO gone"))
    told = _scraped(sqlite)
    assert told["ich_triage_database_up"] == {(): 0.0}
    assert "ich_triage_studies" not in told
    assert told["ich_triage_build_info"]
