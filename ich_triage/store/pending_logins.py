"""Log-ins on their way to an OpenID provider and back: each comes back once, to the browser that left."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import CursorResult, delete, select
from sqlalchemy.orm import Session

from . import secret
from .account_tables import PendingLogin

#: time to type a password and a code at the provider
_VALID = timedelta(minutes=10)


def begin(session: Session, data: dict[str, Any], *, now: datetime) -> str:
    """The cookie of the browser that leaves; those that never came back are swept away by the way."""
    session.execute(delete(PendingLogin).where(PendingLogin.expires_at <= now))
    cookie = secret.make()
    session.add(PendingLogin(cookie_sha256=secret.digest(cookie), expires_at=now + _VALID, data=data))
    return cookie


def take(session: Session, cookie: str, *, now: datetime) -> dict[str, Any] | None:
    """What was kept, once; None for a cookie that is unknown, lapsed, or used."""
    mine = PendingLogin.cookie_sha256 == secret.digest(cookie)
    found = session.scalar(select(PendingLogin).where(mine, PendingLogin.expires_at > now))
    done = session.execute(delete(PendingLogin).where(mine))
    return found.data if found and cast("CursorResult[Any]", done).rowcount == 1 else None
