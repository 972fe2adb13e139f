"""Says how far a long step is and when it will be done, on a terminal and in a log alike."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import lightning.pytorch as pl
import structlog
from lightning.pytorch.callbacks import Callback

log = structlog.get_logger(__name__)

Item = TypeVar("Item")


class Progress:
    """Logs `training_progress` every few seconds and at the end."""

    def __init__(self, step: str, total: int, *, every_s: float = 15.0) -> None:
        self.step = step
        self.total = total
        self._every_s = every_s
        self._start = self._said = time.monotonic()
        self._done = self._first = 0

    def resumed_at(self, done: int) -> None:
        """What was done before does not count for the speed."""
        self._done = self._first = done

    def advance(self, done: int | None = None, **figures: float) -> None:
        """One more is done, or `done` in all."""
        self._done = self._done + 1 if done is None else done
        now = time.monotonic()
        if now - self._said < self._every_s and self._done < self.total:
            return
        self._said = now
        speed = (self._done - self._first) / max(now - self._start, 1e-9)
        left = (self.total - self._done) / speed if speed else float("inf")
        rounded = {name: round(value, 4) for name, value in figures.items()}
        log.info(
            "training_progress",
            step=self.step,
            done=self._done,
            total=self.total,
            eta_s=round(left),
            **rounded,
        )

    def watch(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items, each counted once its turn is over."""
        for item in items:
            yield item
            self.advance()


class FitProgress(Callback):
    """Reports optimiser steps and the mean losses since the last report."""

    def __init__(self) -> None:
        self._progress: Progress | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._progress = Progress("train", int(trainer.estimated_stepping_batches))
        self._progress.resumed_at(trainer.global_step)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        """Count one step."""
        if self._progress:
            losses = {name: float(value) for name, value in trainer.callback_metrics.items()}
            self._progress.advance(trainer.global_step, **losses)
