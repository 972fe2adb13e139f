"""A spool in a folder: on this machine's disk, or on a share that all hosts have."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from . import durable
from .entry import Entry


class Folder:
    """See `Files`. Nothing is copied to be read."""

    def __init__(self, root: Path) -> None:
        #: the spool
        self.root = root

    def local(self, paths: Sequence[str]) -> list[Path]:
        """See `Files`."""
        return [self.root / path for path in paths]

    def release(self, paths: Sequence[str]) -> None:
        """See `Files`."""

    def exists(self, path: str) -> bool:
        """See `Files`."""
        return (self.root / path).is_file()

    def write(self, path: str, content: bytes) -> None:
        """See `Files`: bytes, name and new folders are flushed."""
        durable.write(self.root / path, content)

    def copy_out(self, path: str, target: Path) -> None:
        """See `Files`."""
        shutil.copy2(self.root / path, target)

    def delete(self, paths: Sequence[str]) -> None:
        """See `Files`."""
        for path in paths:
            (self.root / path).unlink(missing_ok=True)

    def list(self, folder: str) -> Iterator[Entry]:
        """See `Files`; `rglob` would stop at a folder that goes away meanwhile."""
        for where, folders, names in os.walk(self.root / folder):
            folders.sort()
            for name in sorted(names):
                path = Path(where) / name
                with suppress(FileNotFoundError):
                    modified = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                    yield Entry(path=path.relative_to(self.root).as_posix(), modified=modified)
