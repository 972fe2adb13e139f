"""The spool: where received objects lie, and how one becomes durable.

::

    incoming/<receiver>/   what is arriving; nothing here has been acknowledged
    inbox/                 acknowledged, not yet indexed
    studies/<Study Instance UID>/<SOP Instance UID>.dcm
    quarantine/            acknowledged, but no study could be read from it

The spool is the truth and the database its index: a file moves by rename only, and every folder can be
read again after a crash.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from ..domain.uid import is_uid
from ..errors import SpoolError, SpoolFullError

#: how long a look at the free space holds, s
SPACE_CHECK_S = 1.0
#: folders in which nothing has moved for so long hold nothing that is on its way to the index, s
ON_THE_WAY_S = 86_400.0

_LOCK = ".lock"
_BESIDE = re.compile(r"\.[0-9a-f]{8}")
_INBOX_NAME = re.compile(r"^(?P<ns>\d{20})-(?P<priority>[hr])-[0-9a-f]{16}\.dcm$")


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """One durable object that waits to be indexed."""

    #: the file
    path: Path
    #: when it was acknowledged
    received_at: datetime
    #: sent with DIMSE priority HIGH
    high_priority: bool = False
    #: association that brought it; None after a restart
    association: int | None = None


def seek_data_set(file: BinaryIO) -> None:
    """Put `file` behind its file meta information: after (0002,0000) and as many bytes as that says.

    PS3.10 section 7.1. A file without it is taken to be all data set. Raises OSError.
    """
    head = file.read(144)
    described = head[128:138] == b"DICM\x02\x00\x00\x00UL"
    file.seek(144 + int.from_bytes(head[140:144], "little") if described else 0)


def inbox_name(ns: int, *, high_priority: bool) -> str:
    """A name of its own for an object acknowledged at `ns`, in nanoseconds since 1970; sorts by that."""
    return f"{ns:020d}-{'h' if high_priority else 'r'}-{secrets.token_hex(8)}.dcm"


def read_inbox_name(path: Path) -> Arrival | None:
    """What the name of a file in the inbox says; None for one that is not ours."""
    match = _INBOX_NAME.match(path.name)
    if match is None:
        return None
    received_at = datetime.fromtimestamp(int(match["ns"]) / 1e9, UTC)
    return Arrival(path=path, received_at=received_at, high_priority=match["priority"] == "h")


def digest(path: Path) -> str:
    """SHA-256 of a file's data set, hex; its file meta information names the sender, so it is left out.

    The same object in another transfer syntax has another digest. Raises OSError.
    """
    with path.open("rb") as file:
        seek_data_set(file)
        return hashlib.file_digest(file, "sha256").hexdigest()


class Spool:
    """One spool folder, and this process's own corner of `incoming/`."""

    #: objects that are worth placing at once
    parallel = 1
    #: whether an object that came before and comes again has a file of its own, until the index knows
    keeps_repeats = False

    def __init__(self, root: Path, *, reserve_bytes: int) -> None:
        self.root = root
        self.inbox = root / "inbox"
        self.studies = root / "studies"
        self.quarantine = root / "quarantine"
        self._incoming = root / "incoming" / secrets.token_hex(8)
        self._reserve_bytes = reserve_bytes
        self._checked_at = -SPACE_CHECK_S
        self._free_bytes = 0

    def open(self) -> None:
        """Make the folders, clear what dead receivers left half-received. Raises SpoolError."""
        try:
            for folder in (self.inbox, self.studies, self.quarantine, self._incoming.parent):
                folder.mkdir(parents=True, exist_ok=True)
            # one receiver at a time: between another's mkdir and its lock it would look dead
            with (self._incoming.parent / _LOCK).open("ab") as door:
                fcntl.flock(door, fcntl.LOCK_EX)
                self._incoming.mkdir()
                self._lock = (self._incoming / _LOCK).open("wb")
                fcntl.flock(self._lock, fcntl.LOCK_EX)
                self._clear_dead_receivers()
            # without hard links `place` cannot keep from overwriting; better to know now
            (self._incoming / ".link").hardlink_to(self._incoming / _LOCK)
            self._inbox_fd = os.open(self.inbox, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise SpoolError(f"cannot use the spool {self.root}: {error.strerror}") from error

    def close(self) -> None:
        """Give up this process's corner of `incoming/`."""
        shutil.rmtree(self._incoming, ignore_errors=True)
        self._lock.close()
        os.close(self._inbox_fd)

    def _clear_dead_receivers(self) -> None:
        """Remove the corners whose lock nobody holds: the kernel lets go of a dead process's locks."""
        for corner in self._incoming.parent.iterdir():
            if corner == self._incoming or not corner.is_dir():
                continue
            with (corner / _LOCK).open("ab") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                shutil.rmtree(corner, ignore_errors=True)

    def create(self) -> tuple[Path, BinaryIO]:
        """Open a new file for an arriving object. Raises SpoolFullError, OSError."""
        now = time.monotonic()
        if now - self._checked_at >= SPACE_CHECK_S:
            status = os.statvfs(self.root)
            self._free_bytes, self._checked_at = status.f_bavail * status.f_frsize, now
        if self._free_bytes < self._reserve_bytes:
            raise SpoolFullError
        path = self._incoming / secrets.token_hex(8)
        return path, path.open("xb")

    def make_durable(
        self, path: Path, file: BinaryIO, *, high_priority: bool, association: int | None
    ) -> Arrival:
        """Bring a complete file to stable storage and into the inbox. Raises OSError.

        The order matters: contents before name, so that no name in the inbox ever stands for half a file;
        the folder last, so that the name outlives a power cut.
        """
        file.flush()
        os.fsync(file.fileno())
        file.close()
        ns = time.time_ns()
        inboxed = self.inbox / inbox_name(ns, high_priority=high_priority)
        path.rename(inboxed)
        os.fsync(self._inbox_fd)
        return Arrival(
            path=inboxed,
            received_at=datetime.fromtimestamp(ns / 1e9, UTC),
            high_priority=high_priority,
            association=association,
        )

    def inboxed(self) -> list[Arrival]:
        """What lies in the inbox, in order of receipt."""
        names = sorted(os.listdir(self.inbox))
        return [found for name in names if (found := read_inbox_name(self.inbox / name))]

    def oldest(self) -> datetime | None:
        """When the first of what lies in the inbox was acknowledged, by whatever receiver. Raises OSError."""
        return next((arrival.received_at for arrival in self.inboxed()), None)

    def fetch(self, arrival: Arrival) -> None:
        """Make the file readable at its path. Raises OSError."""

    def done(self, arrival: Arrival) -> None:
        """Nobody reads the file at its path any more."""

    @contextmanager
    def glance(self, arrival: Arrival) -> Iterator[Arrival]:
        """The file for whoever only looks at it beside the indexer. Raises FileNotFoundError, OSError."""
        yield arrival

    def sizes(self, paths: Sequence[str]) -> list[int | None]:
        """Bytes of each file, in this order; None where there is none. Raises OSError."""
        found: list[int | None] = []
        for path in paths:
            try:
                found.append((self.root / path).stat().st_size)
            except FileNotFoundError:
                found.append(None)
        return found

    def unindexed(self, uids: Collection[str]) -> Iterator[tuple[str, Arrival]]:
        """What has its place under these SOP Instance UIDs and may not be in the index yet."""
        since = time.time() - ON_THE_WAY_S
        for folder in self.study_folders():
            try:
                if folder.stat().st_mtime < since:
                    continue
                names = os.listdir(folder)
            except FileNotFoundError:
                continue  # retention was quicker
            for uid in {name.removesuffix(".dcm") for name in names} & set(uids):
                yield uid, Arrival(path=folder / f"{uid}.dcm", received_at=datetime.now(UTC))

    def study_folders(self) -> Iterator[Path]:
        """Every study's folder."""
        with os.scandir(self.studies) as entries:
            for entry in entries:
                if is_uid(entry.name):
                    yield self.studies / entry.name

    def study_files(self, folder: Path) -> list[Arrival]:
        """What lies in a study's folder, for the database to catch up on; priority is no longer known."""
        found = []
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(".dcm"):
                    received_at = datetime.fromtimestamp(entry.stat().st_mtime, UTC)
                    found.append(Arrival(path=folder / entry.name, received_at=received_at))
        return sorted(found, key=lambda arrival: arrival.received_at)

    def place(self, path: Path, *, study_uid: str, sop_uid: str, sha256: str) -> tuple[Path, bool]:
        """Move an inboxed file into its study; returns where it lies now and whether it is a conflict.

        An object that is there already is dropped. One with the same UID and other content is kept
        beside, as `<SOP Instance UID>.<8 hex digits>.dcm`. Raises OSError.
        """
        folder = self.studies / study_uid
        folder.mkdir(exist_ok=True)
        plain = folder / f"{sop_uid}.dcm"
        if self._move(path, plain) or digest(plain) == sha256:
            path.unlink(missing_ok=True)
            return plain, False
        beside = folder / f"{sop_uid}.{sha256[:8]}.dcm"
        self._move(path, beside)
        path.unlink(missing_ok=True)
        return beside, True

    def probe(self) -> None:
        """Whether what is behind the folder takes objects, where there is such. Raises SpoolAwayError."""

    def is_conflict(self, path: Path, sop_uid: str) -> bool:
        """Whether a study's file was kept beside another one when it came."""
        return bool(_BESIDE.fullmatch(path.stem.removeprefix(sop_uid)))

    @staticmethod
    def _move(source: Path, target: Path) -> bool:
        """Move unless the target exists: a link fails on an existing name, where a rename overwrites."""
        try:
            target.hardlink_to(source)
        except FileExistsError:
            return False
        return True

    def set_aside(self, path: Path) -> Path:
        """Move a file that cannot be assigned to any study into the quarantine. Raises OSError."""
        target = self.quarantine / path.name
        path.rename(target)
        return target

    def drop(self, paths: Sequence[str]) -> None:
        """Delete repeats that the index has no use for; `place` has done so where it keeps none."""

    def relative(self, path: Path) -> str:
        """The path as the database keeps it."""
        return path.relative_to(self.root).as_posix()
