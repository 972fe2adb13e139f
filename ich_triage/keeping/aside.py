"""Files on their way out: aside first, by rename, within the transaction that deletes their rows.

::

    removed/<study>/<path as it was below the spool>

Whether that transaction was committed is read from the database afterwards: what it still names goes back to
where it was, the rest is deleted. So a crash at any instant leaves neither a row without its file nor a file
that nobody knows. Nothing is deleted within `GRACE_S`: an object that came again in the same instant, and was
dropped for being there already, is then still there to go back.
"""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog

from ..storage.durable import sync
from ..storage.folder import Folder
from ..store import removal
from ..store.database import Database
from ..store.tables import Instance, Study
from . import files

log = structlog.get_logger(__name__)

#: for how long files lie aside before they are deleted, s
GRACE_S = 300.0
_FOLDER = "removed"
_LOCK = ".lock"
_POLL_S = 0.05


class Aside:
    """The folder of what is on its way out, in one spool. One process at a time works in it."""

    def __init__(self, spool: Folder) -> None:
        self._files = spool
        self._spool = spool.root
        self._root = self._spool / _FOLDER

    @contextmanager
    def alone(self, *, patience_s: float = 0.0) -> Iterator[bool]:
        """Whether this process has the folder to itself; if not at once, within `patience_s`.

        The kernel lets go of a dead process's lock. Raises OSError.
        """
        self._root.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + patience_s
        with (self._root / _LOCK).open("ab") as door:
            while not (mine := _locked(door.fileno())) and time.monotonic() < deadline:
                time.sleep(_POLL_S)
            yield mine

    def put_images(self, study: Study, instances: Iterable[Instance]) -> None:
        """Move aside the objects of a study that have a row, and what was made of their pixels.

        An object that has just come and has no row yet stays. Raises OSError.
        """
        uid = study.study_instance_uid
        self._move(uid, [self._spool / each.path for each in instances])
        self._move(uid, self._files.local(files.masks(self._files, uid)))

    def put_results(self, study: Study) -> None:
        """Move aside the reports of a study. Raises OSError."""
        uid = study.study_instance_uid
        self._move(uid, self._files.local(files.reports(self._files, uid)))

    def bytes(self) -> int:
        """What lies aside and will soon be free space."""
        return sum(path.stat().st_size for _, paths in self._lying() for path in paths)

    def settle(
        self, database: Database, *, grace_s: float = GRACE_S, only: Container[str] | None = None
    ) -> int:
        """Put back what the database still names, delete the rest; returns how many files were deleted.

        `only`: the files of these studies. Raises OSError, SQLAlchemyError.
        """
        deleted = 0
        for uid, paths in list(self._lying()):
            if only is None or uid in only:
                deleted += self._settle(database, uid, paths, grace_s)
        self._clear_empty()
        return deleted

    def _settle(self, database: Database, uid: str, paths: Iterable[Path], grace_s: float) -> int:
        with database.read() as session:
            named = removal.named(session, uid)
        back = deleted = 0
        for path in paths:
            home = self._spool / path.relative_to(self._root / uid)
            if not home.exists() and files.is_named(named, home.relative_to(self._spool).as_posix()):
                _rename(path, home)
                back += 1
            elif time.time() - path.stat().st_ctime >= grace_s:  # a rename sets it
                path.unlink(missing_ok=True)
                deleted += 1
        if back:
            with database.write() as session:
                removal.mark_images(session, uid, None)
            log.warning("removal_undone", study_instance_uid=uid, files=back)
        return deleted

    def _move(self, uid: str, paths: Iterable[Path]) -> None:
        folders = set()
        for path in paths:
            target = self._root / uid / path.relative_to(self._spool)
            target.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):  # it was lost, or moved before a crash
                path.rename(target)
                folders |= {path.parent, target.parent}
        # before the rows go: after a power cut no file must stand where it was, without a row
        for folder in folders:
            sync(folder)
        for folder in sorted(folders, reverse=True):
            _drop_if_empty(folder, up_to=self._spool)

    def _lying(self) -> Iterator[tuple[str, list[Path]]]:
        """Study Instance UID of each study that has files aside, and those."""
        if self._root.is_dir():
            for folder in sorted(self._root.iterdir()):
                if folder.is_dir():
                    yield folder.name, sorted(path for path in folder.rglob("*") if path.is_file())

    def _clear_empty(self) -> None:
        for folder in self._root.iterdir():
            if folder.is_dir() and not any(path.is_file() for path in folder.rglob("*")):
                shutil.rmtree(folder, ignore_errors=True)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _rename(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)
    sync(target.parent)


def _drop_if_empty(folder: Path, *, up_to: Path) -> None:
    """Remove folders that have become empty, upwards; one into which something has just come stays."""
    with suppress(OSError):
        while folder.parent != up_to:
            folder.rmdir()
            folder = folder.parent
