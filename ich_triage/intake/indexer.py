"""From the inbox into the studies' folders and the database, off the path of the answer to the sender."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import islice
from threading import Condition, Event, Thread
from typing import TypeVar

import structlog
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from ..dicom.contexts import CT_IMAGE_CLASSES
from ..domain.passing import passes
from ..errors import HeaderError
from ..store import instances
from ..store.database import Database
from ..store.instances import Indexed, index
from ..store.problems import ProblemKind, report
from .associations import Associations
from .header import read
from .spool import Arrival, Spool

log = structlog.get_logger(__name__)

#: objects written in one transaction
BATCH = 64
#: how long a batch waits for more: each transaction costs a disk flush that senders wait behind, s
BATCH_WAIT_S = 0.1
#: first and longest wait for a database that is away, s
BACKOFF_S = (0.2, 10.0)

T = TypeVar("T")
_REOPENING = frozenset(str(uid) for uid in CT_IMAGE_CLASSES)


class Indexer:
    """One thread. What it holds in memory lies in the spool, too, so that a crash costs only time."""

    def __init__(
        self,
        spool: Spool,
        database: Database,
        associations: Associations,
        *,
        stat_ae_titles: Iterable[str] = (),
    ) -> None:
        self._spool = spool
        self._database = database
        self._associations = associations
        self._stat_ae_titles = frozenset(stat_ae_titles)
        #: what has just come goes before what a rescan has found: its patients wait now
        self._fresh: deque[Arrival] = deque()
        self._found: deque[Arrival] = deque()
        self._changed = Condition()
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="indexer", daemon=True)
        self._placing = ThreadPoolExecutor(spool.parallel, thread_name_prefix="placing")

    def start(self) -> None:
        """Begin to index."""
        self._thread.start()

    def stop(self, *, patience_s: float) -> None:
        """Index what is waiting, for `patience_s` at most; the next start finds the rest."""
        self.wait_idle(patience_s)
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join(timeout=patience_s)
        self._placing.shutdown(wait=False)

    def put(self, arrivals: Iterable[Arrival]) -> None:
        """Add objects; never blocks."""
        with self._changed:
            for arrival in arrivals:
                queue = self._fresh if arrival.path.parent == self._spool.inbox else self._found
                queue.append(arrival)
            self._changed.notify_all()

    def pending(self) -> int:
        """Objects that are not in the database yet."""
        with self._changed:
            return len(self._fresh) + len(self._found)

    def wait_idle(self, limit_s: float) -> bool:
        """Wait until everything is in the database; whether that came true."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._fresh or self._found), timeout=limit_s)

    def indexed_up_to(self, now: datetime) -> Callable[[str], datetime]:
        """The time up to which a study's index is complete: silence before it is real, after it not known.

        It is as now; what a rescan has found is known by its folder, what has just come may be of any study.
        """
        with self._changed:
            any_study = min((arrival.received_at for arrival in self._fresh), default=now)
            found: dict[str, datetime] = {}
            for arrival in self._found:
                study = arrival.path.parent.name
                found[study] = min(arrival.received_at, found.get(study, now))
        return lambda study_instance_uid: min(any_study, found.get(study_instance_uid, now))

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._fresh or self._found or self._stopping.is_set())
                self._changed.wait_for(self._batch_is_full, timeout=BATCH_WAIT_S)
                queue = self._fresh or self._found
                batch = list(islice(queue, BATCH))
            if self._stopping.is_set():
                return
            try:
                self._index(batch)
            except _Stopped:
                return
            with self._changed:
                for _ in batch:
                    queue.popleft()
                self._changed.notify_all()

    def _batch_is_full(self) -> bool:
        return len(self._fresh) >= BATCH or len(self._found) >= BATCH or self._stopping.is_set()

    def _index(self, batch: list[Arrival]) -> None:
        placed = (
            self._placing.map(self._placed, batch) if self._spool.parallel > 1 else map(self._placed, batch)
        )
        if items := [item for item in placed if item]:
            self._write(items)

    def _placed(self, arrival: Arrival) -> Indexed | None:
        """The object in its study; None for one that cannot be used, of which somebody is told."""
        try:
            return self._retrying(partial(self._place, arrival))
        except HeaderError as error:
            self._set_aside(arrival, error)
        except FileNotFoundError:
            log.debug("taken_by_another_receiver", path=arrival.path.name)
        except OSError as error:
            reason = f"{self._spool.relative(arrival.path)}: {os.strerror(error.errno or errno.EIO)}"
            self._report(reason, arrival.received_at, None)
        except _Stopped:
            raise
        # broad, since these are other people's bytes: an object that breaks us costs no other, and stays
        # in the inbox for the next rescan
        except Exception as error:
            log.error("indexing_failed", error=type(error).__name__, exc_info=True)
            reason = f"{self._spool.relative(arrival.path)}: {type(error).__name__}"
            self._report(reason, arrival.received_at, None)
        return None

    def _place(self, arrival: Arrival) -> Indexed:
        """Read the header and move the file into its study. Raises HeaderError, OSError."""
        self._spool.fetch(arrival)
        received = read(arrival)
        if received.calling_ae_title in self._stat_ae_titles:
            received = replace(received, stat=True)
        path = arrival.path
        conflict = self._spool.is_conflict(path, received.sop_instance_uid)
        if path.parent == self._spool.inbox:
            path, conflict = self._spool.place(
                path,
                study_uid=received.study_instance_uid,
                sop_uid=received.sop_instance_uid,
                sha256=received.sha256,
            )
            self._associations.audited.received(arrival.association, received)
        self._spool.done(arrival)
        self._associations.touched(arrival.association, received.study_instance_uid)
        return Indexed(received=received, path=self._spool.relative(path), conflict=conflict)

    def _write(self, items: list[Indexed]) -> None:
        try:
            self._retrying(lambda: self._write_once(items))
        except _Stopped:
            raise
        # broad, since a thread that dies silently would stop every study; the files are in the spool
        except Exception as error:  # noqa: BLE001
            if len(items) > 1:
                for item in items:
                    self._write([item])
                return
            first = items[0]
            uid = first.received.study_instance_uid
            self._report(f"{first.path}: {type(error).__name__}", first.received.received_at, uid)

    def _write_once(self, items: list[Indexed]) -> None:
        with self._database.write() as session:
            new = index(session, items, reopening=_REOPENING)
        if self._spool.keeps_repeats and new < len(items):
            self._drop_repeats([item.path for item in items])
        log.debug("indexed", objects=len(items), new=new)

    def _drop_repeats(self, paths: Sequence[str]) -> None:
        with self._database.read() as session:
            named = instances.named(session, paths)
        self._spool.drop([path for path in paths if path not in named])

    def _set_aside(self, arrival: Arrival, error: HeaderError) -> None:
        try:
            path = self._retrying(lambda: self._spool.set_aside(arrival.path))
        except OSError:
            path = arrival.path  # another receiver was quicker, or it has to stay where it is
        self._spool.done(arrival)
        detail = f"{self._spool.relative(path)}: {error}"
        self._report(detail, arrival.received_at, error.study_instance_uid)

    def _report(self, detail: str, at: datetime, study_uid: str | None) -> None:
        """Tell the log, and whoever looks at the study, that an object could not be used."""
        log.error("object_not_usable", study_instance_uid=study_uid, detail=detail)

        def write() -> None:
            with self._database.write() as session:
                kind = ProblemKind.UNREADABLE_OBJECT
                report(session, kind, at=at, study_instance_uid=study_uid, detail=detail)

        self._retrying(write)

    def _retrying(self, action: Callable[[], T]) -> T:
        """Try until database and disk take it. Raises what will not get better, _Stopped at the end."""
        wait_s, longest_s = BACKOFF_S
        while True:
            try:
                return action()
            except (DataError, IntegrityError):
                raise
            except (SQLAlchemyError, OSError) as error:
                if isinstance(error, OSError) and not passes(error):
                    raise
                log.error("indexing_waits", error=type(error).__name__, retry_in_s=wait_s)
            if self._stopping.wait(wait_s):
                raise _Stopped
            wait_s = min(2 * wait_s, longest_s)


class _Stopped(Exception):  # noqa: N818
    """The receiver stops while something is being tried again."""
