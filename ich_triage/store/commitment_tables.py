"""Table of what peers have asked us to commit to, and have not heard of yet."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from .tables import Base, Key, Uid


class Commitment(Base):
    """One request for storage commitment; the row goes when its peer has the result."""

    __tablename__ = "commitments"
    __table_args__ = (
        UniqueConstraint("ae_title", "transaction_uid"),
        Index("ix_commitments_due", "next_attempt_at"),
    )

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    #: who asked
    ae_title: Mapped[str] = mapped_column(String(16))
    #: from where
    address: Mapped[str] = mapped_column(String(64))
    #: Transaction UID
    transaction_uid: Mapped[str] = mapped_column(Uid)
    #: of each object SOP Class UID, SOP Instance UID, and why it is not committed to (0 where it is)
    objects: Mapped[list[Any]]
    #: how many objects
    count: Mapped[int]
    #: when it was asked
    asked_at: Mapped[datetime]
    #: when it was last looked what is held; None before
    judged_at: Mapped[datetime | None]
    #: attempts to tell so far
    attempts: Mapped[int] = mapped_column(default=0)
    #: not before; whoever works on it moves it ahead, so that nobody else does
    next_attempt_at: Mapped[datetime]
    #: why the latest attempt failed, one line
    last_error: Mapped[str | None]
