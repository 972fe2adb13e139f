"""Tables of procedure steps: what their readers and watchers say. All else about a step is the study's."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from .tables import Base, Key, Study, Uid


class ProcedureStep(Base):
    """One Unified Procedure Step: read this study."""

    __tablename__ = "ups_steps"
    __table_args__ = (UniqueConstraint("study_id", "number"), Index("ix_ups_steps_state", "state"))

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"))
    #: 1, 2, …: a study that is flagged anew after its step has ended gets another one
    number: Mapped[int]
    #: SOP Instance UID
    sop_instance_uid: Mapped[str] = mapped_column(Uid, unique=True)
    #: StepState
    state: Mapped[str] = mapped_column(String(16))
    #: Transaction UID of the reader who has claimed it: its key, never told to anybody
    transaction_uid: Mapped[str | None] = mapped_column(Uid)
    #: AE title of that reader
    performer: Mapped[str | None] = mapped_column(String(16))
    #: when it was claimed
    claimed_at: Mapped[datetime | None]
    #: when it came to a final state
    ended_at: Mapped[datetime | None]
    #: revision of the study at that time
    ended_revision: Mapped[int | None]
    #: whether its reader was silent for so long that it was canceled
    abandoned: Mapped[bool] = mapped_column(default=False)
    #: what the reader has set, as the DICOM JSON model (PS3.18 Annex F)
    performed: Mapped[dict[str, Any] | None]
    #: when it was scheduled
    created_at: Mapped[datetime]
    #: when something of it changed last
    changed_at: Mapped[datetime]
    #: StudyState that watchers were told last
    reported_state: Mapped[str] = mapped_column(String(16))
    #: Rank that watchers were told last
    reported_rank: Mapped[int]
    #: whether all images were there when watchers were told last
    reported_ready: Mapped[bool]

    study: Mapped[Study] = relationship()


class GlobalSubscription(Base):
    """One AE that hears of all steps."""

    __tablename__ = "ups_global_subscriptions"

    #: receiving AE title
    ae_title: Mapped[str] = mapped_column(String(16), primary_key=True)
    #: whether it wants ended steps kept
    deletion_lock: Mapped[bool]
    #: id of the last step that it covers, since it was suspended; None covers every step to come
    last_step_id: Mapped[int | None] = mapped_column(Key)
    #: id of the last step whose state it was told at its beginning; None when it has been told all
    greeted_step_id: Mapped[int | None] = mapped_column(Key)


class Subscription(Base):
    """What one AE wants to hear of one step, against its global subscription."""

    __tablename__ = "ups_subscriptions"

    #: receiving AE title
    ae_title: Mapped[str] = mapped_column(String(16), primary_key=True)
    step_id: Mapped[int] = mapped_column(ForeignKey("ups_steps.id"), primary_key=True, autoincrement=False)
    #: False when it has unsubscribed from this step
    subscribed: Mapped[bool]
    #: whether it wants the step kept when it has ended
    deletion_lock: Mapped[bool]


class StepEvent(Base):
    """One event on its way to one AE; the row goes when it has arrived."""

    __tablename__ = "ups_events"
    __table_args__ = (Index("ix_ups_events_due", "ae_title", "next_attempt_at"),)

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    #: receiving AE title
    ae_title: Mapped[str] = mapped_column(String(16))
    #: SOP Instance UID of the step
    sop_instance_uid: Mapped[str] = mapped_column(Uid)
    #: Event Type ID (PS3.4 Table CC.2.4-1)
    event_type: Mapped[int]
    #: Event Information, as the DICOM JSON model (PS3.18 Annex F)
    information: Mapped[dict[str, Any]]
    #: when it happened
    at: Mapped[datetime]
    #: attempts so far
    attempts: Mapped[int] = mapped_column(default=0)
    #: not before
    next_attempt_at: Mapped[datetime]
    #: why the latest attempt failed, one line
    last_error: Mapped[str | None]
    #: process that is at it
    claimed_by: Mapped[str | None] = mapped_column(String(64))
    #: until when the claim holds
    claimed_until: Mapped[datetime | None]
