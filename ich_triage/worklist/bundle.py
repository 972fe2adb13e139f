"""Bundles audit records that come by the hundred: one a minute says as much."""

from __future__ import annotations

import threading
from time import monotonic

from ..domain.audit import AuditEvent, AuditRecord

_WINDOW_S = 60.0
_BUNDLED = frozenset({AuditEvent.PICTURES_VIEWED, AuditEvent.LIST_REFRESHED})


class Bundle:
    """Remembers what this process has recorded within the last minute."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recorded: dict[tuple[object, ...], float] = {}

    def is_news(self, record: AuditRecord, session: str) -> bool:
        """Whether the record is to be kept; `session` tells two log-ins of one person apart."""
        if record.event not in _BUNDLED:
            return True
        key, now = (record.event, record.actor, record.study_instance_uid, session), monotonic()
        with self._lock:
            while self._recorded and now - next(iter(self._recorded.values())) > _WINDOW_S:
                del self._recorded[next(iter(self._recorded))]
            if key in self._recorded:
                return False
            self._recorded[key] = now
            return True
