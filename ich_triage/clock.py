"""Clocks that are set while we run: notice it, and let nothing that is periodic wait for the old time."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler

log = structlog.get_logger(__name__)

#: smaller differences between the two clocks are no setting of one, s
_TOLERANCE_S = 1.0


class Steps:
    """Holds the wall clock against the monotonic one, which nobody can set. One thread looks."""

    def __init__(self) -> None:
        self._offset_s: float | None = None

    def look(self, wall: datetime | None = None, steady_s: float | None = None) -> float:
        """By how many seconds the wall clock was set since the last look: forward above 0, back below.

        0.0 for less than a second, as a disciplined clock may move. The arguments stand for the clocks.
        """
        wall_s = time.time() if wall is None else wall.timestamp()
        offset_s = wall_s - (time.monotonic() if steady_s is None else steady_s)
        step_s = 0.0 if self._offset_s is None else offset_s - self._offset_s
        if self._offset_s is not None and abs(step_s) < _TOLERANCE_S:
            return 0.0  # the offset stays, so that many small steps add up to one that counts
        self._offset_s = offset_s
        return step_s


class SteadyScheduler(BackgroundScheduler):
    """APScheduler's, whose jobs run by the wall clock, with jobs that move along when that is set.

    Without it a clock set back by an hour would stop heartbeats and sweeps for an hour; one set forward by
    years would have every missed run counted one by one.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(timezone=UTC, **options)
        self._steps = Steps()

    def _process_jobs(self) -> float | None:
        step_s = self._steps.look()
        if step_s:
            log.warning("clock_was_set", by_s=round(step_s, 1))
            for job in self.get_jobs():
                if job.next_run_time is not None:
                    job.modify(next_run_time=job.next_run_time + timedelta(seconds=step_s))
        try:
            wait_s: float | None = super()._process_jobs()
        except JobLookupError:
            # told to stop while it hands out a job for the last time, APScheduler has lost sight of it
            if self.running:
                raise
            return None
        return wait_s
