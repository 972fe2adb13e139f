"""Where the queue keeps its own tables."""

from __future__ import annotations

from pathlib import Path
from queue import Queue

import pytest
from sqlalchemy import make_url

from ich_triage.errors import AttemptEndedError
from ich_triage.pipeline.queue import TriageQueue, forget, step, system_database_url
from ich_triage.store.database import PATIENCE


@pytest.mark.parametrize(
    ("ours", "queues"),
    [
        ("sqlite:///var/ich.sqlite", "sqlite:///var/ich.sqlite.queue"),
        ("postgresql+psycopg://u:p%40ss@h/ich", "postgresql+psycopg://u:p%40ss@h/ich"),
    ],
)
def test_the_queue_has_a_file_of_its_own_or_a_schema_in_our_database(ours: str, queues: str) -> None:
    """SQLite has one writer, so the queue does not share our file; the password survives."""
    assert system_database_url(ours).partition("?")[0] == queues


def test_a_server_that_falls_silent_is_given_up_unless_the_url_says_otherwise() -> None:
    """Time-outs of the client library go with every connection to PostgreSQL; a site's own stand."""
    asked = make_url(system_database_url("postgresql+psycopg://h/ich?connect_timeout=3")).query
    assert asked == PATIENCE | {"connect_timeout": "3"}


def test_a_workflow_that_is_taken_away_is_not_the_studys_fault(tmp_path: Path) -> None:
    """Dropped between two of its stages, as a slow second worker may do: the second says so by one name."""
    url, told = f"sqlite:///{tmp_path / 'ich.sqlite'}", Queue[object]()

    def triage(_: int) -> None:
        told.put(step("first", lambda: "done", passing=lambda _: False))
        forget(url, ["revision-1"])
        try:
            step("second", lambda: "done", passing=lambda _: False)
        except Exception as error:
            told.put(type(error))
            raise

    queue = TriageQueue(url, "executor", triage)
    queue.start(concurrency=1, poll_s=0.05)
    try:
        queue.enqueue("revision-1", 1, stat=False)
        assert told.get(timeout=30) == "done"
        assert told.get(timeout=30) is AttemptEndedError
    finally:
        queue.stop()
