"""Merges the slices of concurrent studies into batches for one resident engine."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import structlog
import torch
from torch import Tensor

from ..errors import DeviceLostError, EngineError
from .engine import Engine, Floats, SliceOutput, StudyOutput, join

log = structlog.get_logger(__name__)

#: Called with (slices done, slices in all) after each batch.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class NetworkOutput:
    """Everything that the network says about one study."""

    #: masks and embeddings, slice by slice
    slices: SliceOutput
    #: logits of slices and study
    study: StudyOutput


@dataclass(kw_only=True, eq=False)
class _Job:
    engine: Engine
    x: Tensor
    height: Floats
    progress: Progress | None
    future: Future[NetworkOutput] = field(default_factory=Future)
    parts: list[SliceOutput] = field(default_factory=list)
    #: slices already handed to a batch
    taken: int = 0


@dataclass(frozen=True, kw_only=True)
class _Share:
    """Consecutive slices of one job within a batch."""

    job: _Job
    x: Tensor


class Batcher:
    """One thread that owns the engine; any thread may submit studies and wait for their futures.

    A batch starts when `batch` slices wait or the oldest of them has waited `wait_s`. A study whose batch
    fails is run again by itself, so that a study that the engine cannot digest fails alone.
    """

    def __init__(self, engine: Engine, *, batch: int = 32, wait_s: float = 0.005) -> None:
        self._engine = engine
        self._batch = batch
        self._wait_s = wait_s
        self._jobs: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="batcher", daemon=True)
        self._thread.start()

    @property
    def engine(self) -> Engine:
        """The engine that the next study will get."""
        with self._changed:
            return self._engine

    def swap(self, engine: Engine) -> None:
        """Use `engine` from the next study on; those under way finish on the one they began with."""
        with self._changed:
            self._engine = engine
        identity = engine.package.identity
        log.info("engine_swapped", package=identity.name, version=identity.version, device=engine.device)

    def submit(
        self, x: Tensor, height: Floats, *, engine: Engine | None = None, progress: Progress | None = None
    ) -> Future[NetworkOutput]:
        """Queue one study: slices (Z, C, S, S) in 0..1 from feet to head, relative heights (Z,).

        `engine` pins the engine that the input was prepared for. The future raises EngineError.
        """
        if not len(x):
            raise EngineError("a study without slices cannot be analysed")
        with self._changed:
            if self._stopping:
                raise EngineError("the batcher has stopped")
            job = _Job(engine=engine or self._engine, x=x, height=height, progress=progress)
            self._jobs.append(job)
            self._changed.notify()
        return job.future

    def stop(self) -> None:
        """Finish the batch under way, fail what still waits with EngineError, and end the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while shares := self._next_batch():
            self._run_batch(shares)
        for job in self._jobs:
            if not job.future.done():
                job.future.set_exception(EngineError("the batcher has stopped"))

    def _next_batch(self) -> list[_Share]:
        """Wait for slices, then for more of them until the batch is full or the deadline is there."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._stopping)
            deadline = time.monotonic() + self._wait_s
            while not self._stopping and self._waiting() < self._batch:
                if not self._changed.wait(deadline - time.monotonic()):
                    break
            return [] if self._stopping else self._take()

    def _waiting(self) -> int:
        return sum(len(job.x) - job.taken for job in self._jobs)

    def _take(self) -> list[_Share]:
        """Slices of the oldest studies that share an engine, `batch` at most."""
        shares: list[_Share] = []
        room, engine = self._batch, self._jobs[0].engine
        while room and self._jobs and self._jobs[0].engine is engine:
            job = self._jobs[0]
            count = min(room, len(job.x) - job.taken)
            shares.append(_Share(job=job, x=job.x[job.taken : job.taken + count]))
            job.taken += count
            room -= count
            if job.taken == len(job.x):
                self._jobs.popleft()
        return shares

    def _run_batch(self, shares: list[_Share]) -> None:
        live = [share for share in shares if not share.job.future.done()]
        if not live:
            return
        try:
            output = live[0].job.engine.slices(torch.cat([share.x for share in live]))
        except Exception as error:  # noqa: BLE001  thread boundary: one study must not end the thread for all
            self._after_failure(live, error)
            return
        start = 0
        for share in live:
            stop = start + len(share.x)
            part = SliceOutput(
                embedding=output.embedding[start:stop], mask_logits=output.mask_logits[start:stop]
            )
            self._deliver(share.job, part)
            start = stop

    def _after_failure(self, shares: list[_Share], error: Exception) -> None:
        if len(shares) > 1 and not isinstance(error, DeviceLostError):
            log.warning("batch_retried_singly", studies=len(shares), error=type(error).__name__)
            for share in shares:
                self._run_batch([share])
            return
        for share in shares:
            self._fail(share.job, error)

    def _deliver(self, job: _Job, part: SliceOutput) -> None:
        job.parts.append(part)
        done = sum(len(each.embedding) for each in job.parts)
        try:
            if job.progress:
                job.progress(done, len(job.x))
            if done == len(job.x):
                slices = join(job.parts)
                study = job.engine.study(slices.embedding, job.height)
                job.future.set_result(NetworkOutput(slices=slices, study=study))
        except Exception as error:  # noqa: BLE001  thread boundary, and `progress` is the caller's code
            self._fail(job, error)

    @staticmethod
    def _fail(job: _Job, error: Exception) -> None:
        log.error("study_inference_failed", error=type(error).__name__)
        wrapped = error if isinstance(error, EngineError) else EngineError(f"inference failed: {error}")
        wrapped.__cause__ = None if wrapped is error else error
        job.future.set_exception(wrapped)
