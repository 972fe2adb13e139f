"""Keeps the steps in line with the studies, and puts what watchers have to hear on its way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import structlog

from ..dicom.uids import named_uid
from ..domain.step import StepState
from ..store import ups, ups_events
from ..store.database import Database
from .events import EventType, given_up, state_report
from .performed import finished

log = structlog.get_logger(__name__)


def step_uid(study_instance_uid: str, number: int) -> str:
    """SOP Instance UID of a study's step: the same whenever the database has to be rebuilt."""
    return named_uid("procedure-step", study_instance_uid, str(number))


class Watch:
    """One look at all studies. Two processes that look at the same time tell of nothing twice."""

    def __init__(self, database: Database, *, claim_limit: timedelta) -> None:
        self._database = database
        self._claim_limit = claim_limit

    def look(self) -> int:
        """Cancel steps whose reader is gone, make missing ones, tell of new and changed ones.

        Returns how many. Raises SQLAlchemyError.
        """
        return self._cancel_silent() + self._cover() + self._tell_changes() + self._greet()

    def _cancel_silent(self) -> int:
        """A claim must not hide a study for good: its successor asks anew."""
        with self._database.read() as session:
            if not ups.silent(session, since=_now() - self._claim_limit):
                return 0
        canceled = 0
        with self._database.write() as session:
            for step in ups.silent(session, since=_now() - self._claim_limit):
                reasons, uid, now = given_up(), step.sop_instance_uid, _now()
                performed = finished(step, StepState.CANCELED, now=now, reasons=reasons)
                if ups.end(session, step, StepState.CANCELED, performed=performed, now=now, abandoned=True):
                    ended = ups.find(session, uid)
                    assert ended is not None
                    report = state_report(ended, reasons)
                    ups_events.publish(session, ended, EventType.STATE_REPORT, report, now=now)
                    log.warning("step_abandoned", step=uid, by=ended.performer)
                    canceled += 1
        return canceled

    def _cover(self) -> int:
        total = 0
        while True:
            with self._database.read() as session:
                wanted = ups.uncovered(session)
            if not wanted:
                return total
            with self._database.write() as session:
                made = ups.make(session, wanted, _now(), step_uid)
                if ups_events.anybody(session):
                    for step in made:
                        report = state_report(step)
                        ups_events.publish(session, step, EventType.STATE_REPORT, report, now=_now())
            log.info("steps_scheduled", steps=len(made))
            total += len(made)

    def _tell_changes(self) -> int:
        with self._database.read() as session:
            if not (ups_events.anybody(session) and ups.changed(session)):
                return 0
        told = 0
        with self._database.write() as session:
            for step in ups.changed(session):
                if ups.mark_reported(session, step, _now()):
                    report = state_report(step)
                    ups_events.publish(session, step, EventType.STATE_REPORT, report, now=_now())
                    told += 1
        return told

    def _greet(self) -> int:
        """Tell new watchers with a lock the state of every step, some at a time."""
        with self._database.read() as session:
            if not ups_events.to_be_greeted(session, lock=False):
                return 0
        told = 0
        with self._database.write() as session:
            for subscription in ups_events.to_be_greeted(session, lock=True):
                steps = ups_events.not_greeted(session, subscription)
                subscription.greeted_step_id = steps[-1].id if steps else None
                to = (subscription.ae_title,)
                for step in steps:
                    report = state_report(step)
                    ups_events.publish(session, step, EventType.STATE_REPORT, report, now=_now(), to=to)
                told += len(steps)
        return told


def _now() -> datetime:
    return datetime.now(UTC)
