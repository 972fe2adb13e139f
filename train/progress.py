"""Says how far a long step is and when it will be done: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

log = structlog.get_logger(__name__)

Item = TypeVar("Item")
#: time between two lines in a log, s
_EVERY_S = 15.0


class Advance(Protocol):
    """Notes that `count` more are done, with figures to show."""

    def __call__(self, count: int = 1, **figures: float) -> None:
        """Note it."""


@contextmanager
def watch(step: str, *, total: int, done: int = 0) -> Iterator[Advance]:
    """Show how far `step` is; what was `done` before does not count for the speed."""
    console = Console(highlight=False)
    if not console.is_terminal:
        yield _Lines(step, total, done).advance
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, TextColumn("{task.fields[figures]}"), console=console) as bar:
        task = bar.add_task(step, total=total, completed=done, figures="")

        def advance(count: int = 1, **figures: float) -> None:
            told = " ".join(f"{name} {value:.4g}" for name, value in figures.items())
            bar.update(task, advance=count, figures=told)

        yield advance


def watched(items: Iterable[Item], step: str, *, total: int) -> Iterator[Item]:
    """The items, each counted once its turn is over."""
    with watch(step, total=total) as advance:
        for item in items:
            yield item
            advance()


class _Lines:
    """Logs `training_progress` every few seconds and at the end."""

    def __init__(self, step: str, total: int, done: int) -> None:
        self._step, self._total = step, total
        self._done = self._first = done
        self._start = self._said = time.monotonic()

    def advance(self, count: int = 1, **figures: float) -> None:
        self._done += count
        now = time.monotonic()
        if now - self._said < _EVERY_S and self._done < self._total:
            return
        self._said = now
        speed = (self._done - self._first) / max(now - self._start, 1e-9)
        log.info(
            "training_progress",
            step=self._step,
            done=self._done,
            total=self._total,
            eta_s=round((self._total - self._done) / speed) if speed else None,
            **{name: round(value, 4) for name, value in figures.items()},
        )
