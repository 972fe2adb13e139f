"""Sessions of browsers: begin at log-in, end by idleness, by age, at log-out or when rights change."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import CursorResult, delete, or_, select, update
from sqlalchemy.orm import Session, joinedload

from ..settings import Access
from . import secret
from .account_tables import Account, WebSession

#: the latest request is noted no more often, so that reading costs no writing
_NOTED = timedelta(minutes=1)


def begin(session: Session, account: Account, *, policy: Access, now: datetime) -> str:
    """The cookie of a new session; sessions that have lapsed are swept away by the way."""
    session.execute(
        delete(WebSession).where(
            or_(
                WebSession.seen_at < now - timedelta(seconds=policy.idle_s),
                WebSession.begun_at < now - timedelta(seconds=policy.session_s),
            )
        )
    )
    cookie = secret.make()
    account.last_login_at = now
    session.add(WebSession(cookie_sha256=secret.digest(cookie), account=account, begun_at=now, seen_at=now))
    return cookie


def find(session: Session, cookie: str, *, policy: Access, now: datetime) -> WebSession | None:
    """The session behind a cookie, with its account; None where there is none, or it has lapsed."""
    query = select(WebSession).where(WebSession.cookie_sha256 == secret.digest(cookie))
    found = session.scalar(query.options(joinedload(WebSession.account)))
    if found is None or found.account.disabled:
        return None
    idle, age = now - found.seen_at, now - found.begun_at
    if idle > timedelta(seconds=policy.idle_s) or age > timedelta(seconds=policy.session_s):
        return None
    return found


def is_due(found: WebSession, now: datetime) -> bool:
    """Whether `touch` should note the request."""
    return now - found.seen_at > _NOTED


def touch(session: Session, found: WebSession, now: datetime) -> None:
    """Note the latest request."""
    mine = WebSession.cookie_sha256 == found.cookie_sha256
    session.execute(update(WebSession).where(mine).values(seen_at=now))


def end(session: Session, cookie: str) -> None:
    """End one session, if it is there."""
    session.execute(delete(WebSession).where(WebSession.cookie_sha256 == secret.digest(cookie)))


def end_all(session: Session, account: Account) -> int:
    """End every session of an account; says how many there were."""
    done = session.execute(delete(WebSession).where(WebSession.account_id == account.id))
    return cast("CursorResult[Any]", done).rowcount
