"""A browser on an application with studies to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from ich_triage.domain.roles import Role
from ich_triage.settings import Settings, Spool, Worklist
from ich_triage.store.database import Database
from tests.web import add_account, browser, log_in


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """The spool of the application."""
    return tmp_path / "spool"


@pytest.fixture
def site(sqlite: Database, spool: Path) -> Callable[..., TestClient]:
    """A browser of somebody who is logged in: `site("reader")`; with settings of the list."""

    def open_browser(name: str = "reader", role: Role = Role.RADIOLOGIST, **worklist: object) -> TestClient:
        add_account(sqlite, name, role)
        settings = Settings(spool=Spool(path=spool), worklist=Worklist.model_validate(worklist))
        client = browser(sqlite, settings)
        assert log_in(client, name).status_code == 303
        return client

    return open_browser


@pytest.fixture
def reader(site: Callable[..., TestClient]) -> Iterator[TestClient]:
    """A radiologist's browser."""
    with site() as client:
        yield client
