"""The files of the spool as everybody but the listener sees them: by their paths below it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from ..settings import Spool
from .entry import Entry
from .folder import Folder


class Files(Protocol):
    """A folder or a bucket. Every method raises OSError; `SpoolAwayError`, which is one, where it is away."""

    def local(self, paths: Sequence[str]) -> list[Path]:
        """Where each can be read on this machine, in this order; of one that is gone, where nothing is."""

    def release(self, paths: Sequence[str]) -> None:
        """Nobody here needs what `local` may have copied."""

    def exists(self, path: str) -> bool:
        """Whether it is there."""

    def write(self, path: str, content: bytes) -> None:
        """On stable storage when this returns, whole or not at all; replaces what was there."""

    def copy_out(self, path: str, target: Path) -> None:
        """A copy at `target`, with the time of writing. Raises FileNotFoundError."""

    def delete(self, paths: Sequence[str]) -> None:
        """Delete those that are there."""

    def list(self, folder: str) -> Iterator[Entry]:
        """All below `folder`, folder by folder, in order of name; what moves meanwhile may be missing."""


def files_of(settings: Spool) -> Files:
    """The spool that the settings name. Raises SettingsError."""
    if not settings.url:
        return Folder(settings.path)
    from .bucket import Bucket  # loads the library only where it is used

    return Bucket(settings)
