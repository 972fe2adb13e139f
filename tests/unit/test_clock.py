"""Clocks that are set while we run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from time import sleep
from typing import Any

from apscheduler.executors.pool import ThreadPoolExecutor

from ich_triage.clock import SteadyScheduler, Steps

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def _at(steps: Steps, *, wall_s: float, steady_s: float) -> float:
    return steps.look(NOW + timedelta(seconds=wall_s), steady_s)


def test_a_step_is_told_once_and_small_ones_when_they_have_added_up() -> None:
    """Neither the first look nor time that passes is a step; what is told once is not told again."""
    steps = Steps()
    assert _at(steps, wall_s=0, steady_s=1000) == 0
    assert _at(steps, wall_s=50, steady_s=1050) == 0
    assert _at(steps, wall_s=-3540, steady_s=1060) == -3600
    assert _at(steps, wall_s=-3530, steady_s=1070) == 0
    assert _at(steps, wall_s=-3529.4, steady_s=1070) == 0
    assert round(_at(steps, wall_s=-3528.8, steady_s=1070), 1) == 1.2


class _Stopped(ThreadPoolExecutor):
    """Its scheduler is told to stop while it is handed a job."""

    scheduler: SteadyScheduler
    stopping: Thread

    def submit_job(self, job: Any, run_times: list[datetime]) -> None:
        """The other thread then waits for the one that hands out jobs."""
        self.stopping = Thread(target=self.scheduler.shutdown)
        self.stopping.start()
        while self.scheduler.running:
            sleep(0.001)
        super().submit_job(job, run_times)


def test_a_scheduler_that_is_stopped_while_it_starts_a_job_ends_in_peace() -> None:
    """A thread that died of it would fail this test, and be a fright in a service's log."""
    executor = _Stopped(1)
    executor.scheduler = SteadyScheduler(executors={"default": executor})
    done = Event()
    executor.scheduler.add_job(done.set, "date")
    executor.scheduler.start()
    assert done.wait(timeout=10)
    executor.stopping.join(timeout=10)
    assert not executor.stopping.is_alive()
