"""The reading order that the configuration asks for."""

from __future__ import annotations

from datetime import datetime, timedelta

from ..domain.priority import Order
from ..settings import Worklist


def reading_order(settings: Worklist, now: datetime) -> Order:
    """Places on the list as of `now`."""
    return Order(
        now=now,
        rise_after=timedelta(seconds=settings.rise_after_s) if settings.rise_after_s else None,
    )
