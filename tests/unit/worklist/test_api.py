"""The JSON API: what it answers, to whom, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from ich_triage.domain.roles import Role
from ich_triage.domain.states import StudyState
from ich_triage.imaging.header import read_study
from ich_triage.imaging.stacks import split
from ich_triage.imaging.volume import assemble
from ich_triage.store import feedback, results, tokens
from ich_triage.store import worklist as query
from ich_triage.store.database import Database
from ich_triage.worklist import schema
from tests import service
from tests.analysed import BLEED, PIXELS, SLICES, add_analysed
from tests.scanner import head
from tests.web import browser, csrf_token

UID = "1.2.3"


@pytest.fixture(autouse=True)
def study(sqlite: Database, spool: Path) -> None:
    """A flagged study."""
    add_analysed(sqlite, spool, UID)


def _post(client: TestClient, path: str, body: object) -> Any:
    token = csrf_token(client.get("/").text)
    return client.post(path, json=body, headers={"X-CSRF-Token": token})


def _picture(client: TestClient, uid: str, index: int) -> Any:
    stack = client.get(f"/api/v1/studies/{uid}/pictures").json()["stack"]
    return client.get(f"/api/v1/studies/{uid}/pictures/{index}", params={"stack": stack})


def test_it_tells_what_the_command_line_tells(reader: TestClient, sqlite: Database) -> None:
    """The study in full, and the list."""
    told, known = reader.get(f"/api/v1/studies/{UID}").json(), service.study(sqlite, UID)
    assert told.keys() == known.keys()
    known["waiting_s"] = told["waiting_s"]
    assert told == schema.Study.model_validate(known).model_dump(mode="json")
    rows = reader.get("/api/v1/worklist", params={"state": "flagged"}).json()["studies"]
    assert [row["study_instance_uid"] for row in rows] == [UID]
    assert reader.get("/api/v1/worklist", params={"state": "failed"}).json()["studies"] == []


def test_a_picture_is_the_volume_that_was_analysed(reader: TestClient, sqlite: Database, spool: Path) -> None:
    """HU of each slice, in the order of the analysis."""
    headers, _ = read_study(sorted((spool / "studies" / UID).iterdir()))
    (series,) = split(headers)
    volume = assemble(series)
    for index in (0, SLICES - 1):
        answer = _picture(reader, UID, index)
        shape = int(answer.headers["x-rows"]), int(answer.headers["x-columns"])
        seen = np.frombuffer(answer.content, "<i2").reshape(shape)
        np.testing.assert_allclose(seen, volume.hu[index], atol=0.5)
    assert answer.headers["x-pixel-spacing"] == "0.5\\0.5"
    assert answer.headers["cache-control"] == "no-store"


def test_outlines_lie_around_the_mask(reader: TestClient) -> None:
    """Half a pixel outside of its outermost pixels, on its slices, of its subtype."""
    told = reader.get(f"/api/v1/studies/{UID}/pictures").json()
    assert (told["slices"], told["analysed"]) == (SLICES, True)
    assert [each["slice"] for each in told["outlines"]] == [3, 4, 5]
    assert {each["subtype"] for each in told["outlines"]} == {"subdural"}
    points = np.array(told["outlines"][0]["line"]).reshape(-1, 2)
    rows, columns = BLEED[2], BLEED[3]
    np.testing.assert_allclose(points.min(0), [columns.start - 0.5, rows.start - 0.5])
    np.testing.assert_allclose(points.max(0), [columns.stop - 0.5, rows.stop - 0.5])


def test_a_study_without_an_answer_has_pictures_too(
    reader: TestClient, sqlite: Database, spool: Path
) -> None:
    """Its largest stack; a reader can look where the model did not."""
    add_analysed(sqlite, spool, "1.2.4", StudyState.NOT_ANALYSED)
    told = reader.get("/api/v1/studies/1.2.4/pictures").json()
    assert told | {"slices": SLICES, "analysed": False, "outlines": []} == told
    assert len(_picture(reader, "1.2.4", 0).content) == 2 * PIXELS**2


def test_a_lost_image_is_said(reader: TestClient, spool: Path) -> None:
    """Not skipped: the reader would scroll past it."""
    next((spool / "studies" / UID).iterdir()).unlink()
    answer = reader.get(f"/api/v1/studies/{UID}/pictures")
    assert answer.status_code == 422
    assert "not in the spool" in answer.json()["detail"]


def test_an_image_is_of_the_stack_that_was_asked_for(
    reader: TestClient, sqlite: Database, spool: Path
) -> None:
    """Late slices make another one: no page may mix two, and one that is not there is said."""
    path = f"/api/v1/studies/{UID}/pictures"
    stack = reader.get(path).json()["stack"]
    assert reader.get(f"{path}/99", params={"stack": stack}).status_code == 404
    late = head(SLICES + 1, study=UID, pixels=PIXELS)[-1]
    service.put(sqlite, spool, [late])
    answer = reader.get(f"{path}/0", params={"stack": stack})
    assert (answer.status_code, "load the page again" in answer.json()["detail"]) == (409, True)
    assert reader.get(path).json()["stack"] != stack


def test_a_shared_result_has_its_outlines(reader: TestClient, sqlite: Database) -> None:
    """Through any number of revisions that share it."""
    outlines = reader.get(f"/api/v1/studies/{UID}/pictures").json()["outlines"]
    for number in (2, 3):
        revision_id = service.complete(sqlite, UID)
        with sqlite.write() as session:
            revision = results.get(session, revision_id)
            before = results.previous(session, revision)
            assert before is not None
            revision.analysis, revision.selection = before.analysis, before.selection
            revision.same_as = number - 1  # as earlier releases wrote it
            results.finish(session, revision, StudyState.FLAGGED)
    assert reader.get(f"/api/v1/studies/{UID}/pictures").json()["outlines"] == outlines


@pytest.mark.risk("R-027")
def test_an_answer_is_about_the_result_that_was_seen(reader: TestClient, sqlite: Database) -> None:
    """A page that shows an earlier one cannot answer for the newer."""
    revision_id = service.complete(sqlite, UID)
    with sqlite.write() as session:
        revision = results.get(session, revision_id)
        before = results.previous(session, revision)
        assert before is not None
        revision.analysis = before.analysis
        results.finish(session, revision, StudyState.FLAGGED)
    path = f"/api/v1/studies/{UID}/feedback"
    late = _post(reader, path, {"agrees": True, "revision": 1})
    assert (late.status_code, "newer result" in late.json()["detail"]) == (409, True)
    assert _post(reader, path, {"agrees": True, "revision": 2}).status_code == 201


def test_a_flag_can_be_answered_though_a_later_look_failed(reader: TestClient, sqlite: Database) -> None:
    """The flag stands; what failed is no newer result, and the answered study goes last all the same."""
    revision_id = service.complete(sqlite, UID)
    with sqlite.write() as session:
        results.finish(session, results.get(session, revision_id), StudyState.FAILED, code=None, reason="x")
    told = reader.get(f"/api/v1/studies/{UID}").json()
    assert (told["state"], told["analysis"]["revision"], told["reported_revision"]) == ("flagged", 1, 1)
    path = f"/api/v1/studies/{UID}/feedback"
    assert _post(reader, path, {"agrees": True, "revision": 1}).status_code == 201
    with sqlite.read() as session:
        wanted = query.Wanted(since=datetime(2000, 1, 1, tzinfo=UTC), unanswered=True)
        assert query.page(session, wanted, service.an_order(), limit=9) == []


def test_an_answer_can_be_taken_back(reader: TestClient, sqlite: Database, spool: Path) -> None:
    """The study is unanswered again; without an answer there is nothing to take back."""
    add_analysed(sqlite, spool, "1.2.4", StudyState.NOT_FLAGGED)
    path = f"/api/v1/studies/{UID}/feedback"
    token = {"X-CSRF-Token": csrf_token(reader.get("/").text)}
    assert reader.delete(path, headers=token).status_code == 409
    _post(reader, path, {"agrees": False, "revision": 1})
    assert reader.delete(path, headers=token).status_code == 204
    told = reader.get("/api/v1/worklist").json()["studies"]
    assert [row["study_instance_uid"] for row in told] == [UID, "1.2.4"]
    assert told[0]["feedback"] == []
    with sqlite.read() as session:
        assert feedback.all_that_count(session) == []


@pytest.mark.risk("R-020")
def test_a_bleed_that_was_not_flagged_does_not_sink(
    reader: TestClient, sqlite: Database, spool: Path
) -> None:
    """A reader who sees it has not made it less urgent for others."""
    for uid in ("1.2.4", "1.2.5"):
        add_analysed(sqlite, spool, uid, StudyState.NOT_FLAGGED)
    _post(reader, "/api/v1/studies/1.2.4/feedback", {"agrees": False, "revision": 1})
    told = reader.get("/api/v1/worklist").json()["studies"]
    assert [row["study_instance_uid"] for row in told] == [UID, "1.2.4", "1.2.5"]


def test_what_a_key_leaves_out_stays(reader: TestClient) -> None:
    """The same answer by key from the list keeps subtypes and note; the other answer does not."""
    path = f"/api/v1/studies/{UID}/feedback"
    _post(reader, path, {"agrees": True, "revision": 1, "subtypes": ["subdural"], "note": "thin"})
    again = _post(reader, path, {"agrees": True, "revision": 1}).json()
    assert (again["subtypes"], again["note"]) == (["subdural"], "thin")
    other = _post(reader, path, {"agrees": False, "revision": 1}).json()
    assert (other["subtypes"], other["note"]) == (None, "")


def test_feedback_is_kept_under_the_readers_name_and_can_be_changed(
    reader: TestClient, sqlite: Database
) -> None:
    """With subtypes, note, revision and weights; the later answer counts."""
    path = f"/api/v1/studies/{UID}/feedback"
    first = _post(reader, path, {"agrees": True, "revision": 1, "subtypes": ["subdural"], "note": "thin"})
    assert first.status_code == 201
    assert first.json()["reader"] == "reader"
    assert _post(reader, path, {"agrees": False, "revision": 1}).status_code == 201
    with sqlite.read() as session:
        (kept,) = feedback.of_study(session, query.one(session, UID).study)
    assert (kept.reader, kept.agrees, kept.revision.number) == ("reader", False, 1)
    assert kept.weights_sha256 == "ab" * 32


def test_an_answered_study_goes_last_until_there_is_news(
    reader: TestClient, sqlite: Database, spool: Path
) -> None:
    """The next bleed is read first; late slices make the study unanswered again."""
    add_analysed(sqlite, spool, "1.2.4", StudyState.NOT_FLAGGED)

    def order() -> list[str]:
        told = reader.get("/api/v1/worklist").json()
        return [row["study_instance_uid"] for row in told["studies"]]

    assert order() == [UID, "1.2.4"]
    _post(reader, f"/api/v1/studies/{UID}/feedback", {"agrees": True, "revision": 1})
    assert order() == ["1.2.4", UID]
    service.complete(sqlite, UID)
    assert order() == [UID, "1.2.4"]
    late = _post(reader, f"/api/v1/studies/{UID}/feedback", {"agrees": True, "revision": 1})
    assert (late.status_code, "came since" in late.json()["detail"]) == (409, True)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"agrees": True}, 422),
        ({"agrees": True, "revision": 1, "note": "a\x00b"}, 422),
        ({"revision": 1, "agrees": "perhaps"}, 422),
        ({"revision": 1, "agrees": True, "subtypes": ["frontal"]}, 422),
        ({"revision": 1, "agrees": True, "more": 1}, 422),
        ({"revision": 1, "agrees": True, "note": "x" * 5000}, 422),
        ({"revision": 1, "agrees": False, "subtypes": ["subdural"]}, 409),
        ({"revision": 1, "agrees": True, "subtypes": []}, 409),
    ],
)
def test_bad_feedback_is_refused(reader: TestClient, sqlite: Database, body: object, status: int) -> None:
    """Malformed or against itself; nothing is kept, and nothing of it is told back."""
    answer = _post(reader, f"/api/v1/studies/{UID}/feedback", body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert "xxx" not in answer.text
    assert service.study(sqlite, UID)["feedback"] == []


@pytest.mark.parametrize(
    "path",
    ["studies/9.9", "studies/9.9/pictures", "studies/..%2F..%2Fetc", "nowhere"],
)
def test_what_is_not_there_is_said(reader: TestClient, path: str) -> None:
    """As a problem with words."""
    answer = reader.get(f"/api/v1/{path}")
    assert (answer.status_code, answer.json()["status"]) == (404, 404)


def test_rights(site: Callable[..., TestClient], sqlite: Database) -> None:
    """Nobody sees nothing; an admin and a token may look; only a radiologist answers."""
    nobody = browser(sqlite)
    for path in (
        "worklist",
        f"studies/{UID}",
        f"studies/{UID}/pictures/0?stack=x",
        "quality",
        f"fhir/DiagnosticReport/{UID}",
    ):
        assert nobody.get(f"/api/v1/{path}").status_code == 401, path
    chief = site("chief", Role.ADMIN)
    assert chief.get(f"/api/v1/studies/{UID}").status_code == 200
    assert _post(chief, f"/api/v1/studies/{UID}/feedback", {"agrees": True, "revision": 1}).status_code == 403
    with sqlite.write() as session:
        token = tokens.make(session, "ris", days=1, now=datetime.now(UTC))
    bearer = {"Authorization": f"Bearer {token}"}
    assert nobody.get(f"/api/v1/studies/{UID}", headers=bearer).status_code == 200
    refused = nobody.post(
        f"/api/v1/studies/{UID}/feedback", json={"agrees": True, "revision": 1}, headers=bearer
    )
    assert refused.status_code == 403
