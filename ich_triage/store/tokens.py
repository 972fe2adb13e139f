"""Service tokens: what programs show in place of a log-in."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ..errors import AccountError
from . import secret
from .account_tables import ServiceToken
from .accounts import checked_name

#: what every token begins with, so that one that was left lying about is recognised
PREFIX = "ich_"
#: days for which a token is valid at most, and unless told otherwise
MAX_DAYS, DAYS = 730, 365
#: the latest use is noted no more often, so that reading costs no writing
_NOTED = timedelta(minutes=1)


def checked_days(days: str | int) -> int:
    """For how long a token is to be valid. Raises AccountError."""
    if not str(days).isdecimal() or not 1 <= int(str(days)[:9]) <= MAX_DAYS:
        raise AccountError(f"a token is valid for 1 to {MAX_DAYS} days: give a whole number of them")
    return int(days)


def make(session: Session, name: str, *, days: int, now: datetime) -> str:
    """A new token, which is not kept: it is shown now or never. Raises AccountError."""
    kept = checked_name(name)
    taken = AccountError(f"there is a token {kept} already: take another name, since records name it")
    if session.scalar(select(ServiceToken.id).where(ServiceToken.name == kept)) is not None:
        raise taken
    token = secret.make(PREFIX)
    expires = now + timedelta(days=days)
    session.add(
        ServiceToken(name=kept, token_sha256=secret.digest(token), created_at=now, expires_at=expires)
    )
    try:
        session.flush()
    except IntegrityError as error:
        raise taken from error
    return token


def find(session: Session, token: str, now: datetime) -> ServiceToken | None:
    """The token that was shown; None where it is unknown, expired or revoked."""
    found = session.scalar(select(ServiceToken).where(ServiceToken.token_sha256 == secret.digest(token)))
    if found is None or found.revoked_at is not None or found.expires_at <= now:
        return None
    return found


def is_due(found: ServiceToken, now: datetime) -> bool:
    """Whether `touch` should note the use."""
    return found.last_used_at is None or now - found.last_used_at > _NOTED


def touch(session: Session, found: ServiceToken, now: datetime) -> None:
    """Note the latest use."""
    session.execute(update(ServiceToken).where(ServiceToken.id == found.id).values(last_used_at=now))


def everything(session: Session) -> Sequence[ServiceToken]:
    """All tokens, by name."""
    return session.scalars(select(ServiceToken).order_by(ServiceToken.name)).all()


def revoke(session: Session, name: str, now: datetime) -> ServiceToken:
    """Take a token back. Raises AccountError."""
    found = session.scalar(select(ServiceToken).where(ServiceToken.name == checked_name(name)))
    if found is None:
        raise AccountError(
            f"there is no token {checked_name(name)}: `ich-triage users list` shows those there are"
        )
    found.revoked_at = found.revoked_at or now
    return found
