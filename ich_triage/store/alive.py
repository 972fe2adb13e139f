"""Which processes live, for the list to tell: without them it stands still, as if nothing had come."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from . import receivers, workers


@dataclass(frozen=True, kw_only=True)
class Alive:
    """How many of each."""

    #: with none, no scanner can send
    receivers: int
    #: with none, nothing is analysed
    workers: int


def alive(session: Session, *, dead_after_s: float) -> Alive:
    """Those who have given a sign of life; a worker, within `dead_after_s`."""
    return Alive(
        receivers=receivers.living(session), workers=len(workers.living(session, dead_after_s=dead_after_s))
    )
