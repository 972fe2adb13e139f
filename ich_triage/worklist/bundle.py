"""Bundles audit records that come by the hundred: one a minute says as much."""

from __future__ import annotations

import threading
from time import monotonic

from ..domain.audit import AuditEvent, AuditRecord

_WINDOW_S = 60.0
_BUNDLED = frozenset(
    {
        AuditEvent.PICTURES_VIEWED,
        AuditEvent.LIST_REFRESHED,
        AuditEvent.TOKEN_REFUSED,
        AuditEvent.LOGIN_LIMITED,
    }
)


class Bundle:
    """Remembers what this process has recorded within the last minute."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recorded: dict[tuple[object, ...], float] = {}

    def is_news(self, record: AuditRecord, session: str) -> bool:
        """Whether the record is to be kept; `session` tells two log-ins of one person apart."""
        now = monotonic()
        with self._lock:
            while self._recorded and now - next(iter(self._recorded.values())) > _WINDOW_S:
                del self._recorded[next(iter(self._recorded))]
            return _key(record, session) not in self._recorded

    def kept(self, record: AuditRecord, session: str) -> None:
        """The record is in the database: the next like it within a minute says nothing more."""
        if record.event in _BUNDLED:
            with self._lock:
                self._recorded.pop(_key(record, session), None)
                self._recorded[_key(record, session)] = monotonic()


def _key(record: AuditRecord, session: str) -> tuple[object, ...]:
    return (record.event, record.actor, record.study_instance_uid, record.asked, session)
