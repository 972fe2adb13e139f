"""The audit trail: every record goes to the structured log, and to file and syslog where configured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import structlog

from ..domain.audit import AuditEvent, AuditRecord, PeerRecord
from .audit_trail import Trail

log = structlog.get_logger(__name__)

#: of this process, while it has one
_trail: Trail | None = None


@contextmanager
def kept(process: str, trail: Trail | None) -> Iterator[None]:
    """Until the block ends, records go to `trail`, too; that `process` began and ended is recorded."""
    with handed_to(trail):
        tell(_of(process, AuditEvent.APPLICATION_STARTED))
        try:
            yield
        finally:
            tell(_of(process, AuditEvent.APPLICATION_STOPPED))


@contextmanager
def handed_to(trail: Trail | None) -> Iterator[None]:
    """Until the block ends, records go to `trail`, which then writes what waits, for a while."""
    global _trail
    if trail is None:
        yield
        return
    trail.start()
    _trail = trail
    try:
        yield
    finally:
        _trail = None
        trail.stop()


def tell(record: AuditRecord | PeerRecord) -> None:
    """Log one record, and hand it on; what is empty is left out. Never waits for anybody."""
    told = {name: value for name, value in vars(record).items() if name not in ("at", "event")}
    kept = {name: value for name, value in told.items() if value not in (None, "", {})}
    log.info(record.event.value, audit=True, **kept)
    hand_on(record)


def hand_on(record: AuditRecord | PeerRecord) -> None:
    """To file and syslog alone: for commands, whose log a person would read."""
    if _trail is not None:
        _trail.put(record)


def _of(process: str, event: AuditEvent) -> AuditRecord:
    return AuditRecord(at=datetime.now(UTC), event=event, actor=process, role="process")
