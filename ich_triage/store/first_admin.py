"""The first admin: a link that works once, for a day, and only while there is no admin."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import CursorResult, delete, select
from sqlalchemy.orm import Session

from ..domain.roles import Role
from ..errors import AccountError
from . import accounts, secret
from .account_tables import Account, AdminLink

_VALID = timedelta(hours=24)


def renew(session: Session, now: datetime) -> str | None:
    """The secret of a new link, which ends the one before; None where there is an admin."""
    session.execute(delete(AdminLink))
    if accounts.has_admin(session):
        return None
    made = secret.make()
    session.add(AdminLink(secret_sha256=secret.digest(made), expires_at=now + _VALID))
    return made


def require(session: Session, shown: str, now: datetime) -> None:
    """Raise AccountError unless the link works."""
    mine = AdminLink.secret_sha256 == secret.digest(shown)
    if session.scalar(select(AdminLink).where(mine, AdminLink.expires_at > now)) is None:
        raise _spent()


def use(session: Session, shown: str, account: Account, *, now: datetime) -> Account:
    """Keep the first admin; of two at the same moment, one finds the link gone. Raises AccountError."""
    mine = AdminLink.secret_sha256 == secret.digest(shown)
    done = session.execute(delete(AdminLink).where(mine, AdminLink.expires_at > now))
    if cast("CursorResult[Any]", done).rowcount != 1 or accounts.has_admin(session):
        raise _spent()
    account.role = Role.ADMIN.value
    return accounts.add(session, account, now=now)


def _spent() -> AccountError:
    return AccountError(
        "the link has been used, is older than 24 hours, or a later start has made a new one: start "
        "`ich-triage web` again, or use `ich-triage users add NAME --role admin`"
    )
