"""Every table. Times are UTC; UIDs are kept as text of at most 64 characters (PS3.5 section 9.1)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime, stored as UTC; SQLite forgets the zone, this puts it back."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a naive datetime; convert the rest to UTC."""
        if value is not None and value.tzinfo is None:
            raise ValueError("naive datetime")
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return UTC, aware."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _now() -> datetime:
    return datetime.now(UTC)


Uid = String(64)
Key = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """Declarative base with named constraints, which Alembic needs."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcDateTime, dict[str, Any]: JSON, list[Any]: JSON}  # noqa: RUF012


class Study(Base):
    """One study, and what the worklist shows of it."""

    __tablename__ = "studies"
    __table_args__ = (
        Index("ix_studies_worklist", "rank", "first_slice_at"),
        Index("ix_studies_state", "state", "first_slice_at"),
        Index(
            "ix_studies_assembling",
            "assembling_since",
            sqlite_where=text("assembling_since IS NOT NULL"),
            postgresql_where=text("assembling_since IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    #: Study Instance UID
    study_instance_uid: Mapped[str] = mapped_column(Uid, unique=True)
    #: as received, DICOM PN
    patient_name: Mapped[str] = mapped_column(default="")
    #: as received
    patient_id: Mapped[str] = mapped_column(default="")
    #: as received
    accession_number: Mapped[str] = mapped_column(default="")
    #: as received
    study_description: Mapped[str] = mapped_column(default="")
    #: DICOM DA as received
    study_date: Mapped[str] = mapped_column(default="")
    #: AE title that sent the first instance
    calling_ae_title: Mapped[str] = mapped_column(String(16), default="")
    #: StudyState
    state: Mapped[str] = mapped_column(String(16))
    #: ReasonCode, when not analysed or failed
    reason_code: Mapped[str | None] = mapped_column(String(32))
    #: the reason in words
    reason: Mapped[str | None]
    #: domain.priority.Rank of the state and `stat`
    rank: Mapped[int]
    #: an urgent request: read before others of the same state
    stat: Mapped[bool] = mapped_column(default=False)
    #: number of the latest revision; 0 before the first
    revision: Mapped[int] = mapped_column(default=0)
    #: indexed instances
    instance_count: Mapped[int] = mapped_column(default=0)
    #: receipt of the first instance
    first_slice_at: Mapped[datetime]
    #: receipt of the latest instance
    last_slice_at: Mapped[datetime]
    #: receipt of the first instance that no revision covers yet
    assembling_since: Mapped[datetime | None]
    #: when retention last began to remove its images; None where it never has
    images_removed_at: Mapped[datetime | None]
    #: when anything of this row was last written, but for the removal of images
    changed_at: Mapped[datetime] = mapped_column(default=_now, onupdate=_now, index=True)

    revisions: Mapped[list[Revision]] = relationship(back_populates="study", order_by="Revision.number")


class Instance(Base):
    """One received object."""

    __tablename__ = "instances"
    __table_args__ = (UniqueConstraint("study_id", "sop_instance_uid", "sha256"),)

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), index=True)
    #: Series Instance UID
    series_instance_uid: Mapped[str] = mapped_column(Uid)
    #: SOP Instance UID
    sop_instance_uid: Mapped[str] = mapped_column(Uid, index=True)
    #: SOP Class UID
    sop_class_uid: Mapped[str] = mapped_column(Uid)
    #: path of the file, relative to the spool
    path: Mapped[str] = mapped_column(unique=True)
    #: bytes
    size: Mapped[int] = mapped_column(BigInteger)
    #: SHA-256 of the file's data set, hex
    sha256: Mapped[str] = mapped_column(String(64))
    #: same UID as an earlier instance, other content: kept beside, not analysed
    conflict: Mapped[bool] = mapped_column(default=False)
    #: when it was acknowledged
    received_at: Mapped[datetime]
    #: domain.completeness.SlicePosition fields, for objects that have a place; None for others
    positions: Mapped[list[Any] | None]


class Revision(Base):
    """One analysis of a study, over the instances known when it became complete."""

    __tablename__ = "revisions"
    __table_args__ = (
        UniqueConstraint("study_id", "number"),
        Index("ix_revisions_state", "state"),
        Index(
            "ix_revisions_waiting",
            "complete_at",
            sqlite_where=text("enqueued_at IS NULL"),
            postgresql_where=text("enqueued_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id"), index=True)
    #: 1, 2, …
    number: Mapped[int]
    #: StudyState; in_progress until final
    state: Mapped[str] = mapped_column(String(16))
    #: ReasonCode
    reason_code: Mapped[str | None] = mapped_column(String(32))
    #: the reason in words
    reason: Mapped[str | None]
    #: CompletedBy
    completed_by: Mapped[str] = mapped_column(String(16))
    #: highest Instance.id that it covers
    last_instance_id: Mapped[int] = mapped_column(Key)
    #: how often a worker has begun it
    attempts: Mapped[int] = mapped_column(default=0)
    #: the chosen series and why not the others
    selection: Mapped[dict[str, Any] | None]
    #: domain.finding.Analysis as JSON
    analysis: Mapped[dict[str, Any] | None]
    #: what lists show of `analysis` (store.summary); None where an earlier release has written the row
    summary: Mapped[dict[str, Any] | None]
    #: what its report's UIDs are derived from, once its images and their rows were removed; None before
    objects_sha256: Mapped[str | None] = mapped_column(String(64))
    #: number of the earlier revision whose result it shares, when the analysed images are the same
    same_as: Mapped[int | None]
    #: ledger: receipt of the first slice
    first_slice_at: Mapped[datetime]
    #: ledger: receipt of the last slice
    last_slice_at: Mapped[datetime]
    #: ledger: declared complete
    complete_at: Mapped[datetime]
    #: handed to the queue
    enqueued_at: Mapped[datetime | None]
    #: ledger: a worker began
    started_at: Mapped[datetime | None]
    #: ledger: the model has answered
    inferred_at: Mapped[datetime | None]
    #: ledger: result and deliveries written
    stored_at: Mapped[datetime | None]

    study: Mapped[Study] = relationship(back_populates="revisions")
    deliveries: Mapped[list[Delivery]] = relationship(back_populates="revision", order_by="Delivery.id")
    feedback: Mapped[list[Feedback]] = relationship(back_populates="revision", order_by="Feedback.id")


class Delivery(Base):
    """One object or message on its way to one destination."""

    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("sop_instance_uid", "destination"),
        Index("ix_deliveries_due", "state", "next_attempt_at"),
    )

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    revision_id: Mapped[int] = mapped_column(ForeignKey("revisions.id"), index=True)
    #: name of the destination in the configuration
    destination: Mapped[str] = mapped_column(String(32))
    #: OutputKind
    kind: Mapped[str] = mapped_column(String(16))
    #: SOP Class UID of the object; empty for a message
    sop_class_uid: Mapped[str] = mapped_column(Uid)
    #: SOP Instance UID of the object; of a message the id under which it goes
    sop_instance_uid: Mapped[str] = mapped_column(Uid)
    #: path of the file, relative to the spool
    path: Mapped[str]
    #: DeliveryState
    state: Mapped[str] = mapped_column(String(16))
    #: attempts so far
    attempts: Mapped[int] = mapped_column(default=0)
    #: not before; None when nothing is left to do
    next_attempt_at: Mapped[datetime | None]
    #: why the latest attempt failed, one line
    last_error: Mapped[str | None]
    #: ledger: stored (C-STORE), acknowledged (HL7) or answered (webhook) with success
    sent_at: Mapped[datetime | None]
    #: requests for storage commitment so far
    commitment_attempts: Mapped[int] = mapped_column(default=0)
    #: Transaction UID of the storage commitment request under way
    transaction_uid: Mapped[str | None] = mapped_column(Uid, index=True)
    #: ledger: commitment received
    committed_at: Mapped[datetime | None]
    #: worker that is at it
    claimed_by: Mapped[str | None] = mapped_column(String(64))
    #: until when the claim holds
    claimed_until: Mapped[datetime | None]

    revision: Mapped[Revision] = relationship(back_populates="deliveries")


class Feedback(Base):
    """What a radiologist says about the result of one revision; of each reader the latest counts."""

    __tablename__ = "feedback"

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    revision_id: Mapped[int] = mapped_column(ForeignKey("revisions.id"), index=True)
    #: who; the name under which the reader is known here
    reader: Mapped[str] = mapped_column(String(64))
    #: whether the reader's own answer to "is there a bleed" is the revision's
    agrees: Mapped[bool]
    #: subtypes that the reader sees, as values of Subtype; None where the reader names none
    subtypes: Mapped[list[Any] | None]
    #: free text; may name the patient
    note: Mapped[str] = mapped_column(default="")
    #: when
    at: Mapped[datetime]
    #: SHA-256 of the weights that gave the result, hex
    weights_sha256: Mapped[str] = mapped_column(String(64))
    #: takes the reader's answers on this study back
    withdrawn: Mapped[bool] = mapped_column(default=False)

    revision: Mapped[Revision] = relationship(back_populates="feedback")


class Worker(Base):
    """A worker process that has said it lives."""

    __tablename__ = "workers"

    #: executor id, unique for each process
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    #: host name
    host: Mapped[str]
    #: process id on that host
    pid: Mapped[int]
    #: start
    started_at: Mapped[datetime]
    #: latest heartbeat
    seen_at: Mapped[datetime]
    #: PackageIdentity.key of the model package that it runs
    package: Mapped[str | None]
    #: why that is not the package in force, one line
    package_problem: Mapped[str | None]


class Receiver(Base):
    """A receiver process that has said it lives."""

    __tablename__ = "receivers"

    #: unique for each process
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    #: host name
    host: Mapped[str]
    #: process id on that host
    pid: Mapped[int]
    #: latest heartbeat
    seen_at: Mapped[datetime]


class Promotion(Base):
    """One entry of the history of model packages: a promotion, or a rollback. Never changed."""

    __tablename__ = "promotions"

    #: 1, 2, …; two entries at the same time cannot both have the next number
    number: Mapped[int] = mapped_column(Key, primary_key=True, autoincrement=False)
    #: when
    at: Mapped[datetime]
    #: store.promotions.Action
    action: Mapped[str] = mapped_column(String(16))
    #: the package in force from now on, by its name in the registry; None is the one that ships
    package: Mapped[str | None]
    #: SHA-256 of its weights, hex
    weights_sha256: Mapped[str | None] = mapped_column(String(64))
    #: SHA-256 of its manifest as it was examined, hex
    manifest_sha256: Mapped[str | None] = mapped_column(String(64))
    #: whether it was trained on synthetic data
    synthetic: Mapped[bool | None]
    #: why it was promoted against the gate's figures
    forced: Mapped[str | None]
    #: what the gate said: model.gate.Check as JSON
    checks: Mapped[list[Any]]


class Problem(Base):
    """Something about received data that a person should know."""

    __tablename__ = "problems"

    id: Mapped[int] = mapped_column(Key, primary_key=True)
    #: when
    at: Mapped[datetime]
    #: stable name: `unreadable_object`, `uid_conflict`, `uid_in_two_studies`
    kind: Mapped[str] = mapped_column(String(32))
    #: Study Instance UID, when one could be read
    study_instance_uid: Mapped[str | None] = mapped_column(Uid, index=True)
    #: what happened and where the file lies; no patient data
    detail: Mapped[str]
