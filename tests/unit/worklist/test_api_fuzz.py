"""The API fuzzed from its own description: whatever comes in, the answer is one that it names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy, sampled_from
from schemathesis import Case
from schemathesis.schemas import BaseSchema

from ich_triage.domain.roles import Role
from ich_triage.domain.states import StudyState
from ich_triage.settings import Settings, Spool
from ich_triage.store import migrate
from ich_triage.store.database import Database
from ich_triage.worklist.access import csrf_token
from tests.analysed import add_analysed
from tests.web import add_account, browser, log_in

#: requests for each route; `make fuzz` is the long form
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "40"))
#: routes of the API; a new one is fuzzed, too
ROUTES = 7


STUDIES = [f"1.2.{number}" for number, _ in enumerate(StudyState, start=1)]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[BaseSchema, dict[str, str]]]:
    """The API of a site with a study in each state, and the headers of a radiologist's browser."""
    database = Database(f"sqlite:///{tmp_path / 'ich.sqlite'}")
    migrate.upgrade(database)
    for uid, state in zip(STUDIES, StudyState, strict=True):
        add_analysed(database, tmp_path / "spool", uid, state)
    add_account(database, "reader", Role.RADIOLOGIST)
    client = browser(database, Settings(spool=Spool(path=tmp_path / "spool")))
    log_in(client, "reader")
    cookie = client.cookies["ich_session"]
    headers = {"Cookie": f"ich_session={cookie}", "X-CSRF-Token": csrf_token(cookie)}
    yield schemathesis.openapi.from_asgi("/api/v1/openapi.json", client.app), headers
    database.close()


def test_every_answer_is_one_that_the_description_names(site: tuple[BaseSchema, dict[str, str]]) -> None:
    """No server error, no status or body that it does not name; nothing malformed is taken."""
    api, headers = site
    answers = {
        str(each.ok().label): _fuzz(each.ok().as_strategy(), headers) for each in api.get_all_operations()
    }
    assert len(answers) == ROUTES
    for route, statuses in answers.items():
        assert statuses & {200, 201}, f"{route} never answered with more than a refusal: {statuses}"


def _fuzz(cases: SearchStrategy[Case], headers: dict[str, str]) -> set[int]:
    """Ask, for studies that are there and for others; the statuses of the answers."""
    seen: set[int] = set()

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=cases, study=sampled_from([*STUDIES, None]))
    def ask(case: Case, study: str | None) -> None:
        for name in {"uid", "id"} & case.path_parameters.keys() if study else ():
            case.path_parameters[name] = study
        seen.add(case.call_and_validate(headers=headers).status_code)

    ask()
    return seen
