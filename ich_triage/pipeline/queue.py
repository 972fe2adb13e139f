"""The durable queue: DBOS Transact, with our names on it.

A workflow id makes enqueueing idempotent; finished steps are not run again by whoever takes a study over.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from dbos import (
    DBOS,
    DBOSClient,
    DBOSPortableJSONSerializer,
    PortableWorkflowError,
    SetEnqueueOptions,
    SetWorkflowID,
    WorkflowStatus,
)
from sqlalchemy import create_engine, inspect, make_url
from sqlalchemy.exc import SQLAlchemyError

from ..errors import AttemptEndedError
from ..store.database import with_patience

QUEUE = "triage"
#: version of the step sequence; raise it when steps are added, removed or reordered
WORKFLOW_VERSION = "1"
#: DBOS priorities: lower runs first
STAT, ROUTINE = 1, 10
#: our own count of attempts (settings.worker.max_attempts) decides; DBOS must not stop before
_NEVER = 1000
_WAITING = ("ENQUEUED", "DELAYED")
_ALIVE = (*_WAITING, "PENDING")
_ENDED = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]
_PRUNED_AT_ONCE = 500


def system_database_url(database_url: str) -> str:
    """Where DBOS keeps its tables: a second SQLite file beside ours, or its own schema in our PostgreSQL."""
    url = make_url(database_url)
    if url.get_backend_name() == "sqlite":
        url = url.set(database=f"{url.database}.queue")
    return with_patience(url).render_as_string(hide_password=False)


def _let_readers_be(queue_url: str) -> None:
    """Write-ahead log for a SQLite queue, which the file remembers.

    Without it DBOS's readers lock out its writers, and DBOS tries again what finds the file locked only after
    waits that grow to a minute.
    """
    url = make_url(queue_url)
    if url.get_backend_name() == "sqlite" and url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(url.database)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")


class TriageQueue:
    """One executor of the queue; there can be many, on many hosts. One for each process."""

    def __init__(self, database_url: str, executor_id: str, triage: Callable[[int], None]) -> None:
        url = system_database_url(database_url)
        _let_readers_be(url)
        DBOS(
            config={
                "name": "ich-triage",
                "system_database_url": url,
                "executor_id": executor_id,
                "application_version": WORKFLOW_VERSION,
                "serializer": DBOSPortableJSONSerializer(),
                "log_level": "WARNING",
            }
        )

        @DBOS.workflow(name="triage", max_recovery_attempts=_NEVER)
        def workflow(revision_id: int) -> None:
            triage(revision_id)

        self._workflow = workflow

    def start(self, *, concurrency: int, poll_s: float) -> None:
        """Begin to run what is queued, `concurrency` studies at once."""
        DBOS.launch()
        DBOS.register_queue(
            QUEUE, worker_concurrency=concurrency, polling_interval_sec=poll_s, on_conflict="always_update"
        )

    def stop(self, *, grace_s: int = 12) -> None:
        """Take nothing new; wait `grace_s` for what runs; the rest is taken over by another worker."""
        DBOS.destroy(destroy_registry=True, workflow_completion_timeout_sec=grace_s)

    def enqueue(self, workflow_id: str, revision_id: int, *, stat: bool) -> None:
        """Put a revision into the queue; a second time does nothing."""
        with SetWorkflowID(workflow_id), SetEnqueueOptions(priority=STAT if stat else ROUTINE):
            DBOS.enqueue_workflow(QUEUE, self._workflow, revision_id)

    def begun(self) -> dict[str, str]:
        """Workflow id → executor id of everything that some executor has begun and not ended."""
        pending = DBOS.list_workflows(status=["PENDING"], load_input=False, load_output=False)
        return {each.workflow_id: each.executor_id or "" for each in pending}

    def queue_again(self, workflow_ids: Collection[str]) -> None:
        """Queue again what a dead executor had begun; what it had finished of it is not run again."""
        for workflow_id in workflow_ids:
            DBOS.resume_workflow(workflow_id, queue_name=QUEUE)

    def forget(self, workflow_id: str) -> None:
        """Drop a workflow that has ended, so that it can be enqueued from the beginning."""
        DBOS.delete_workflow(workflow_id)

    def prune(self, *, before: datetime) -> int:
        """Forget what has ended before then, some at a time: nobody asks for it again. Returns how many."""
        ended = DBOS.list_workflows(
            status=_ENDED,
            completed_before=before.isoformat(),
            load_input=False,
            load_output=False,
            limit=_PRUNED_AT_ONCE,
        )
        if ended:
            DBOS.delete_workflows([each.workflow_id for each in ended])
        return len(ended)

    def missing_and_ended(self, workflow_ids: Sequence[str]) -> tuple[set[str], set[str]]:
        """Of these, which the queue does not know, and which it has ended, well or not.

        As ended counts what waits for a worker of an earlier release, whose steps were others.
        """
        if not workflow_ids:
            return set(), set()
        found = DBOS.list_workflows(workflow_ids=list(workflow_ids), load_input=False, load_output=False)
        ended = {each.workflow_id for each in found if each.status not in _ALIVE or _is_outdated(each)}
        return set(workflow_ids) - {each.workflow_id for each in found}, ended


def _is_outdated(workflow: WorkflowStatus) -> bool:
    """Whether it waits and nobody of this release takes it: DBOS gives a worker those of its own version."""
    version = workflow.app_version or WORKFLOW_VERSION
    return workflow.status in _WAITING and int(version) < int(WORKFLOW_VERSION)


def workflow_id(revision_id: int, complete_at: datetime) -> str:
    """With the time, since ids begin again at 1 when the database was lost and rebuilt from the spool."""
    return f"revision-{revision_id}-{complete_at:%Y%m%dT%H%M%S%f}"


def revision_of(workflow_id: str) -> int:
    """The revision that a workflow is of."""
    return int(workflow_id.split("-")[1])


def forget(database_url: str, workflow_ids: Sequence[str]) -> None:
    """Drop workflows that have ended, from outside of any worker; without effect where there is no queue."""
    url = system_database_url(database_url)
    sqlite_file = make_url(url).database if make_url(url).get_backend_name() == "sqlite" else None
    if not workflow_ids or (sqlite_file and not Path(sqlite_file).exists()):
        return
    engine = create_engine(url)
    known = inspect(engine).has_table("workflow_status", schema=None if sqlite_file else "dbos")
    engine.dispose()
    if not known:
        return
    client = DBOSClient(system_database_url=url, serializer=DBOSPortableJSONSerializer())
    try:
        client.delete_workflows(list(workflow_ids))
    finally:
        client.destroy()


class _Unkept(BaseException):
    """Carries an error past DBOS, which keeps every `Exception` of a step for good."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def step(
    name: str, function: Callable[..., Any], *arguments: Any, passing: Callable[[Exception], bool]
) -> Any:
    """Run one checkpointed stage of a workflow; its result must be JSON.

    An error is kept like a result, and raised again by whoever takes over, unless it is `passing`. Raises
    AttemptEndedError where the workflow is not this thread's any more: DBOS has many errors for that,
    assertions among them, and none of them is the study's fault.
    """
    raised: list[Exception] = []

    def run() -> Any:
        try:
            return function(*arguments)
        except Exception as error:
            raised.append(error)
            if passing(error):
                raise _Unkept(error) from error
            raise

    try:
        return DBOS.run_step({"name": name}, run)
    except _Unkept as unkept:
        raise unkept.error from None
    # broad, since this is the boundary to DBOS: what neither the stage nor a checkpoint has raised is its own
    except Exception as error:
        if error in raised or isinstance(error, PortableWorkflowError | SQLAlchemyError):
            raise
        raise AttemptEndedError from error
