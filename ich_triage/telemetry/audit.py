"""The audit trail in the structured log: the same records as in the database, under the same names."""

from __future__ import annotations

import structlog

from ..domain.audit import AuditRecord

log = structlog.get_logger(__name__)


def tell(record: AuditRecord) -> None:
    """Log one record; what is empty is left out."""
    told = {name: value for name, value in vars(record).items() if name not in ("at", "event")}
    kept = {name: value for name, value in told.items() if value not in (None, "")}
    log.info(record.event.value, audit=True, **kept)
