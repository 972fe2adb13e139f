"""Where the queue keeps its own tables."""

from __future__ import annotations

import pytest

from ich_triage.pipeline.queue import system_database_url


@pytest.mark.parametrize(
    ("ours", "queues"),
    [
        ("sqlite:///var/ich.sqlite", "sqlite:///var/ich.sqlite.queue"),
        ("postgresql+psycopg://u:p%40ss@h/ich", "postgresql+psycopg://u:p%40ss@h/ich"),
    ],
)
def test_the_queue_has_a_file_of_its_own_or_a_schema_in_our_database(ours: str, queues: str) -> None:
    """SQLite has one writer, so the queue does not share our file; the password survives."""
    assert system_database_url(ours) == queues
