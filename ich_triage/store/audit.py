"""The audit trail in the database: appended to, never changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..domain.audit import AuditEvent, AuditRecord, PeerRecord
from .account_tables import Audit
from .database import Database

#: lengths of the columns
_ADDRESS, _ASKED = 64, 128


def append(session: Session, record: AuditRecord) -> None:
    """Add one line."""
    session.add(Audit(**vars(record)))


def keeper(database: Database) -> Callable[[Sequence[PeerRecord]], None]:
    """Adds lines about systems that were turned away: `about` which, `asked` why, `rows` how often."""

    def keep(records: Sequence[PeerRecord]) -> None:
        with database.write() as session:
            session.add_all(_turned_away(each) for each in records)

    return keep


def _turned_away(record: PeerRecord) -> Audit:
    return Audit(
        at=record.at,
        event=record.event,
        actor="",
        role="",
        address=record.address[:_ADDRESS],
        rows=record.count,
        asked=record.reason[:_ASKED],
        about=record.ae_title or None,
    )


def logged_in_from(session: Session, actor: str, address: str, *, since: datetime) -> bool:
    """Whether that person has logged in from that address since then."""
    query = select(Audit.id).where(
        Audit.actor == actor,
        Audit.event == AuditEvent.LOGIN_SUCCEEDED,
        Audit.at >= since,
        Audit.address == address,
    )
    return session.scalar(query.limit(1)) is not None
