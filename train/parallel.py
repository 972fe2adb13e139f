"""One job for each of many parts, in processes that end with the command that started them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from typing import TypeVar

from ich_triage.errors import TrainingDataError

Part = TypeVar("Part")
Answer = TypeVar("Answer")


def run(job: Callable[[Part], Answer], parts: Sequence[Part], *, workers: int) -> Iterator[Answer]:
    """What `job` gives for each of `parts`, as they are done, in so many spawned processes; 0: in this one.

    Raises TrainingDataError when a process dies.
    """
    if workers == 0:
        yield from map(job, parts)
        return
    # Forked children of a process with native threads may hang; spawned ones do not.
    pool = ProcessPoolExecutor(min(workers, len(parts)) or 1, get_context("spawn"), _begin_process)
    try:
        futures: list[Future[Answer]] = [pool.submit(job, part) for part in parts]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as error:
        raise TrainingDataError(
            "a process was killed, perhaps for want of memory; what is done stays: run the same command "
            "again, with fewer --workers"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def one_thread() -> Iterator[None]:
    """For a part that is worked on side by side with others: torch takes no more than its share."""
    import torch  # those that read files do without

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _begin_process() -> None:
    """What Control-C and a killed parent mean to a process that works on parts.

    Control-C reaches every process of the terminal: this one finishes its part, the parent hands out no
    more. A parent that was killed can tell nobody; without it this process would wait for work for ever.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None  # only spawned processes come here
    parent.join()
    os._exit(1)
