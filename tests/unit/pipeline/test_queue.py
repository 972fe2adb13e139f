"""Where the queue keeps its own tables."""

from __future__ import annotations

import pytest
from sqlalchemy import make_url

from ich_triage.pipeline.queue import system_database_url
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
