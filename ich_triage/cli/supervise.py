"""`serve` starts the other processes, starts again the one that dies, and ends them in order."""

from __future__ import annotations

import faulthandler
import os
import queue
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import structlog

log = structlog.get_logger(__name__)

#: tells a process that it must not outlive this parent
PARENT_VARIABLE = "ICH_TRIAGE_PARENT_PID"
#: wait before a process that died is started again, s; doubles up to the second figure
BACKOFF_S = (0.5, 30.0)
#: a process that lived so long has its back-off forgotten, s
STABLE_S = 60.0
#: time to end in order before a process is killed, s
GRACE_S = 30.0
#: time that a process takes to end itself before it leaves whatever hangs, s
END_S = 27.0
_LOOK_S = 0.2


def stop_event(*, limit_s: float | None = None) -> threading.Event:
    """Set by SIGTERM, by SIGINT, and when the supervising process is gone.

    A process that has not ended `limit_s` later, because something hangs at its start, its work or its end,
    shows in the log where each thread is, and leaves: as after a kill, nothing acknowledged is lost.
    """
    stop = threading.Event()
    if limit_s is not None:
        threading.Thread(target=_leave_in_time, args=(stop, limit_s), daemon=True).start()
    # A handler interrupts the main thread, which may hold the event's own lock at that moment: only a
    # SimpleQueue may be touched here.
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: signals.put(number))
    threading.Thread(target=_set_on_signal, args=(signals, stop), daemon=True).start()
    if parent := os.environ.get(PARENT_VARIABLE):
        threading.Thread(target=_watch_parent, args=(int(parent), stop), daemon=True).start()
    return stop


def wait_for(stop: threading.Event) -> None:
    """Wait in the main thread, and look up now and then.

    Handlers of signals run there; one that another thread received, or that came just before the wait began,
    does not end a wait without a limit.
    """
    while not stop.wait(_LOOK_S):
        pass


def _set_on_signal(signals: queue.SimpleQueue[int], stop: threading.Event) -> None:
    signals.get()
    stop.set()


def _leave_in_time(stop: threading.Event, limit_s: float) -> None:
    stop.wait()
    faulthandler.dump_traceback_later(limit_s, exit=True)


def _watch_parent(parent: int, stop: threading.Event) -> None:
    while os.getppid() == parent:
        if stop.wait(_LOOK_S):
            return
    stop.set()


@dataclass(kw_only=True)
class _Child:
    name: str
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restart_at: float = 0.0
    backoff_s: float = field(default=BACKOFF_S[0])


def supervise(names: tuple[str, ...], config: Path | None, stop: threading.Event) -> None:
    """Keep `ich-triage NAME` running for each name until `stop` is set."""
    children = [_Child(name=name) for name in names]
    try:
        while not stop.is_set():
            for child in children:
                _look_after(child, config)
            stop.wait(_LOOK_S)
    finally:
        _end(children)


def _look_after(child: _Child, config: Path | None) -> None:
    now = monotonic()
    if child.process is None:
        if now >= child.restart_at:
            _start(child, config, now)
        return
    status = child.process.poll()
    if status is None:
        return
    if now - child.started_at > STABLE_S:
        child.backoff_s = BACKOFF_S[0]
    log.error("process_died", name=child.name, status=status, restart_in_s=child.backoff_s)
    child.process = None
    child.restart_at = now + child.backoff_s
    child.backoff_s = min(2 * child.backoff_s, BACKOFF_S[1])


def _start(child: _Child, config: Path | None, now: float) -> None:
    command = [sys.executable, "-m", "ich_triage", *(["--config", str(config)] if config else []), child.name]
    child.process = subprocess.Popen(
        command,
        env=os.environ | {PARENT_VARIABLE: str(os.getpid())},
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C reaches us alone; we end the others in order
    )
    child.started_at = now
    log.info("process_started", name=child.name, pid=child.process.pid)


def _end(children: list[_Child]) -> None:
    running = [child.process for child in children if child.process and child.process.poll() is None]
    for process in running:
        process.terminate()
    deadline = monotonic() + GRACE_S
    for process in running:
        try:
            process.wait(max(0.0, deadline - monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
