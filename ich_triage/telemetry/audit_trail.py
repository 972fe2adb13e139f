"""The audit trail's way to file and syslog: through bounded queues, so that nobody waits for either.

What a full queue does not take is counted and told in the log. Records of people are in the database all the
same, and every record is in the structured log.
"""

from __future__ import annotations

import os
import queue
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic
from typing import Generic, TypeVar

import structlog

from ..domain.audit import AuditRecord, PeerRecord
from ..errors import SettingsError
from ..settings import Audit
from .audit_message import Message, Writer
from .syslog import Syslog

log = structlog.get_logger(__name__)

#: records that may wait
LIMIT = 10_000
#: first and longest wait before another try, s
_BACKOFF_S = (0.5, 30.0)
#: how often the log tells of the same trouble, s
_NEWS_S = 60.0
#: how long an end waits for what is under way, s
PATIENCE_S = 3.0
#: how often a thread that has nothing to do looks whether it is to end, s
_LOOK_S = 0.2
_MODE = 0o600

T = TypeVar("T")


class Trail:
    """Where the records of one process go."""

    def __init__(
        self, settings: Audit, process: str, *, patient_of: Callable[[str], str | None] | None = None
    ) -> None:
        """`patient_of` finds the Patient ID of a study. Raises SettingsError where a file cannot be used."""
        self._writer = Writer(settings, process)
        self._patient_of = patient_of
        self._targets: list[_Line[Message]] = []
        self._syslog = Syslog(settings) if settings.syslog else None
        if settings.file:
            self._targets.append(_Line("file", _AuditFile(settings.file).append))
        if self._syslog:
            self._targets.append(_Line("syslog", self._syslog.send))
        self._records: _Line[AuditRecord | PeerRecord] = _Line("records", self._spread)

    def start(self) -> None:
        """Begin to write."""
        self._records.start()
        for target in self._targets:
            target.start()

    def put(self, record: AuditRecord | PeerRecord) -> None:
        """Take one record; never waits."""
        self._records.put(record)

    def stop(self) -> None:
        """Write what waits, for a while; what is left then is told in the log."""
        deadline = monotonic() + PATIENCE_S
        self._records.stop(deadline)
        for target in self._targets:
            target.stop(deadline)
        if self._syslog:
            self._syslog.close()

    def _spread(self, record: AuditRecord | PeerRecord) -> None:
        uid = record.study_instance_uid
        patient_id = self._patient_of(uid) if self._patient_of and uid else None
        message = self._writer.message(record, patient_id)
        for target in self._targets:
            target.put(message)


class _Line(Generic[T]):
    """A bounded queue, and a thread that hands on what comes, in order, until it is taken."""

    def __init__(self, name: str, hand_on: Callable[[T], None]) -> None:
        self._name = name
        self._hand_on = hand_on
        self._waiting: queue.Queue[T] = queue.Queue(LIMIT)
        self._stopping = Event()
        self._lock = Lock()
        self._dropped = 0
        self._told_at = -_NEWS_S
        self._thread = Thread(target=self._run, name=f"audit-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, item: T) -> None:
        try:
            self._waiting.put_nowait(item)
        except queue.Full:
            with self._lock:
                self._dropped += 1
            self._tell("queue full")

    def stop(self, deadline: float) -> None:
        """End once all is handed on, at `deadline` at the latest."""
        while self._waiting.unfinished_tasks and monotonic() < deadline:
            self._stopping.wait(0.01)
        self._stopping.set()
        if left := self._waiting.unfinished_tasks + self._dropped:
            log.error("audit_dropped", target=self._name, records=left, reason="the process ends")

    def _run(self) -> None:
        while not self._stopping.is_set():
            with suppress(queue.Empty):
                if self._is_taken(self._waiting.get(timeout=_LOOK_S)):
                    self._waiting.task_done()

    def _is_taken(self, item: T) -> bool:
        """Try until it is, or until the end."""
        wait_s, longest_s = _BACKOFF_S
        while True:
            try:
                self._hand_on(item)
                return True
            except OSError as error:
                self._tell(error.strerror or type(error).__name__)
            # broad, since this is the boundary of a thread: one odd record must not end the trail
            except Exception as error:  # noqa: BLE001
                log.error("audit_record_failed", target=self._name, error=type(error).__name__)
                return True
            if self._stopping.wait(wait_s):
                return False
            wait_s = min(2 * wait_s, longest_s)

    def _tell(self, reason: str) -> None:
        """Once a minute at most."""
        with self._lock:
            if monotonic() - self._told_at < _NEWS_S:
                return
            self._told_at, dropped, self._dropped = monotonic(), self._dropped, 0
        log.error(
            "audit_not_written",
            target=self._name,
            reason=reason,
            waiting=self._waiting.qsize(),
            dropped=dropped,
        )


class _AuditFile:
    """A file of messages, one a line; several processes append to it; it may be moved away any time."""

    def __init__(self, path: Path) -> None:
        """Raises SettingsError when it cannot be written."""
        self._path = path
        self._torn = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(self._open())
        except OSError as error:
            raise SettingsError(f"[audit] file {path} cannot be written: {error.strerror}") from error

    def append(self, message: Message) -> None:
        """One write for one line, so that those of several processes do not mix. Raises OSError."""
        line = (b"\n" if self._torn else b"") + message.xml + b"\n"
        file = self._open()
        try:
            self._torn = False
            if os.write(file, line) < len(line):
                self._torn = True
                raise OSError("the disk took only a part")
        finally:
            os.close(file)

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _MODE)
