"""What many open pages ask for at the same moment is made once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from threading import Lock
from time import monotonic
from typing import Any, TypeVar

Made = TypeVar("Made")

#: for so long an answer may be given again, s: waiting times on it are late by no more
_FRESH_S = 1.0


class Shared:
    """Answers of the last moment."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: dict[Hashable, tuple[float, Any]] = {}

    def get(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What was made for `key` a moment ago, else what `make` gives; one makes, the others wait for it."""
        with self._lock:
            now = monotonic()
            self._kept = {each: kept for each, kept in self._kept.items() if now - kept[0] < _FRESH_S}
            if key not in self._kept:
                self._kept[key] = (now, make())
            made: Made = self._kept[key][1]
            return made

    def forget(self) -> None:
        """Make everything anew: something was written."""
        with self._lock:
            self._kept.clear()
