"""Who lives and who is dead."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

from ich_triage.store import receivers, workers
from ich_triage.store.database import Database
from ich_triage.store.tables import Receiver, Worker

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def _gone() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def _judge(database: Database, *, host: str, pid: int, silent_s: float) -> str:
    with database.write() as session:
        seen = NOW - timedelta(seconds=silent_s)
        workers.heartbeat(session, Worker(id="w", host=host, pid=pid, started_at=seen, seen_at=seen))
    with database.read() as session:
        living, dead = workers.living_and_dead(session, now=NOW, host="here", dead_after_s=10)
    assert len(living) + len(dead) == 1
    return "living" if living else "dead"


def test_silence_is_death_everywhere(database: Database) -> None:
    """A process number that is in use on this host says nothing about another host's worker."""
    assert _judge(database, host="here", pid=os.getpid(), silent_s=9) == "living"
    assert _judge(database, host="here", pid=os.getpid(), silent_s=11) == "dead"
    assert _judge(database, host="there", pid=os.getpid(), silent_s=11) == "dead"


def test_a_sign_of_life_from_the_future_is_none(database: Database) -> None:
    """Seen before the clock was set back by an hour, and not since: its studies must not wait for an hour."""
    assert _judge(database, host="here", pid=os.getpid(), silent_s=-5) == "living"
    assert _judge(database, host="here", pid=os.getpid(), silent_s=-3600) == "dead"
    with database.write() as session:
        later = datetime.now(UTC) + timedelta(hours=1)
        session.add(Receiver(id="r", host="here", pid=1, seen_at=later))
        session.flush()
        assert receivers.living(session) == 0


def test_a_process_that_is_gone_is_noticed_sooner_but_not_at_once(database: Database) -> None:
    """Here half the silence is enough; none at all never is, since containers may share a host name."""
    gone = _gone()
    assert _judge(database, host="here", pid=gone, silent_s=6) == "dead"
    assert _judge(database, host="here", pid=gone, silent_s=1) == "living"
    assert _judge(database, host="there", pid=gone, silent_s=6) == "living"


def test_a_removed_worker_is_forgotten(database: Database) -> None:
    """It stopped in order, or was taken over."""
    assert _judge(database, host="here", pid=os.getpid(), silent_s=0) == "living"
    with database.write() as session:
        workers.remove(session, "w")
        assert workers.living_and_dead(session, now=NOW, host="here", dead_after_s=10) == ([], [])
