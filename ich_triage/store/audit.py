"""The audit trail in the database: appended to, never changed."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..domain.audit import AuditEvent, AuditRecord
from .account_tables import Audit


def append(session: Session, record: AuditRecord) -> None:
    """Add one line."""
    session.add(Audit(**vars(record)))


def logged_in_from(session: Session, actor: str, address: str, *, since: datetime) -> bool:
    """Whether that person has logged in from that address since then."""
    query = select(Audit.id).where(
        Audit.actor == actor,
        Audit.event == AuditEvent.LOGIN_SUCCEEDED,
        Audit.at >= since,
        Audit.address == address,
    )
    return session.scalar(query.limit(1)) is not None
