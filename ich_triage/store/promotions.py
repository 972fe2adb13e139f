"""Which model package was put in force, when and why; the last entry decides."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ..errors import PromotionError
from .tables import Promotion


class Action(StrEnum):
    """What an entry of the history did."""

    #: a package passed the gate, or was forced through it
    PROMOTE = "promote"
    #: the package in force before was put back
    ROLLBACK = "rollback"


def history(session: Session) -> Sequence[Promotion]:
    """Every entry, oldest first."""
    return session.scalars(select(Promotion).order_by(Promotion.number)).all()


def last_number(session: Session) -> int:
    """Number of the last entry, 0 before the first; it changes whenever another package is put in force."""
    return session.scalar(select(func.max(Promotion.number))) or 0


def standing(session: Session) -> list[Promotion]:
    """What was promoted and not rolled back since, newest first: the package in force and those before it.

    Empty where the package that ships is in force.
    """
    found: list[Promotion] = []
    for entry in history(session):
        if entry.action == Action.PROMOTE:
            found.append(entry)
        else:
            found.pop()
    return found[::-1]


def promote(session: Session, entry: Promotion, *, after: int) -> None:
    """Append `entry`, which was judged against what was in force at number `after`.

    Raises PromotionError when the history has gone on since.
    """
    entry.action = Action.PROMOTE.value
    _append(session, entry, after=after)


def rollback(session: Session, now: datetime, *, after: int) -> None:
    """Put the package back that was in force before the one that is so at number `after`.

    Raises PromotionError when nothing is promoted, or the history has gone on since.
    """
    entries = standing(session)
    if not entries:
        raise PromotionError("nothing to roll back: the package that ships is in force")
    target = entries[1] if len(entries) > 1 else None
    entry = Promotion(
        at=now,
        action=Action.ROLLBACK.value,
        package=target.package if target else None,
        weights_sha256=target.weights_sha256 if target else None,
        manifest_sha256=target.manifest_sha256 if target else None,
        synthetic=target.synthetic if target else None,
        checks=[],
    )
    _append(session, entry, after=after)


def _append(session: Session, entry: Promotion, *, after: int) -> None:
    """The number is the key: of two that saw the same history, the later one finds it taken."""
    meanwhile = PromotionError(
        "another package was promoted or rolled back meanwhile; look at `ich-triage models list`, "
        "then try again"
    )
    if last_number(session) != after:
        raise meanwhile
    entry.number = after + 1
    session.add(entry)
    try:
        session.flush()
    except IntegrityError as error:
        raise meanwhile from error
