"""What a person should know about received data."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from .tables import Problem


class ProblemKind(StrEnum):
    """What can be wrong with received data."""

    #: no study can be read from it; it lies in the quarantine
    UNREADABLE_OBJECT = "unreadable_object"
    #: same SOP Instance UID as an earlier object of the study, other content; kept beside, not analysed
    UID_CONFLICT = "uid_conflict"
    #: same SOP Instance UID in another study, too; both kept
    UID_IN_TWO_STUDIES = "uid_in_two_studies"
    #: analysed, but the report could not be made: see the worklist
    REPORT_NOT_MADE = "report_not_made"


def report(
    session: Session, kind: ProblemKind, *, at: datetime, study_instance_uid: str | None, detail: str
) -> None:
    """Note a problem, once: the same one again changes nothing."""
    known = select(Problem.id).where(
        Problem.study_instance_uid == study_instance_uid, Problem.kind == kind, Problem.detail == detail
    )
    if session.scalar(known.limit(1)) is None:
        session.add(Problem(kind=kind, at=at, study_instance_uid=study_instance_uid, detail=detail))


def recent(session: Session, *, limit: int = 100) -> list[Problem]:
    """The latest problems, newest first."""
    return list(session.scalars(select(Problem).order_by(Problem.id.desc()).limit(limit)))


def of_study(session: Session, study_instance_uid: str) -> list[Problem]:
    """The problems of one study, oldest first."""
    query = select(Problem).where(Problem.study_instance_uid == study_instance_uid).order_by(Problem.id)
    return list(session.scalars(query))
