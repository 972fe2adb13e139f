"""Copies on this machine of what lies in an object store: one corner for each process, gone with it."""

from __future__ import annotations

import atexit
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from threading import Thread

#: a copy that nobody has asked for lately goes after so long; longer than a worker may be at one study, s
KEPT_S = 1800.0
_LOOK_S = 60.0
_LOCK = ".lock"


class Scratch:
    """A folder of copies, each at its path below the spool."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError."""
        self._corners = folder
        self._root = folder / secrets.token_hex(8)
        folder.mkdir(parents=True, exist_ok=True)
        # one process at a time: between another's mkdir and its lock it would look dead
        with (folder / _LOCK).open("ab") as door:
            fcntl.flock(door, fcntl.LOCK_EX)
            self._root.mkdir(mode=0o700)
            self._lock = (self._root / _LOCK).open("wb")
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            self._clear_dead()
        atexit.register(self.close)
        Thread(target=self._run, name="scratch", daemon=True).start()

    def close(self) -> None:
        """Remove every copy of this process."""
        atexit.unregister(self.close)
        shutil.rmtree(self._root, ignore_errors=True)
        self._lock.close()

    def place(self, path: str) -> Path:
        """Where a copy of `path` lies or is to lie."""
        return self._root / path

    def has(self, path: str) -> bool:
        """Whether there is a copy; it is kept for a while from now on."""
        try:
            os.utime(self._root / path)
        except FileNotFoundError:
            return False
        return True

    def put(self, path: str, content: Iterable[bytes]) -> None:
        """Make a copy, whole or not at all. Raises OSError."""
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{secrets.token_hex(8)}")
        try:
            with part.open("xb") as file:
                file.writelines(content)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)

    def drop(self, path: str) -> None:
        """Remove a copy, if there is one."""
        (self._root / path).unlink(missing_ok=True)

    def sweep(self, now: float | None = None) -> None:
        """Remove what was not asked for lately. Raises OSError."""
        oldest = (time.time() if now is None else now) - KEPT_S
        for where, _, names in os.walk(self._root):
            for path in (Path(where) / name for name in names if name != _LOCK):
                with suppress(FileNotFoundError):
                    if path.stat().st_mtime < oldest:
                        path.unlink()

    def _run(self) -> None:
        while not self._lock.closed:
            time.sleep(_LOOK_S)
            with suppress(OSError):
                self.sweep()

    def _clear_dead(self) -> None:
        """Remove the corners whose lock nobody holds: the kernel lets go of a dead process's locks."""
        for corner in self._corners.iterdir():
            if corner == self._root or not corner.is_dir():
                continue
            with (corner / _LOCK).open("ab") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                shutil.rmtree(corner, ignore_errors=True)
