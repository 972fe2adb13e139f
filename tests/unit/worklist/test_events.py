"""The event stream: told once for each change, over a real server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from ich_triage.domain.roles import Role
from ich_triage.domain.states import StudyState
from ich_triage.settings import Settings, Spool, Web
from ich_triage.store import accounts, sessions, studies
from ich_triage.store.database import Database
from ich_triage.worklist import events
from ich_triage.worklist.app import create
from ich_triage.worklist.server import WebServer
from tests.analysed import add_analysed
from tests.web import PASSWORD, add_account


@pytest.fixture
def server(sqlite: Database, spool: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a running server that shows signs of life all the time."""
    monkeypatch.setattr(events, "_ALIVE_S", 0.3)
    settings = Settings(web=Web(port=0), spool=Spool(path=spool))
    server = WebServer(settings.web, create(settings, sqlite))
    server.start()
    yield f"http://127.0.0.1:{server.port}"
    server.stop()


@pytest.fixture
def client(server: str, sqlite: Database) -> Iterator[httpx.Client]:
    """Somebody who is logged in."""
    add_account(sqlite, "reader", Role.RADIOLOGIST)
    with httpx.Client(base_url=server, timeout=20) as client:
        client.post("/login", data={"name": "reader", "password": PASSWORD})
        yield client


class _Listener:
    """An open page."""

    def __init__(self, client: httpx.Client) -> None:
        self.lines: list[str] = []
        self.ended = threading.Event()
        self._client = client
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        # the end of a test cuts the stream
        with suppress(httpx.HTTPError), self._client.stream("GET", "/events") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            for line in answer.iter_lines():
                self.lines.append(line)
        self.ended.set()

    def changes(self) -> int:
        return sum(line == "event: changed" for line in self.lines)


def test_open_pages_are_told_of_changes_and_of_nothing_else(
    client: httpx.Client, sqlite: Database, spool: Path, wait_until: Callable[..., None]
) -> None:
    """One event at once; one after a study came or changed; none while nothing happens."""
    pages = [_Listener(client), _Listener(client)]
    wait_until(lambda: all(page.changes() == 1 for page in pages))
    add_analysed(sqlite, spool, "1.2.3")
    wait_until(lambda: all(page.changes() >= 2 for page in pages))
    quiet = [len(page.lines) for page in pages]
    wait_until(lambda: all(len(page.lines) > 8 + before for page, before in zip(pages, quiet, strict=True)))
    before = [page.changes() for page in pages]
    with sqlite.write() as session:
        studies.set_state(studies.get(session, "1.2.3"), StudyState.NOT_FLAGGED)
    wait_until(lambda: all(page.changes() == n + 1 for page, n in zip(pages, before, strict=True)))


def test_the_stream_ends_with_the_session(
    client: httpx.Client, sqlite: Database, wait_until: Callable[..., None]
) -> None:
    """Who may no longer look is not told of changes either."""
    page = _Listener(client)
    wait_until(lambda: page.changes() == 1)
    with sqlite.write() as session:
        sessions.end_all(session, accounts.get(session, "reader"))
    wait_until(page.ended.is_set)
    assert client.get("/events", headers={"accept": "text/event-stream"}).status_code == 401
