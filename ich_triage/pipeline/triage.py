"""The way of one revision: select, analyse, render, store. Each stage is a checkpoint that is not run twice.

A stage leaves nothing behind that running it again would not leave: files are replaced by equal files,
UIDs are derived, rows are written in one transaction.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Any

import structlog
from sqlalchemy.exc import OperationalError

from ..domain.passing import passes
from ..domain.states import ReasonCode
from ..errors import AttemptEndedError, DeviceLostError, DicomReadError, IchTriageError, NotAnalysedError
from ..store import problems, results
from ..store.database import Database
from .isolation import Isolation
from .queue import step
from .stages import Stages, failed, not_analysed

log = structlog.get_logger(__name__)

Json = dict[str, Any]
#: runs a stage by its name, a function and its arguments
Run = Callable[..., Any]


@dataclass(frozen=True, kw_only=True)
class Running:
    """A revision in work."""

    #: its row id
    revision_id: int
    #: how long this attempt has taken, s
    for_s: float


class Triage:
    """The workflow that the queue runs for each revision."""

    def __init__(
        self, database: Database, stages: Stages, *, max_attempts: int, on_stored: Callable[[], None]
    ) -> None:
        self._database = database
        self._stages = stages
        self._max_attempts = max_attempts
        self._on_stored = on_stored
        self._isolation = Isolation()
        self._since: dict[int, float] = {}
        self._attended: list[int] = []

    def attended(self) -> frozenset[int]:
        """Revisions that some thread of this process is at, or waits to begin."""
        return frozenset(self._attended)

    def running(self) -> list[Running]:
        """What is being worked on; a study that waits to be alone is not yet."""
        now = monotonic()
        return [Running(revision_id=key, for_s=now - since) for key, since in [*self._since.items()]]

    def run(self, revision_id: int) -> None:
        """Take one revision to its final state, whatever happens to it on the way.

        Raises what passes, such as OperationalError when the database is away and OSError when the disk is
        full or the object store away: the worker begins again some seconds later.
        """
        self._attended.append(revision_id)
        try:
            self._run_in_company(revision_id)
        finally:
            self._attended.remove(revision_id)

    def _run_in_company(self, revision_id: int) -> None:
        with self._database.read() as session:
            begun_before = results.get(session, revision_id).attempts > 0
        with self._isolation.alone() if begun_before else self._isolation.together():
            self._since[revision_id] = monotonic()
            try:
                self._run(revision_id)
            finally:
                del self._since[revision_id]

    def _run(self, revision_id: int) -> None:
        with self._database.write() as session:
            attempts = results.begin(session, revision_id, datetime.now(UTC)).attempts
        if attempts > self._max_attempts:
            self._give_up(revision_id, may_render=attempts == self._max_attempts + 1)
            return
        try:
            outcome = self._outcome(revision_id)
        # broad, since this is the boundary of the workflow: whatever goes wrong, the study must say so
        except Exception as error:
            self._leave_what_passes(revision_id, error)
            log.exception("revision_failed", revision=revision_id)
            outcome = failed(ReasonCode.ANALYSIS_ERROR, _in_one_line(error))
        self._end(_checkpointed, revision_id, outcome)

    def _give_up(self, revision_id: int, *, may_render: bool) -> None:
        """Without checkpoints: those of the attempts before belong to the way that is not gone to its end.

        `may_render`: no worker has died of making this report yet.
        """
        reason = f"{self._max_attempts} workers died on this study; run `ich-triage reprocess`."
        outcome = failed(ReasonCode.WORKER_DIED, reason)
        if may_render:
            self._end(_plainly, revision_id, outcome)
        else:
            self._stages.store(revision_id, outcome, [])

    def _end(self, run: Run, revision_id: int, outcome: Json) -> None:
        planned = self._deliveries(run, revision_id, outcome)
        run("store", self._stages.store, revision_id, outcome, planned)
        log.info("revision_stored", revision=revision_id, state=outcome["state"], code=outcome["code"])
        self._on_stored()

    def _leave_what_passes(self, revision_id: int, error: Exception) -> None:
        """Raise an error that the study is not to blame for.

        Where memory did not suffice it is begun again alone. A full disk costs it no attempt, however long
        that lasts, nor does an attempt that the queue has ended. A lost device takes the process along: no
        study in it can be analysed any more.
        """
        if not _is_passing(error):
            return
        if isinstance(error, DeviceLostError):
            log.critical("device_lost", revision=revision_id, error=str(error))
            os._exit(os.EX_SOFTWARE)
        self._stages.forget(revision_id)
        if passes(error) or isinstance(error, AttemptEndedError):
            with self._database.write() as session:
                results.give_attempt_back(session, revision_id)
        told = type(error).__name__
        if isinstance(error, OSError) and error.errno:
            told = str(error) if isinstance(error, IchTriageError) else os.strerror(error.errno)
        log.error("revision_waits", revision=revision_id, error=told)
        raise error

    def _outcome(self, revision_id: int) -> Json:
        outcome: Json = _checkpointed("select", self._stages.select, revision_id)
        if outcome["state"] is None:
            outcome = _checkpointed("analyse", _refusable(self._stages.analyse), revision_id)
        return outcome

    def _deliveries(self, run: Run, revision_id: int, outcome: Json) -> list[Json]:
        """A result is kept even when its report cannot be made; the problem is then shown with the study."""
        try:
            planned: list[Json] = run("render", self._stages.render, revision_id, outcome)
        # broad, since this is the boundary of the workflow: the result must be shown, report or not
        except Exception as error:
            self._leave_what_passes(revision_id, error)
            log.exception("report_not_made", revision=revision_id)
            with self._database.write() as session:
                problems.report(
                    session,
                    problems.ProblemKind.REPORT_NOT_MADE,
                    at=datetime.now(UTC),
                    study_instance_uid=results.get(session, revision_id).study.study_instance_uid,
                    detail=f"The report could not be made ({type(error).__name__}); see the worker's log, "
                    "then run `ich-triage reprocess`.",
                )
            return []
        return planned


def _is_passing(error: Exception) -> bool:
    """Whether the same work can succeed later, or elsewhere."""
    passing = OperationalError | MemoryError | DeviceLostError | AttemptEndedError
    return isinstance(error, passing) or passes(error)


def _checkpointed(name: str, stage: Callable[..., Any], *arguments: Any) -> Any:
    return step(name, stage, *arguments, passing=_is_passing)


def _plainly(_name: str, stage: Callable[..., Any], *arguments: Any) -> Any:
    return stage(*arguments)


def _refusable(stage: Callable[[int], Json]) -> Callable[[int], Json]:
    """Turn what a stage refuses by name into an outcome, which the checkpoint can keep."""

    def run(revision_id: int) -> Json:
        try:
            return stage(revision_id)
        except NotAnalysedError as refusal:
            return not_analysed(ReasonCode(refusal.code), str(refusal))
        except DicomReadError as error:
            return not_analysed(ReasonCode.UNREADABLE_PIXELS, str(error))

    return run


def _in_one_line(error: Exception) -> str:
    """Our own messages carry no patient data; a library's might, so only its kind is told."""
    what = str(error) if isinstance(error, IchTriageError) else type(error).__name__
    return f"The analysis broke off ({what}); see the worker's log, then run `ich-triage reprocess`."
