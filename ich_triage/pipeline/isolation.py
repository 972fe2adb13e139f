"""Who may run beside whom: a study that may have killed a worker runs alone, so that it can kill no other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition


class Isolation:
    """Many together or one alone, within one process; who wants to be alone goes before newcomers."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._together = 0
        self._alone = False
        self._want_alone = 0

    @contextmanager
    def together(self) -> Iterator[None]:
        """Run beside others."""
        with self._changed:
            self._changed.wait_for(lambda: not (self._alone or self._want_alone))
            self._together += 1
        try:
            yield
        finally:
            with self._changed:
                self._together -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until nothing else runs, then run with nothing else beside."""
        with self._changed:
            self._want_alone += 1
            self._changed.wait_for(lambda: not (self._alone or self._together))
            self._want_alone -= 1
            self._alone = True
        try:
            yield
        finally:
            with self._changed:
                self._alone = False
                self._changed.notify_all()
