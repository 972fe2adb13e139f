"""Deletes what has been kept for long enough, and the oldest images when space runs low.

One process does it at a time, however many workers there are. Of a study nothing goes while the list shows
it, nor before it is settled (`store.removal`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePath
from threading import Event

import structlog
from sqlalchemy.exc import SQLAlchemyError

from ..clock import Steps
from ..outputs import masks
from ..outputs.folders import OUTBOX
from ..settings import Settings
from ..storage import durable
from ..storage.files import files_of
from ..storage.folder import Folder
from ..store import removal
from ..store.database import Database
from ..store.removal import Removable
from .aside import GRACE_S
from .asides import aside_of
from .remove import remove_images, remove_study

log = structlog.get_logger(__name__)

#: how often it is looked for what may go, s
PERIOD_S = 60.0
#: studies asked for at a time
_BATCH = 100
#: how old the half of a file is that nobody is writing any more, and how often it is looked for, s
HALVES_S = 3600.0
_QUARANTINE = "quarantine"
_DAY = timedelta(days=1)


def free_space(folder: Path) -> int:
    """Bytes that may still be written there."""
    return shutil.disk_usage(folder).free


class Retention:
    """Runs now and then; a crash in between leaves nothing that the next run does not finish."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        *,
        free: Callable[[Path], int] = free_space,
        grace_s: float = GRACE_S,
    ) -> None:
        self._settings = settings.retention
        self._reserve = settings.spool.reserve_bytes
        self._spool = files_of(settings.spool)
        self._listed = timedelta(hours=settings.worklist.hours)
        self._database = database
        self._aside = aside_of(self._spool, database)
        self._free = free
        self._grace_s = grace_s
        self._stopping = Event()
        self._halves_from = datetime.min.replace(tzinfo=UTC)
        self._steps = Steps()
        self._set_forward = timedelta()

    def stop(self) -> None:
        """Let a run end with the study that it is at."""
        self._stopping.set()

    def run(self, now: datetime | None = None) -> None:
        """Delete what may go; does nothing while another process is at it."""
        if now is None and self._distrusts_clock():
            return
        try:
            with self._aside.alone() as mine:
                if mine:
                    self._run(now or datetime.now(UTC))
        except (OSError, SQLAlchemyError) as error:
            log.error("retention_failed", error=type(error).__name__)

    def _distrusts_clock(self) -> bool:
        """A clock that was set forward by a day makes everything old. Somebody who knows starts us again."""
        self._set_forward += timedelta(seconds=self._steps.look())
        if self._set_forward >= _DAY:
            log.error("retention_paused", clock_set_forward_by_s=self._set_forward.total_seconds())
        return self._set_forward >= _DAY

    def _run(self, now: datetime) -> None:
        self._aside.settle(self._database, grace_s=self._grace_s)
        self._halves(now)
        if before := self._before(now, self._settings.studies_days):
            self._each(before, self._study, event="studies_removed")
            self._strays(before)
        if before := self._before(now, self._settings.images_days):
            self._each(before, self._images, event="images_removed", with_images=True)
        self._make_space(now)
        if self._settings.audit_days:
            self._audit(now - self._settings.audit_days * _DAY)

    def _halves(self, now: datetime) -> None:
        """Remove what a process that died has left half written, and nobody else has had to write since."""
        if not isinstance(self._spool, Folder) or now < self._halves_from:
            return
        self._halves_from, before = now + timedelta(seconds=HALVES_S), now - timedelta(seconds=HALVES_S)
        old = [
            entry.path
            for folder in (OUTBOX, masks.FOLDER)
            for entry in self._spool.list(folder)
            if PurePath(entry.path).name.startswith(durable.PREFIX) and entry.modified < before
        ]
        self._spool.delete(old)
        if old:
            log.info("halves_removed", files=len(old))

    def _before(self, now: datetime, days: float) -> datetime | None:
        """News from before then are old enough: not listed any more, and so many days old."""
        return now - max(days * _DAY, self._listed) if days else None

    def _each(
        self,
        before: datetime,
        remove: Callable[[Removable, datetime], bool],
        *,
        event: str,
        with_images: bool = False,
        wanted_bytes: float = float("inf"),
    ) -> int:
        """Remove the oldest until `wanted_bytes` are gone or nothing is left; returns how many bytes went."""
        studies = freed = 0
        while not self._stopping.is_set() and freed < wanted_bytes:
            with self._database.read() as session:
                found = removal.removable(session, before=before, with_images=with_images, limit=_BATCH)
            gone = 0
            for each in found:
                if self._stopping.is_set() or freed >= wanted_bytes:
                    break
                if self._removed(remove, each, before):
                    gone += 1
                    freed += each.image_bytes
            studies += gone
            if not gone:
                break
        if studies:
            log.info(event, studies=studies, bytes=freed)
        return freed

    @staticmethod
    def _removed(remove: Callable[[Removable, datetime], bool], each: Removable, before: datetime) -> bool:
        """Whether it went; one that cannot go must not keep the others. The next run puts its files back."""
        try:
            return remove(each, before)
        except (OSError, SQLAlchemyError) as error:
            uid = each.study_instance_uid
            log.error("study_not_removed", study_instance_uid=uid, error=type(error).__name__)
            return False

    def _study(self, each: Removable, before: datetime) -> bool:
        return remove_study(self._database, self._aside, each, before=before)

    def _images(self, each: Removable, before: datetime) -> bool:
        return remove_images(self._database, self._aside, each, before=before)

    def _make_space(self, now: datetime) -> None:
        """Below the low mark, images of the oldest studies go until the high mark is reached again."""
        if not isinstance(self._spool, Folder):
            return  # a store has no free space that could be told
        available = self._free(self._spool.root) + self._aside.bytes() - self._reserve
        if not self._settings.free_bytes or available >= self._settings.free_bytes:
            return
        wanted = self._settings.free_until_bytes - available
        freed = self._each(
            now - self._listed, self._images, event="space_made", with_images=True, wanted_bytes=wanted
        )
        if freed < wanted:
            log.warning("space_low", free_bytes=available + self._reserve, freed_bytes=freed)

    def _strays(self, before: datetime) -> None:
        """Objects that no study could be read from, and what was noted of such."""
        for entry in self._spool.list(_QUARANTINE):
            if entry.modified < before:
                self._spool.delete([entry.path])
                log.info("quarantined_object_removed", path=entry.path)
        with self._database.write() as session:
            gone = removal.drop_problems(session, before=before)
        if gone:
            log.info("problems_removed", problems=gone)

    def _audit(self, before: datetime) -> None:
        total, gone = 0, 1
        while gone and not self._stopping.is_set():
            with self._database.write() as session:
                gone = removal.drop_audit(session, before=before)
            total += gone
        if total:
            log.info("audit_records_removed", records=total)
