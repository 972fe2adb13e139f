"""The same spool in an object store: an object is durable when the store has answered that it has it.

What arrives passes through this process's own corner of `incoming/` on this machine, where it stays until it
is indexed; nothing there is needed again when the machine is lost. The names in the store are those of
`spool`, but each object of a study has the random part of its name in the inbox behind its UID: none ever
overwrites another one, and moving one twice comes to the same. The index tells what came before.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from ..domain.uid import is_uid
from ..storage.bucket import PARALLEL, Bucket
from .spool import Arrival, Spool, inbox_name, read_inbox_name

#: within which the index knows what has its place in a study, s
_FOLLOWS_S = 3.0
INBOX, STUDIES, QUARANTINE = "inbox", "studies", "quarantine"


class BucketSpool(Spool):
    """A bucket, and this process's own corner of `incoming/` in a folder of this machine."""

    parallel = PARALLEL
    keeps_repeats = True

    def __init__(self, root: Path, bucket: Bucket, *, reserve_bytes: int) -> None:
        super().__init__(root, reserve_bytes=reserve_bytes)
        self._bucket = bucket

    def open(self) -> None:
        """Make the folders; that the store is there is not needed to begin. Raises SpoolError."""
        super().open()
        # paths below the corner are those of the store, where most of them have no file
        self.root = self._incoming / "bucket"
        self.inbox, self.studies = self.root / INBOX, self.root / STUDIES
        self.quarantine = self.root / QUARANTINE
        self.inbox.mkdir(parents=True)

    def make_durable(
        self, path: Path, file: BinaryIO, *, high_priority: bool, association: int | None
    ) -> Arrival:
        """See `Spool`: in the inbox of the store. Raises SpoolAwayError, OSError."""
        file.close()
        ns = time.time_ns()
        inboxed = self.inbox / inbox_name(ns, high_priority=high_priority)
        self._bucket.write(self.relative(inboxed), path)
        path.rename(inboxed)
        return Arrival(
            path=inboxed,
            received_at=datetime.fromtimestamp(ns / 1e9, UTC),
            high_priority=high_priority,
            association=association,
        )

    def inboxed(self) -> list[Arrival]:
        """See `Spool`."""
        names = [Path(entry.path).name for entry in self._bucket.list(INBOX)]
        return [found for name in names if (found := read_inbox_name(self.inbox / name))]

    def fetch(self, arrival: Arrival) -> None:
        """See `Spool`: what this process has not received itself comes out of the store."""
        if not arrival.path.exists():
            arrival.path.parent.mkdir(parents=True, exist_ok=True)
            part = arrival.path.with_suffix(".part")
            self._bucket.copy_out(self.relative(arrival.path), part)
            part.rename(arrival.path)

    def done(self, arrival: Arrival) -> None:
        """See `Spool`: the copy here goes."""
        arrival.path.unlink(missing_ok=True)

    @contextmanager
    def glance(self, arrival: Arrival) -> Iterator[Arrival]:
        """See `Spool`: a copy of its own, since the one of the indexer may go at any time."""
        copy = self.root / secrets.token_hex(8)
        try:
            try:
                copy.hardlink_to(arrival.path)
            except FileNotFoundError:
                self._bucket.copy_out(self.relative(arrival.path), copy)
            yield replace(arrival, path=copy)
        finally:
            copy.unlink(missing_ok=True)

    def sizes(self, paths: Sequence[str]) -> list[int | None]:
        """See `Spool`. Raises SpoolAwayError."""
        return list(self._bucket.each(self._bucket.size, paths))

    def unindexed(self, uids: Collection[str]) -> Iterator[tuple[str, Arrival]]:
        """See `Spool`: to look at every study would take too long, so the index is given time to follow."""
        time.sleep(_FOLLOWS_S)
        return iter(())

    def study_folders(self) -> Iterator[Path]:
        """See `Spool`."""
        for name in self._bucket.folders(STUDIES):
            if is_uid(name):
                yield self.studies / name

    def study_files(self, folder: Path) -> list[Arrival]:
        """See `Spool`."""
        found = [
            Arrival(path=self.root / entry.path, received_at=entry.modified)
            for entry in self._bucket.list(self.relative(folder))
        ]
        return sorted(found, key=lambda arrival: arrival.received_at)

    def place(self, path: Path, *, study_uid: str, sop_uid: str, sha256: str) -> tuple[Path, bool]:
        """See `Spool`; the index says what is a conflict. Raises FileNotFoundError, SpoolAwayError."""
        placed = self.studies / study_uid / f"{sop_uid}.{path.stem.rpartition('-')[2]}.dcm"
        self._move_in_store(path, placed)
        return placed, False

    def is_conflict(self, path: Path, sop_uid: str) -> bool:
        """See `Spool`: the name does not tell."""
        return False

    def drop(self, paths: Sequence[str]) -> None:
        """Delete repeats, which the index has no use for. Raises SpoolAwayError."""
        self._bucket.delete(paths)

    def set_aside(self, path: Path) -> Path:
        """See `Spool`. Raises FileNotFoundError, SpoolAwayError."""
        target = self.quarantine / path.name
        self._move_in_store(path, target)
        return target

    def probe(self) -> None:
        """Write an object as for one that arrives, and delete it. Raises SpoolAwayError."""
        name = f"probe/{secrets.token_hex(8)}"
        self._bucket.write(name, b"\0")
        self._bucket.delete([name])

    def _move_in_store(self, path: Path, target: Path) -> None:
        self._bucket.copy(self.relative(path), self.relative(target))
        self._bucket.delete([self.relative(path)])
